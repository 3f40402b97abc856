// The list of deliveries is asked for again every two seconds, while it is live and in view.
"use strict";

(() => {
  const toggle = () => byId("live-list")?.querySelector("button");
  if (!toggle()) return;
  let live = remember.get("deliveries") !== "still";
  const show = () => {
    byId("live-list").hidden = false;
    toggle().setAttribute("aria-pressed", String(live));
  };
  const change = () => {
    live = !live;
    remember.set("deliveries", live ? "live" : "still");
    show();
    page.announce(live ? "Live" : "Not live");
  };
  page.whenShown.push(() => { if (toggle()) show(); });
  document.addEventListener("click", (event) => { if (event.target === toggle()) change(); });
  keys.on("l", change);
  show();
  setInterval(() => {
    if (live && document.visibilityState === "visible") page.load(location.href, "list");
  }, 2000);
})();
