// Adds live entries, local times and copying. Everything else on the pages works without it.
// Text from entries is hostile: it is set as text, never as markup, and invisible characters are
// marked as on the server (pages/text.rs).
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  const announce = (text) => { byId("said").textContent = text; };

  // Times are in UTC or in local time, and the choice is remembered. Shown times and input fields
  // use the same zone.

  const pad = (number, width) => String(number).padStart(width, "0");

  // The offset of a time in the current zone, as in RFC 3339.
  const offsetAt = (at) => {
    if (!local) return "Z";
    const minutes = -at.getTimezoneOffset();
    const size = Math.abs(minutes);
    return `${minutes < 0 ? "-" : "+"}${pad(Math.floor(size / 60), 2)}:${pad(size % 60, 2)}`;
  };

  const nameOf = (offset) => (offset === "Z" ? "UTC" : `UTC${offset}`);

  // A time in the current zone: its digits and its offset.
  const parts = (exact) => {
    const at = new Date(exact);
    if (!local || Number.isNaN(at.getTime())) return [exact.replace("Z", ""), "Z"];
    const date = [pad(at.getFullYear(), 4), pad(at.getMonth() + 1, 2), pad(at.getDate(), 2)];
    const clock = [at.getHours(), at.getMinutes(), at.getSeconds()].map((n) => pad(n, 2));
    return [`${date.join("-")}T${clock.join(":")}.${pad(at.getMilliseconds(), 3)}`, offsetAt(at)];
  };

  const writeTime = (element) => {
    const [digits, offset] = parts(element.getAttribute("datetime"));
    const shown = document.createElement("span");
    shown.className = "offset";
    shown.textContent = ` ${nameOf(offset)}`;
    element.replaceChildren(digits.replace("T", " "), shown);
    element.title = digits + offset;
    element.classList.toggle("differs", offset !== offsetAt(new Date()));
  };

  const remembered = () => {
    try { return localStorage.getItem("zone") === "local"; } catch { return false; }
  };

  let local = remembered();
  const zone = byId("zone");

  const EXACT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;
  const WITHOUT_ZONE = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?))?$/;
  const filledIn = ["since", "until"].map(byId).filter(Boolean);

  const showTimes = (within) => {
    for (const element of within.querySelectorAll("time")) writeTime(element);
    for (const bar of within.querySelectorAll("a[data-start]")) {
      const [digits, offset] = parts(bar.dataset.start);
      bar.querySelector("title").textContent = `${digits}${offset}: ${bar.dataset.entries}`;
    }
    const name = nameOf(offsetAt(new Date()));
    for (const element of within.querySelectorAll(".zone-name")) element.textContent = name;
  };

  const asFilledIn = (at) => parts(at.toISOString()).join("").replace(".000", "");

  const showZone = () => {
    const name = Intl.DateTimeFormat().resolvedOptions().timeZone || "local";
    zone.textContent = `Times: ${nameOf(offsetAt(new Date()))}`;
    zone.title = local ? `${name}. Show times in UTC` : `Show times in the local zone, ${name}`;
    showTimes(document);
    for (const input of filledIn) {
      const at = EXACT.test(input.value) ? new Date(input.value) : new Date(NaN);
      if (!Number.isNaN(at.getTime())) input.value = asFilledIn(at);
    }
  };

  // An input without a zone is in the current zone. The server reads it as UTC.
  const exactly = (text, isLocal) => {
    const [, date, clock] = WITHOUT_ZONE.exec(text.trim()) ?? [];
    const at = new Date(`${date}T${clock ?? "00:00"}${isLocal ? "" : "Z"}`);
    return Number.isNaN(at.getTime()) ? text : asFilledIn(at);
  };

  const setExactly = (isLocal) => {
    for (const input of filledIn) input.value = exactly(input.value, isLocal);
  };

  document.querySelector("form.query")?.addEventListener("submit", () => setExactly(local));

  zone.hidden = false;
  zone.addEventListener("click", () => {
    setExactly(local);
    local = !local;
    try { localStorage.setItem("zone", local ? "local" : "utc"); } catch { /* not remembered */ }
    showZone();
    announce(`Times are ${nameOf(offsetAt(new Date()))}`);
  });
  if (local) setExactly(false);
  showZone();

  // The printed page shows its address and the time.

  const preparePrint = () => {
    const at = document.createElement("time");
    at.setAttribute("datetime", new Date().toISOString());
    writeTime(at);
    byId("address").textContent = location.href;
    byId("printed-at").replaceChildren("printed ", at);
  };
  preparePrint();
  addEventListener("beforeprint", preparePrint);

  // Copying.

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
    if (button.dataset.copy) return byId(button.dataset.copy).textContent;
    const answer = await fetch(button.dataset.copyFrom);
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const json = await answer.text();
    if (button.dataset.member !== "raw") return json;
    const entry = JSON.parse(json);
    return entry.raw ?? entry.raw_base64;
  };

  for (const button of document.querySelectorAll("button.copy")) {
    const name = button.textContent;
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await copy(await textOf(button));
        button.textContent = "Copied";
        announce("Copied");
      } catch (error) {
        button.textContent = "Not copied";
        announce(`Not copied: ${error.message}`);
      }
      setTimeout(() => { button.textContent = name; }, 2000);
    });
  }

  // Live entries.

  if (!window.EventSource) return;

  // The page of an empty store is reloaded when the first entry arrives.
  const first = byId("first");
  if (first) {
    const source = new EventSource(first.dataset.stream);
    source.addEventListener("entry", () => { source.close(); location.reload(); });
  }

  const off = byId("live-off");
  if (off) off.hidden = false;
  const live = byId("live");
  if (!live) return;

  const MAX_ROWS = 500;
  const CELL = 160;
  const TITLE = 1000;
  const SIGNS = { valid: "✓", unsigned: "–", no_key: "?", invalid: "✗", malformed: "!" };
  const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8]|[\u{e0000}-\u{10ffff}]|(?! )\p{Zs}/gu;
  const MARKS = { "\n": "␊", "\r": "␍", "\t": "␉" };

  const shown = (text, most) => {
    const chars = [...text.slice(0, 2 * most + 2)];
    const cut = chars.length > most;
    const part = (cut ? chars.slice(0, most) : chars).join("");
    const marked = part.replace(HIDDEN, (c) =>
      MARKS[c] ?? `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
    return cut ? `${marked}…` : marked;
  };

  // Abbreviates a value as in pages/text.rs.
  const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
  const short = (text) =>
    (UUID.test(text) ? `${text.slice(0, 8)}…${text.slice(32)}` : text.replace(/^AUTHENTICATION_OUTCOME_(?=.)/s, ""));

  const cell = (row, name, value, write = (text) => text) => {
    const element = row.insertCell();
    element.dataset.name = name;
    if (value === undefined) return element;
    const text = String(value ?? "");
    const inner = document.createElement("bdi");
    inner.textContent = shown(write(text), CELL);
    element.title = shown(text, TITLE);
    element.append(inner);
    return element;
  };

  // The outcome, and whether it is a refusal or a failure, as in pages/entries.rs.
  const outcome = ({ kind, fields }) => {
    const joined = (...parts) =>
      parts.filter((part) => part !== undefined && part !== null && part !== "").join(" ");
    const says = (value, yes, no) => (value === true ? yes : value === false ? no : "");
    switch (kind) {
      case "access":
        return [joined(fields.status, fields.act, fields.request), fields.status >= 400];
      case "authorization":
        return [joined(says(fields.granted, "granted", "denied"), fields.action), fields.granted === false];
      case "authentication":
        return [
          joined(
            says(fields.success, "success", "failed"),
            String(fields.name).replace(/^AUTHENTICATION_OUTCOME_(SUCCESS$)?/, ""),
            String(fields.event_class_id ?? "").replace(/^AUTHENTICATION_TYPE_/, ""),
          ),
          fields.success === false,
        ];
      default:
        return ["", false];
    }
  };

  const fill = (row, entry) => {
    row.replaceChildren();
    row.dataset.id = entry.id;
    const link = document.createElement("a");
    const time = document.createElement("time");
    link.href = `/entries/${encodeURIComponent(entry.id)}`;
    time.setAttribute("datetime", entry.time);
    writeTime(time);
    link.append(time);
    cell(row, "Time").append(link);
    cell(row, "Kind").textContent = entry.kind ?? "none";
    const fields = entry.fields;
    cell(row, "Name", fields.name ?? entry.raw ?? entry.raw_base64, fields.name ? short : undefined);
    cell(row, "Principal", fields.principal_name || (fields.principal_id ?? ""), short);
    cell(row, "Source", fields.src);
    const [came, bad] = outcome(entry);
    cell(row, "Outcome", came).className = bad ? "bad" : "";
    const verdict = cell(row, "Verdict");
    const badge = document.createElement("span");
    const sign = document.createElement("span");
    badge.className = `verdict ${entry.verdict in SIGNS ? entry.verdict : "malformed"}`;
    sign.setAttribute("aria-hidden", "true");
    sign.textContent = SIGNS[entry.verdict] ?? "";
    badge.append(sign, ` ${entry.verdict}`);
    if (entry.reason) verdict.title = shown(entry.reason, 80);
    verdict.append(badge);
    for (const warning of entry.warnings) {
      const mark = document.createElement("span");
      mark.className = "warning";
      mark.textContent = shown(warning, 80);
      verdict.append(" ", mark);
    }
  };

  const table = byId("entries");
  const body = table.tBodies[0];
  const toggle = byId("live-toggle");
  const pause = byId("live-pause");
  const said = byId("live-said");
  let source = null;
  let paused = false;
  let waiting = [];
  let came = 0;
  let missed = 0;

  const showState = () => {
    const state = paused ? `paused, ${waiting.length} waiting` : `${came} new`;
    said.textContent = source ? (missed ? `${state}, ${missed} skipped` : state) : "";
  };

  const find = (id) => body.querySelector(`tr[data-id="${Number(id)}"]`);

  // The list is sorted by time, then by id, newest first. Times in the same format compare as text.
  const isNewer = (entry, row) => {
    const time = row.querySelector("time")?.getAttribute("datetime") ?? "";
    return entry.time === time ? entry.id > Number(row.dataset.id) : entry.time > time;
  };

  const show = (entry) => {
    const there = find(entry.id);
    const row = there ?? document.createElement("tr");
    if (!there) {
      const after = [...body.rows].find((one) => isNewer(entry, one));
      body.insertBefore(row, after ?? null);
    }
    fill(row, entry);
    if (!there) {
      row.className = "new";
      setTimeout(() => { row.className = ""; }, 1500);
    }
    table.hidden = false;
    const none = byId("none");
    if (none) none.hidden = true;
    while (body.rows.length > MAX_ROWS) body.deleteRow(-1);
  };

  // The summary and the facets are fetched from the server again: at most every ten seconds, and
  // taking at most a twentieth of the time. A part that has the keyboard focus is not replaced.
  const INTERVAL = 10_000;
  let nextRefresh = 0;
  let refreshTimer = null;
  let announced = 0;

  const replacePart = (page, id) => {
    const [old, fresh] = [byId(id), page.getElementById(id)];
    if (!old || !fresh || old.contains(document.activeElement)) return;
    const open = old.querySelector("details")?.open ?? false;
    old.replaceChildren(...fresh.childNodes);
    const details = old.querySelector("details");
    if (details) details.open = open;
    showTimes(old);
  };

  const refresh = async () => {
    const began = performance.now();
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const id of ["summary", "refine"]) replacePart(page, id);
      }
    } catch { /* the next refresh tries again */ }
    if (came > announced) announce(`${came} new`);
    announced = came;
    nextRefresh = performance.now() + Math.max(INTERVAL, 20 * (performance.now() - began));
    refreshTimer = null;
    if (source) scheduleRefresh();
  };

  const scheduleRefresh = () => {
    refreshTimer ??= setTimeout(refresh, Math.max(0, nextRefresh - performance.now()));
  };

  const cancelRefresh = () => {
    clearTimeout(refreshTimer);
    refreshTimer = null;
  };

  const receive = (event) => {
    const entry = JSON.parse(event.data);
    came += 1;
    if (!paused) {
      show(entry);
    } else {
      waiting.push(entry);
      if (waiting.length > MAX_ROWS) waiting.shift();
    }
    showState();
    // The first entry refreshes at once.
    if (came === 1) cancelRefresh();
    scheduleRefresh();
  };

  const start = () => {
    source = new EventSource(live.dataset.stream);
    source.addEventListener("entry", receive);
    source.addEventListener("changed", receive);
    source.addEventListener("skipped", (event) => {
      const { from, to } = JSON.parse(event.data);
      missed += to - from + 1;
      showState();
    });
    source.addEventListener("open", showState);
    source.addEventListener("error", () => { said.textContent = "connection lost, retrying"; });
    [came, missed, announced, waiting, paused] = [0, 0, 0, [], false];
    said.textContent = "connecting";
    refreshTimer = setTimeout(refresh, INTERVAL);
    nextRefresh = 0;
  };

  const stop = () => {
    source.close();
    source = null;
    cancelRefresh();
    paused = false;
    waiting.forEach(show);
    waiting = [];
    showState();
  };

  const showButtons = () => {
    toggle.setAttribute("aria-pressed", String(source !== null));
    pause.hidden = source === null;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Resume" : "Pause";
  };

  toggle.addEventListener("click", () => {
    if (source) stop(); else start();
    showButtons();
  });

  pause.addEventListener("click", () => {
    paused = !paused;
    if (!paused) {
      waiting.forEach(show);
      waiting = [];
    }
    showState();
    showButtons();
  });

  live.hidden = false;
})();
