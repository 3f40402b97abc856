// The frame of every page: parts, times, theme, copying, keys, the health line. Everything works
// without it, as ordinary links and forms.
//
// A link or a form with `data-part` asks the same address for one part of the page, with the header
// `Vidimus-Part`, and the part takes the place of the element with the same id. The server renders
// all text, so nothing from an entry becomes markup here.
"use strict";

const byId = (id) => document.getElementById(id);
const remember = {
  get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
  set: (key, value) => { try { localStorage.setItem(key, value); } catch { /* not remembered */ } },
};

const page = (() => {
  const announce = (text) => { byId("said").textContent = text; };
  // Called with each element whose content came from the server.
  const whenShown = [];
  const show = (within) => { for (const each of whenShown) each(within); };

  // Parts.

  const replace = (html) => {
    const fresh = new DOMParser().parseFromString(html, "text/html");
    for (const part of [...fresh.body.children]) {
      const old = part.id && byId(part.id);
      if (!old) continue;
      Idiomorph.morph(old, part, {
        morphStyle: "outerHTML",
        ignoreActiveValue: document.activeElement.matches("input, textarea"),
        callbacks: {
          // What the user opened stays open, and what is being typed stays as it is.
          beforeAttributeUpdated: (name, node) => !(name === "open" && node.dataset.keep !== undefined),
          beforeNodeMorphed: (node) => !(node.dataset?.mine !== undefined),
          beforeNodeRemoved: (node) => !(node.dataset?.mine !== undefined),
        },
      });
      show(byId(part.id));
    }
  };

  // The request in progress, for each part.
  const running = new Map();

  // Asks `address` for a part and puts it in place. False if it did not arrive.
  const load = async (address, part) => {
    running.get(part)?.abort();
    const abort = new AbortController();
    running.set(part, abort);
    document.documentElement.classList.add("loading");
    try {
      const answer = await fetch(address, {
        headers: { accept: "text/html", "vidimus-part": part },
        signal: abort.signal,
      });
      const html = await answer.text();
      // A login, or a page that has no such part.
      if (answer.headers.get("vidimus-part") !== part) return false;
      replace(html);
      return true;
    } catch (error) {
      return error.name === "AbortError";
    } finally {
      if (running.get(part) === abort) running.delete(part);
      if (running.size === 0) document.documentElement.classList.remove("loading");
    }
  };

  // Goes to an address of this page. If the part does not arrive, the browser goes there.
  const visit = async (address, part, remembered = true) => {
    const url = new URL(address, location.href);
    const before = location.href;
    if (remembered) history.pushState(null, "", url);
    if (await load(url, part)) {
      document.title = `${document.querySelector("h1").textContent} · Vidimus`;
      document.dispatchEvent(new CustomEvent("visited", { detail: { part, before } }));
    } else if (location.href === url.href) {
      location.reload();
    }
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-part]");
    const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (!link || !plain || event.defaultPrevented) return;
    event.preventDefault();
    link.closest("details.menu")?.removeAttribute("open");
    visit(link.href, link.dataset.part);
  });

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.dataset.part === undefined || form.method !== "get") return;
    event.preventDefault();
    const url = new URL(form.action);
    const fields = [...new FormData(form)].filter(([, value]) => value !== "");
    url.search = new URLSearchParams(fields);
    for (const menu of form.querySelectorAll("details.menu")) menu.removeAttribute("open");
    form.closest("details.menu")?.removeAttribute("open");
    visit(url, form.dataset.part);
  });

  addEventListener("popstate", () => visit(location.href, "main", false));

  // A menu closes when the user turns to something else.
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.removeAttribute("open");
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = document.activeElement.closest?.("details.menu[open]");
    if (!menu) return;
    menu.removeAttribute("open");
    menu.querySelector("summary").focus();
  });

  return { announce, load, visit, whenShown };
})();

// Times are in UTC or in local time, and the choice is remembered. Shown times and input fields use
// the same zone.

(() => {
  const pad = (number, width = 2) => String(number).padStart(width, "0");
  let local = remember.get("zone") === "local";

  // The offset of a time in the current zone, as in RFC 3339.
  const offsetAt = (at) => {
    if (!local) return "Z";
    const minutes = -at.getTimezoneOffset();
    const size = Math.abs(minutes);
    return `${minutes < 0 ? "-" : "+"}${pad(Math.floor(size / 60))}:${pad(size % 60)}`;
  };

  const nameOf = (offset) => (offset === "Z" ? "UTC" : `UTC${offset}`);

  // A time in the current zone: its digits and its offset.
  const parts = (exact) => {
    const at = new Date(exact);
    if (!local || Number.isNaN(at.getTime())) return [exact.replace("Z", ""), "Z"];
    const date = [pad(at.getFullYear(), 4), pad(at.getMonth() + 1), pad(at.getDate())];
    const clock = [at.getHours(), at.getMinutes(), at.getSeconds()].map((n) => pad(n));
    return [`${date.join("-")}T${clock.join(":")}.${pad(at.getMilliseconds(), 3)}`, offsetAt(at)];
  };

  const write = (element) => {
    const [digits, offset] = parts(element.getAttribute("datetime"));
    const shown = document.createElement("span");
    shown.className = "offset";
    shown.textContent = ` ${nameOf(offset)}`;
    element.replaceChildren(digits.replace("T", " "), shown);
    element.title = digits + offset;
    element.classList.toggle("differs", offset !== offsetAt(new Date()));
  };

  // The tick of a chart: the date or the time of day.
  const writeTick = (tick) => {
    const [digits] = parts(tick.dataset.tick);
    const [date, clock] = digits.split("T");
    const short = clock.startsWith("00:00") ? date.slice(5) : clock.slice(0, 5);
    tick.textContent = tick.dataset.days === undefined ? short : date.slice(5);
  };

  const EXACT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;
  const WITHOUT_ZONE = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?))?$/;
  const asFilledIn = (at) => parts(at.toISOString()).join("").replace(".000", "");
  const filledIn = (within) => within.querySelectorAll("input[data-time]");

  // An input without a zone is in the current zone. The server reads it as UTC.
  const exactly = (text, isLocal) => {
    const [, date, clock] = WITHOUT_ZONE.exec(text.trim()) ?? [];
    const at = new Date(`${date}T${clock ?? "00:00"}${isLocal ? "" : "Z"}`);
    return Number.isNaN(at.getTime()) ? text : asFilledIn(at);
  };

  const setExactly = (within, isLocal) => {
    for (const input of filledIn(within)) input.value = exactly(input.value, isLocal);
  };

  const show = (within) => {
    for (const element of within.querySelectorAll("time")) write(element);
    for (const tick of within.querySelectorAll("[data-tick]")) writeTick(tick);
    for (const bar of within.querySelectorAll("[data-start]")) {
      const [digits, offset] = parts(bar.dataset.start);
      bar.querySelector("title").textContent = `${digits}${offset}: ${bar.dataset.entries}`;
    }
    const name = nameOf(offsetAt(new Date()));
    for (const element of within.querySelectorAll(".zone-name")) element.textContent = name;
    for (const input of filledIn(within)) {
      const at = EXACT.test(input.value) ? new Date(input.value) : new Date(NaN);
      if (!Number.isNaN(at.getTime())) input.value = asFilledIn(at);
    }
  };

  const zone = byId("zone");
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone || "local";
  const showZone = () => {
    zone.textContent = nameOf(offsetAt(new Date()));
    zone.title = local ? `${name}. Show times in UTC` : `Show times in the local zone, ${name}`;
    show(document);
  };

  zone.hidden = false;
  zone.addEventListener("click", () => {
    setExactly(document, local);
    local = !local;
    remember.set("zone", local ? "local" : "utc");
    showZone();
    page.announce(`Times are ${nameOf(offsetAt(new Date()))}`);
  });
  addEventListener("submit", (event) => setExactly(event.target, local), true);
  page.whenShown.push(show);
  if (local) setExactly(document, false);
  showZone();

  // The printed page shows its address and the time.
  const preparePrint = () => {
    const at = document.createElement("time");
    at.setAttribute("datetime", new Date().toISOString());
    write(at);
    byId("address").textContent = location.href;
    byId("printed-at").replaceChildren("printed ", at);
  };
  preparePrint();
  addEventListener("beforeprint", preparePrint);

})();

// The theme: the system's, light or dark.

(() => {
  const THEMES = ["auto", "light", "dark"];
  const button = byId("theme");
  const root = document.documentElement;
  const show = () => {
    const theme = root.dataset.theme ?? "auto";
    button.textContent = { auto: "◐", light: "☀", dark: "☾" }[theme];
    button.setAttribute("aria-label", `Theme: ${theme}`);
    button.title = `Theme: ${theme}`;
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "auto") + 1) % THEMES.length];
    if (next === "auto") delete root.dataset.theme; else root.dataset.theme = next;
    remember.set("theme", next === "auto" ? "" : next);
    show();
    page.announce(`Theme: ${next}`);
  });
  show();
})();

// Copying.

(() => {
  const copy = async (text) => {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    // Without TLS the clipboard is only available on localhost.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "hidden";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("the browser refused");
  };

  const textOf = async (button) => {
    if (button.dataset.copyText !== undefined) return button.dataset.copyText;
    if (button.dataset.copyLink) return new URL(button.dataset.copyLink, location.href).href;
    if (button.dataset.copy) return byId(button.dataset.copy).textContent;
    const answer = await fetch(button.dataset.copyFrom);
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const text = await answer.text();
    if (button.dataset.member !== "raw") return text;
    const entry = JSON.parse(text);
    return entry.raw ?? entry.raw_base64;
  };

  const copyFor = async (button) => {
    const name = button.dataset.name ?? button.textContent;
    button.dataset.name = name;
    try {
      await copy(await textOf(button));
      button.textContent = "Copied";
      page.announce("Copied");
    } catch (error) {
      button.textContent = "Not copied";
      page.announce(`Not copied: ${error.message}`);
    }
    setTimeout(() => { button.textContent = name; }, 2000);
  };

  const show = (within) => {
    for (const button of within.querySelectorAll("button.copy")) button.hidden = false;
  };
  page.whenShown.push(show);
  show(document);
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button.copy");
    if (button) copyFor(button);
  });
})();

// The health line is fetched again every ten seconds while the page is visible.

(() => {
  if (!byId("health")) return;
  setInterval(() => {
    if (document.visibilityState === "visible") page.load("/healthline", "health");
  }, 10_000);
})();

// Keys. They do nothing while the user types.

const keys = (() => {
  const actions = new Map();
  const isTyping = (element) => element.matches?.("input, textarea, select") || element.isContentEditable;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const action = actions.get(event.key);
    if (!action || byId("help")?.open) return;
    if (action() !== false) event.preventDefault();
  });
  const help = byId("help");
  actions.set("?", () => help.showModal());
  const button = byId("keys-help");
  button.hidden = false;
  button.addEventListener("click", () => help.showModal());
  return { on: (key, action) => actions.set(key, action) };
})();

// In a list: `j` and `k` move, Enter opens the page of a row.
(() => {
  const rows = () => [...document.querySelectorAll("[data-rows] > [data-row]")];
  const current = () => document.activeElement.closest?.("[data-row]");
  const focus = (row) => {
    (row?.querySelector("a[data-page]") ?? row?.querySelector("a"))?.focus();
    row?.scrollIntoView({ block: "nearest" });
  };
  const move = (step) => () => {
    const all = rows();
    // The page of one entry or delivery goes on to the next.
    if (all.length === 0 || document.querySelector("nav [rel=next], nav [rel=prev]")) {
      const link = document.querySelector(step > 0 ? "nav [rel=next]" : "nav [rel=prev]");
      link?.click();
      return Boolean(link);
    }
    const at = all.indexOf(current());
    focus(all[at < 0 ? 0 : Math.min(Math.max(at + step, 0), all.length - 1)]);
    return all.length > 0;
  };
  keys.on("j", move(1));
  keys.on("k", move(-1));
  // `o` opens a row in place or closes it.
  keys.on("o", () => {
    const link = current()?.querySelector("a[data-open]");
    link?.click();
    return Boolean(link);
  });
  document.addEventListener("visited", () => {
    const row = document.querySelector("[data-row].opened");
    if (row && document.activeElement === document.body) focus(row);
  });
})();
