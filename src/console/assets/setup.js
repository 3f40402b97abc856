// Looks whether a delivery has arrived, and turns the listener of the page green.
"use strict";

(() => {
  const INTERVAL = 2000;
  const listener = document.getElementById("listener");

  // Whether the waiting is over.
  const look = async () => {
    const answer = await fetch(listener.dataset.poll, { headers: { accept: "text/html" } });
    if (!answer.ok) return false;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("listener");
    // The login is asked for.
    if (!fresh) return true;
    if (!fresh.classList.contains("arrived")) return false;
    listener.replaceChildren(...fresh.childNodes);
    listener.className = fresh.className;
    document.getElementById("said").textContent = document.getElementById("listener-state").textContent;
    return true;
  };

  const wait = () => setTimeout(async () => {
    let over = false;
    // A hidden tab asks nothing.
    if (document.visibilityState === "visible") {
      try { over = await look(); } catch { /* the next look tries again */ }
    }
    if (!over) wait();
  }, INTERVAL);

  if (!listener.classList.contains("arrived")) wait();
})();
