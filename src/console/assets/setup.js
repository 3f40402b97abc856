// Asks whether a delivery has arrived, every two seconds while the page is in view. The listener of
// the page turns green then.
"use strict";

(() => {
  const hasArrived = () => byId("listener").classList.contains("arrived");
  const wait = () => setTimeout(async () => {
    if (document.visibilityState === "visible") {
      await page.load(byId("listener").dataset.poll, "listener");
    }
    if (hasArrived()) page.announce(byId("listener-state").textContent); else wait();
  }, 2000);
  if (!hasArrived()) wait();
})();
