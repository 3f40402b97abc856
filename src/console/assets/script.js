// What the page does without it, it does with it. Added are live entries, local times and copying.
// Text from entries is hostile: it is set as text, never as markup, and what is not seen is marked
// as the server does (pages/text.rs).
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  const say = (text) => { byId("said").textContent = text; };

  // Times: UTC or local, remembered.

  const pad = (number, width) => String(number).padStart(width, "0");

  const writeTime = (element, local) => {
    const exact = element.getAttribute("datetime");
    const at = new Date(exact);
    if (!local || Number.isNaN(at.getTime())) {
      element.textContent = exact.replace("T", " ").replace("Z", "");
      return;
    }
    const date = [pad(at.getFullYear(), 4), pad(at.getMonth() + 1, 2), pad(at.getDate(), 2)];
    const clock = [at.getHours(), at.getMinutes(), at.getSeconds()].map((n) => pad(n, 2));
    const millis = pad(at.getMilliseconds(), 3);
    element.textContent = `${date.join("-")} ${clock.join(":")}.${millis}`;
  };

  const remembered = () => {
    try { return localStorage.getItem("zone") === "local"; } catch { return false; }
  };

  let local = remembered();
  const zone = byId("zone");

  const showZone = () => {
    const name = local ? Intl.DateTimeFormat().resolvedOptions().timeZone || "local" : "UTC";
    zone.textContent = `Times: ${name}`;
    zone.title = local ? "Show times in UTC" : "Show times in the local zone";
    for (const element of document.querySelectorAll("time")) writeTime(element, local);
  };

  zone.hidden = false;
  zone.addEventListener("click", () => {
    local = !local;
    try { localStorage.setItem("zone", local ? "local" : "utc"); } catch { /* not remembered */ }
    showZone();
    say(local ? "Times are local" : "Times are UTC");
  });
  showZone();

  // Copying.

  const put = async (text) => {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    // Without TLS there is no clipboard but on this machine.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "hidden";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("the browser does not copy");
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
        await put(await textOf(button));
        button.textContent = "Copied";
        say("Copied");
      } catch (error) {
        button.textContent = "Not copied";
        say(`Not copied: ${error.message}`);
      }
      setTimeout(() => { button.textContent = name; }, 2000);
    });
  }

  // Live entries.

  const live = byId("live");
  if (!live || !window.EventSource) return;

  const MOST_ROWS = 500;
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

  const cell = (row, name, value) => {
    const element = row.insertCell();
    element.dataset.name = name;
    if (value === undefined) return element;
    const text = String(value ?? "");
    const inner = document.createElement("bdi");
    inner.textContent = shown(text, CELL);
    element.title = shown(text, TITLE);
    element.append(inner);
    return element;
  };

  // What came of it, and whether it was refused or failed: as pages/entries.rs has it.
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
    time.title = entry.time;
    writeTime(time, local);
    link.append(time);
    cell(row, "Time").append(link);
    cell(row, "Kind").textContent = entry.kind ?? "none";
    const fields = entry.fields;
    cell(row, "Name", fields.name ?? entry.raw ?? entry.raw_base64);
    cell(row, "Principal", fields.principal_name || fields.principal_id);
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

  const tell = () => {
    const state = paused ? `paused, ${waiting.length} waiting` : `${came} new`;
    said.textContent = source ? (missed ? `${state}, ${missed} skipped` : state) : "";
  };

  const find = (id) => body.querySelector(`tr[data-id="${Number(id)}"]`);

  const show = (entry) => {
    const there = find(entry.id);
    const row = there ?? body.insertRow(0);
    fill(row, entry);
    if (!there) {
      row.className = "new";
      setTimeout(() => { row.className = ""; }, 1500);
    }
    table.hidden = false;
    const none = byId("none");
    if (none) none.hidden = true;
    while (body.rows.length > MOST_ROWS) body.deleteRow(-1);
  };

  const take = (event) => {
    const entry = JSON.parse(event.data);
    came += 1;
    if (!paused) {
      show(entry);
    } else {
      waiting.push(entry);
      if (waiting.length > MOST_ROWS) waiting.shift();
    }
    tell();
  };

  const start = () => {
    source = new EventSource(live.dataset.stream);
    source.addEventListener("entry", take);
    source.addEventListener("changed", take);
    source.addEventListener("skipped", (event) => {
      const { from, to } = JSON.parse(event.data);
      missed += to - from + 1;
      tell();
    });
    source.addEventListener("open", tell);
    source.addEventListener("error", () => { said.textContent = "connection lost, trying again"; });
    [came, missed, waiting, paused] = [0, 0, [], false];
    said.textContent = "connecting";
  };

  const stop = () => {
    source.close();
    source = null;
    paused = false;
    waiting.forEach(show);
    waiting = [];
    tell();
  };

  const showButtons = () => {
    toggle.setAttribute("aria-pressed", String(source !== null));
    pause.hidden = source === null;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
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
    tell();
    showButtons();
  });

  live.hidden = false;
})();
