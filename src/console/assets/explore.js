// The page of entries: the query with colours, completion and history, the brush on the histogram,
// live entries, and searches that this browser saves.
"use strict";

(() => {
  if (!byId("search")) return;

  // The query is shown in colours behind its input.

  const TOKENS = /"(?:\\.|[^"\\])*"?|\b(?:AND|OR|NOT|TO)\b|[^\s:()"]+(?=:)|[()[\]{}:]|\s+|[^\s:()"]+/g;
  const classOf = (token, next) => {
    if (/^(AND|OR|NOT|TO)$/.test(token)) return "operator";
    if (/^[()[\]{}:]$/.test(token)) return "mark";
    if (next === ":") return "field";
    return token.startsWith('"') ? "string" : "";
  };
  const paint = () => {
    const tokens = byId("q").value.match(TOKENS) ?? [];
    byId("q-shown").replaceChildren(...tokens.map((token, at) => {
      const span = document.createElement("span");
      span.className = classOf(token, tokens[at + 1]);
      span.textContent = token;
      return span;
    }));
    byId("q-shown").scrollLeft = byId("q").scrollLeft;
  };

  // Completion: of the name of a field, of a value, or of a whole earlier query.

  const HISTORY = "history";
  const MOST = 12;
  const past = () => { try { return JSON.parse(remember.get(HISTORY)) ?? []; } catch { return []; } };
  const keepQuery = () => {
    const query = new URLSearchParams(location.search).get("q")?.trim();
    if (query) remember.set(HISTORY, JSON.stringify([query, ...past().filter((one) => one !== query)].slice(0, 20)));
  };

  const quoted = (text) => (/^(?!(?:AND|OR|NOT|TO)$)\w[\w.-]*$/.test(text) ? text : `"${text.replace(/["\\]/g, "\\$&")}"`);

  // What is being typed before the cursor: a field, or a field and the beginning of a value.
  const typed = () => {
    const input = byId("q");
    const before = input.value.slice(0, input.selectionStart);
    const [, field, value] = /(?:^|[\s(-])([\w.]+):"?([^"\s()]*)$/.exec(before) ?? [];
    if (field) return { field, prefix: value, from: before.length - value.length - (before.at(-1 - value.length) === '"' ? 1 : 0) };
    const [word] = /[\w.]*$/.exec(before);
    return { prefix: word, from: before.length - word.length };
  };

  let asked = 0;
  const options = async () => {
    const input = byId("q");
    if (input.value.trim() === "") {
      return past().slice(0, MOST).map((query) => ({ text: query, note: "history", from: 0, put: query }));
    }
    const { field, prefix, from } = typed();
    const get = async (path, parameters) => {
      const answer = await fetch(`${path}?${new URLSearchParams(parameters)}`);
      return answer.ok ? answer.json() : {};
    };
    if (field) {
      const { values = [] } = await get("/api/v1/facets", { field, prefix, limit: MOST });
      return values.filter(({ value }) => value !== "").map(({ value, entries }) => ({ text: value, note: String(entries), from, put: `${quoted(value)} ` }));
    }
    if (prefix === "") return [];
    const { fields = [] } = await get("/api/v1/fields", { prefix, limit: MOST });
    return fields.map(({ name, type }) => ({ text: name, note: type, from, put: `${quoted(name)}:` }));
  };

  let shown = [];
  let at = -1;
  const list = byId("completions");
  const input = byId("q");
  input.setAttribute("role", "combobox");
  input.setAttribute("aria-autocomplete", "list");
  input.setAttribute("aria-controls", "completions");
  input.setAttribute("aria-expanded", "false");

  const close = () => {
    asked += 1;
    [shown, at] = [[], -1];
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };

  const choose = (number) => {
    at = number;
    [...list.children].forEach((item, one) => item.setAttribute("aria-selected", String(one === at)));
    if (at >= 0) {
      input.setAttribute("aria-activedescendant", `completion-${at}`);
      list.children[at].scrollIntoView({ block: "nearest" });
    } else {
      input.removeAttribute("aria-activedescendant");
    }
  };

  const take = (option) => {
    const end = input.selectionStart;
    input.setRangeText(option.put, option.from, option.from === 0 && option.note === "history" ? input.value.length : end, "end");
    close();
    paint();
    input.focus();
    if (option.put.endsWith(":")) complete();
  };

  const complete = async () => {
    const number = ++asked;
    let found = [];
    try { found = await options(); } catch { /* without completion */ }
    if (number !== asked || document.activeElement !== input) return;
    shown = found;
    list.replaceChildren(...found.map((option, one) => {
      const item = document.createElement("li");
      const text = document.createElement("bdi");
      const note = document.createElement("span");
      item.id = `completion-${one}`;
      item.setAttribute("role", "option");
      text.textContent = marked(option.text);
      note.textContent = option.note;
      note.className = "number";
      item.append(text, " ", note);
      item.addEventListener("mousedown", (event) => { event.preventDefault(); take(option); });
      return item;
    }));
    list.hidden = found.length === 0;
    input.setAttribute("aria-expanded", String(found.length > 0));
    choose(-1);
  };

  // Invisible characters are marked as on the server (pages/text.rs).
  const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;
  const marked = (text) => text.slice(0, 160).replace(HIDDEN, (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);

  input.addEventListener("input", () => { paint(); complete(); });
  input.addEventListener("focus", () => { if (input.value === "") complete(); });
  input.addEventListener("scroll", () => { byId("q-shown").scrollLeft = input.scrollLeft; });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && list.hidden) {
      complete();
    } else if (step) {
      // One more place than options: that of the input itself.
      const places = shown.length + 1;
      choose((at + 1 + step + places) % places - 1);
    } else if ((event.key === "Enter" || event.key === "Tab") && at >= 0) {
      take(shown[at]);
    } else if (event.key === "Escape" && !list.hidden) {
      close();
    } else {
      return;
    }
    event.preventDefault();
  });

  // Facets and columns complete the names of fields too.
  document.addEventListener("focusin", async (event) => {
    if (event.target.id !== "more" || event.target.list) return;
    const answer = await fetch("/api/v1/fields");
    if (!answer.ok) return;
    const names = document.createElement("datalist");
    names.id = "field-names";
    names.append(...(await answer.json()).fields.map(({ name }) => new Option(name)));
    if (!byId("field-names")) document.body.append(names);
    event.target.setAttribute("list", "field-names");
  });

  // The brush: dragging on the histogram selects a range.

  const brush = (() => {
    let begun = null;
    const place = (event) => {
      const box = byId("plot").getBoundingClientRect();
      return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    };
    const draw = (from, to) => {
      const area = byId("brush");
      area.hidden = false;
      area.style.left = `${Math.min(from, to) * 100}%`;
      area.style.width = `${Math.abs(to - from) * 100}%`;
    };
    document.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && event.target.closest?.("#plot")) begun = place(event);
    });
    document.addEventListener("dragstart", (event) => { if (begun !== null) event.preventDefault(); });
    document.addEventListener("pointermove", (event) => {
      if (begun !== null && Math.abs(place(event) - begun) > 0.005) draw(begun, place(event));
    });
    document.addEventListener("pointerup", (event) => {
      if (begun === null) return;
      const [from, to] = [Math.min(begun, place(event)), Math.max(begun, place(event))];
      begun = null;
      byId("brush").hidden = true;
      if (to - from < 0.005) return;
      // The link under the pointer is not followed.
      addEventListener("click", (click) => { click.preventDefault(); click.stopPropagation(); }, { capture: true, once: true });
      setTimeout(() => dispatchEvent(new Event("click")), 0);
      const ends = ["from", "to"].map((end) => Date.parse(byId("plot").dataset[end]));
      const time = (part) => new Date(ends[0] + part * (ends[1] - ends[0])).toISOString();
      const url = new URL(location.href);
      url.searchParams.delete("cursor");
      url.searchParams.delete("open");
      url.searchParams.set("since", time(from));
      url.searchParams.set("until", time(to));
      page.visit(url, "main");
    });
    return { isActive: () => begun !== null };
  })();

  // Live: the stream says that entries have come, and the table and the counts are asked for again.
  // The table at most once a second, the counts at most every ten, and each at most a twentieth of
  // the time, so that watching does not slow the receiver.

  const live = (() => {
    let source = null;
    let paused = false;
    let [came, missed, waiting] = [0, 0, 0];
    const say = (text) => { byId("live-said").textContent = text; };

    const showState = () => {
      const state = paused ? `paused, ${waiting} waiting` : `${came} new`;
      say(source ? (missed ? `${state}, ${missed} skipped` : state) : "");
    };

    const refresher = (part, least) => {
      let [next, timer] = [0, null];
      const run = async () => {
        timer = null;
        if (!source || paused || brush.isActive()) return;
        const began = performance.now();
        const known = new Set([...document.querySelectorAll("[data-row]")].map((row) => row.id));
        await page.load(location.href, part);
        if (part === "table") {
          for (const row of document.querySelectorAll("[data-row]")) row.classList.toggle("new", !known.has(row.id));
        } else {
          page.announce(`${came} new`);
        }
        next = performance.now() + Math.max(least, 20 * (performance.now() - began));
      };
      return { ask: () => { timer ??= setTimeout(run, Math.max(0, next - performance.now())); }, soon: () => { next = 0; } };
    };
    const parts = [refresher("table", 1000), refresher("counts", 10_000)];
    const refresh = () => { for (const part of parts) part.ask(); };

    const receive = () => {
      came += 1;
      if (paused) waiting += 1; else refresh();
      showState();
    };

    const start = () => {
      source = new EventSource(byId("live").dataset.stream);
      [came, missed, waiting, paused] = [0, 0, 0, false];
      for (const part of parts) part.soon();
      source.addEventListener("entry", receive);
      source.addEventListener("changed", receive);
      source.addEventListener("skipped", (event) => {
        const { from, to } = JSON.parse(event.data);
        missed += to - from + 1;
        refresh();
        showState();
      });
      source.addEventListener("open", showState);
      source.addEventListener("error", () => say("connection lost, retrying"));
      say("connecting");
    };

    const stop = () => {
      source?.close();
      source = null;
      if (byId("live-said")) showState();
    };

    const showButtons = () => {
      byId("live-toggle").setAttribute("aria-pressed", String(source !== null));
      const pause = byId("live-pause");
      pause.hidden = source === null;
      pause.setAttribute("aria-pressed", String(paused));
      pause.textContent = paused ? "Resume" : "Pause";
    };

    const toggle = () => {
      if (!byId("live")) return false;
      if (source) stop(); else start();
      showButtons();
      return true;
    };

    document.addEventListener("click", (event) => {
      if (event.target.id === "live-toggle") toggle();
      if (event.target.id !== "live-pause") return;
      paused = !paused;
      waiting = 0;
      if (!paused) { for (const part of parts) part.soon(); refresh(); }
      showState();
      showButtons();
    });

    // Another query has another stream.
    const show = () => {
      const [on, off] = [byId("live"), byId("live-off")];
      if (on) on.hidden = false;
      if (off) off.hidden = false;
      if (source && source.url !== new URL(on?.dataset.stream ?? "", location.href).href) {
        stop();
        if (on) { start(); }
      }
      if (on) { showButtons(); showState(); }
    };
    return { toggle, show };
  })();

  // The page of an empty store is reloaded when the first entry arrives.
  const first = byId("first");
  if (first) {
    const source = new EventSource(first.dataset.stream);
    source.addEventListener("entry", () => { source.close(); location.reload(); });
  }

  // Searches that this browser saves: their name and address.

  const saved = (() => {
    const all = () => { try { return JSON.parse(remember.get("saved")) ?? []; } catch { return []; } };
    const keep = (list) => { remember.set("saved", JSON.stringify(list)); show(); };
    const item = ({ name, address }) => {
      const [entry, link, remove] = ["li", "a", "button"].map((tag) => document.createElement(tag));
      link.textContent = name;
      // Only an address of this page.
      link.href = `/?${String(address).split("?")[1] ?? ""}`;
      link.dataset.part = "main";
      remove.type = "button";
      remove.className = "icon";
      remove.textContent = "×";
      remove.setAttribute("aria-label", `Remove ${name}`);
      remove.addEventListener("click", () => keep(all().filter((one) => one.name !== name)));
      entry.append(link, " ", remove);
      return entry;
    };
    const show = () => {
      const menu = byId("saved");
      if (!menu) return;
      menu.hidden = false;
      menu.querySelector("ul").replaceChildren(...all().map(item));
    };
    const save = () => {
      const name = byId("save-name").value.trim() || byId("q").value || "all entries";
      keep([{ name, address: location.pathname + location.search }, ...all().filter((one) => one.name !== name)].slice(0, 50));
      byId("save-name").value = "";
      page.announce(`Saved as ${name}`);
    };
    document.addEventListener("click", (event) => { if (event.target.id === "save") save(); });
    document.addEventListener("keydown", (event) => {
      if (event.target.id === "save-name" && event.key === "Enter") { event.preventDefault(); save(); }
    });
    return { show };
  })();

  // The filter of a facet: its values that begin with a text.

  const filterFacet = async (facet, prefix) => {
    const list = facet.querySelector("ul");
    list.original ??= [...list.childNodes];
    list.asked = prefix;
    if (prefix === "") {
      list.replaceChildren(...list.original);
      return;
    }
    const here = new URLSearchParams(location.search);
    const asked = new URLSearchParams({ field: facet.dataset.field, prefix, limit: 20 });
    for (const name of ["q", "since", "until"]) if (here.get(name)) asked.set(name, here.get(name));
    const answer = await fetch(`/api/v1/facets?${asked}`);
    if (!answer.ok) return;
    const { values } = await answer.json();
    // An earlier answer may arrive after a later one.
    if (list.asked !== prefix) return;
    list.replaceChildren(...values.map(({ value, entries }) => {
      const [item, link, text, number] = ["li", "a", "bdi", "span"].map((tag) => document.createElement(tag));
      const narrowed = new URLSearchParams(here);
      narrowed.set("q", `${here.get("q") ? `(${here.get("q")}) ` : ""}${quoted(facet.dataset.field)}:${quoted(value)}`);
      narrowed.delete("cursor");
      link.href = `/?${narrowed}`;
      link.dataset.part = "main";
      text.textContent = marked(value);
      number.className = "number";
      number.textContent = entries.toLocaleString("en");
      link.append(text);
      item.append(link, number);
      return item;
    }));
  };

  const addFilters = (within) => {
    for (const facet of within.querySelectorAll(".facet")) {
      const filter = facet.querySelector("input");
      facet.querySelector("ul").original = undefined;
      if (filter?.value) filterFacet(facet, filter.value);
      if (filter || facet.querySelectorAll("li").length < 8) continue;
      const input = document.createElement("input");
      input.type = "search";
      input.placeholder = "filter";
      input.dataset.mine = "";
      input.className = "filter";
      input.setAttribute("aria-label", `Filter ${facet.dataset.field}`);
      input.addEventListener("input", () => filterFacet(facet, input.value));
      facet.querySelector("h2").after(input);
    }
  };

  // Everything that is shown again after a part was put in place.

  const show = (within) => { live.show(); saved.show(); addFilters(within); };
  page.whenShown.push(show);
  show(document);
  paint();
  keepQuery();
  document.addEventListener("visited", () => { close(); paint(); keepQuery(); });

  keys.on("/", () => { byId("q").focus(); byId("q").select(); });
  keys.on("l", () => live.toggle());
  keys.on("e", () => {
    const menu = byId("export");
    if (!menu) return false;
    menu.open = true;
    menu.querySelector("a").focus();
    return true;
  });
  keys.on("x", () => {
    const exclude = document.activeElement.closest?.("[data-row]")?.dataset.exclude;
    if (exclude) page.visit(exclude, "main");
    return Boolean(exclude);
  });
})();
