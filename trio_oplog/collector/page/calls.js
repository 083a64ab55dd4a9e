// The list of calls: the newest on top, as they arrive; it waits while somebody reads. What it holds is bounded.

import { follow, getBlob, getJson } from "./api.js";
import { openCall } from "./call.js";
import { announce, h, howToBegin, notice, show } from "./dom.js";
import { filterBar } from "./filters.js";
import { count, duration, exact, justAfter, line, moment, outcome, plural, said } from "./format.js";
import { FILTERS, cleared, filters, hasFilters, href, since } from "./state.js";

const PAGE = 100;
const ROWS_MAX = 600; // what the list holds; the newest or the oldest go, where more come
const ROWS_LIVE = 200; // what it holds while it follows
const WAITING_MAX = 1000; // what it keeps of what arrives while somebody reads
const POINTED = 2000; // milliseconds
const TAKE_EVERY = 250; // milliseconds: the list changes no more often

const COLUMNS = [
  ["time", "Time"],
  ["user", "Who"],
  ["client", "Client"],
  ["tool", "Tool"],
  ["env", "Env"],
  ["result", "Outcome"],
  ["took", "Took"],
  ["waited", "Waited"],
];

export function mountCalls(main, context) {
  let state = {};
  let calls = []; // what is shown, the newest first
  let waiting = []; // what arrived and is not shown
  let isOverflown = false; // more arrived than is kept
  let next = null; // how to go on: {cursor} or {until}
  let isComplete = false;
  let areNewestGone = false;
  let isPaused = false; // by the button
  let status = "waiting";
  let loading = null; // stops what is being loaded
  let live = null; // stops the live tail
  let lastEvent; // where it goes on
  let timer = null;
  let takenAt = 0;
  let panel = null;
  let tracked = "";
  let pointedUntil = 0; // nothing moves below a pointer that is at it

  const bar = filterBar(context);
  const rows = h("tbody", { role: "rowgroup" });
  const table = h(
    "table",
    { class: "calls", role: "table", "aria-label": "Calls, the newest first" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, COLUMNS.map(([name, title]) => h("th", { role: "columnheader", scope: "col", class: name }, title)))),
    rows,
  );
  const fresh = h("button", { type: "button", class: "fresh", hidden: true, click: () => toNewest() });
  const pause = h("button", { type: "button", class: "live", click: () => togglePause() });
  const trouble = h("div", {}); // with an export
  const exporter = h(
    "details",
    { class: "adder export", keydown: (event) => event.key === "Escape" && exporter.open && ((exporter.open = false), exporter.querySelector("summary").focus(), event.stopPropagation()) },
    h("summary", {}, "Export"),
    h("div", { class: "menu" }, h("p", {}, "Everything that the filters let through."), ["csv", "ndjson"].map((format) => h("button", { type: "button", click: () => save(format) }, format === "csv" ? "CSV, for a spreadsheet" : "NDJSON, exact")), trouble),
  );
  const foot = h("div", { class: "foot" });
  const scroll = h("div", { class: "scroll", tabindex: "-1" }, table, foot);
  const list = h("section", { class: "list", "aria-label": "Calls" }, fresh, scroll);
  const side = h("section", { class: "side", "aria-label": "One call", hidden: true });
  const split = h("div", { class: "split" }, list, side);
  const blind = h("p", { class: "blind", hidden: true });
  show(main, h("div", { class: "view" }, h("h1", { class: "unseen" }, "Calls"), bar.element, blind, split));
  bar.bar.append(h("span", { class: "push" }), pause, exporter);

  const isReading = () => scroll.scrollTop > 4 || areNewestGone || isPaused || Date.now() < pointedUntil || rows.contains(document.activeElement);

  function row(call, isNew = false) {
    const known = call.context ?? {};
    return h(
      "tr",
      { role: "row", class: isNew ? "new" : undefined, "data-id": call.id, "aria-selected": undefined },
      h("td", { role: "cell", class: "time" }, moment(call.started_at)),
      h("td", { role: "cell", class: "user" }, call.user_id ? said(call.user_id, 80) : none()),
      h("td", { role: "cell", class: "client" }, known.client ? said(known.client, 80) : none()),
      h("td", { role: "cell", class: "tool" }, h("a", { href: href(state, { call: call.id }), "data-go": true, title: line(call.tool, 400) }, said(call.tool, 120))),
      h("td", { role: "cell", class: "env" }, said(call.env_id, 80)),
      h("td", { role: "cell", class: "result" }, outcome(call)),
      h("td", { role: "cell", class: "took number" }, duration(call.duration_ms)),
      h("td", { role: "cell", class: "waited number" }, duration(call.result_meta?.waited_ms)),
    );
  }

  const none = () => h("span", { class: "none", "aria-label": "not known" }, "–");

  function sayFoot() {
    if (calls.length === 0) return;
    show(
      foot,
      isComplete
        ? h("p", {}, hasFilters(state) ? `These are all calls that the filters let through.` : "This is where the log begins.")
        : h("button", { type: "button", click: () => older() }, next?.searched ? ["Searched back to ", moment(next.searched, { date: "always" }), ". Search on"] : "Show older calls"),
    );
  }

  function sayEmpty() {
    show(rows);
    if (hasFilters(state)) {
      show(
        foot,
        next
          ? notice("Nothing found so far", h("p", {}, "Searched back to ", moment(next.searched, { date: "always" }), "."), h("p", {}, h("button", { type: "button", class: "main", click: () => older() }, "Search on")))
          : notice("No call fits", h("p", {}, "Remove a filter or choose a longer time."), h("p", {}, h("button", { type: "button", class: "main", click: () => context.go(cleared()) }, "Clear all filters"))),
      );
    } else {
      show(foot, notice("Nothing was recorded here yet", howToBegin()));
    }
  }

  async function load() {
    loading?.abort();
    loading = new AbortController();
    const { signal } = loading;
    stopLive();
    calls = [];
    waiting = [];
    isOverflown = areNewestGone = isComplete = false;
    lastEvent = undefined;
    next = null;
    sayFresh();
    list.setAttribute("aria-busy", "true");
    rows.classList.add("stale"); // what was asked for before, until the answer is there
    if (rows.childElementCount === 0) show(foot, h("p", { class: "loading" }, "Loading…"));
    scroll.scrollTop = 0;
    startLive(); // before the list is asked for, so that nothing falls in between
    try {
      const reply = await getJson("", { ...filters(state), payloads: "false", limit: PAGE }, { signal });
      take(reply);
      show(rows, calls.map((call) => row(call)));
      if (calls.length === 0) sayEmpty();
      else sayFoot();
      markOpen();
      announce(calls.length === 0 ? "No call fits" : `${plural(calls.length, "call")} shown`);
    } catch (error) {
      if (error.name !== "AbortError") {
        show(rows);
        context.fail(error, foot, load);
      }
    } finally {
      if (!signal.aborted) {
        list.removeAttribute("aria-busy");
        rows.classList.remove("stale");
      }
    }
  }

  function take(reply) {
    const there = new Set(calls.map((call) => call.id));
    const added = reply.operations.filter((call) => !there.has(call.id));
    calls = calls.concat(added);
    isComplete = !reply.next;
    next = reply.next ? { cursor: reply.next, searched: reply.searched_to } : null;
    return added;
  }

  async function older() {
    if (loading === null || isComplete || next === null || list.hasAttribute("aria-busy")) return;
    const { signal } = loading;
    list.setAttribute("aria-busy", "true");
    try {
      const { cursor, until } = next;
      const reply = await getJson("", { ...filters(state), ...(cursor ? { cursor } : { until }), payloads: "false", limit: PAGE }, { signal });
      const added = take(reply);
      rows.append(...added.map((call) => row(call)));
      if (calls.length > ROWS_MAX) {
        const gone = calls.length - ROWS_MAX;
        const height = scroll.scrollHeight;
        calls = calls.slice(gone);
        for (let left = gone; left > 0; left -= 1) rows.firstElementChild.remove();
        scroll.scrollTop -= height - scroll.scrollHeight;
        areNewestGone = true;
        sayFresh();
      }
      if (calls.length === 0) sayEmpty();
      else sayFoot();
      announce(`${plural(added.length, "older call")} shown`);
    } catch (error) {
      context.fail(error, foot, () => (list.removeAttribute("aria-busy"), sayFoot(), older()));
    } finally {
      if (!signal.aborted) list.removeAttribute("aria-busy");
    }
  }

  // What arrives.

  const isFollowing = () => !state.until;

  function startLive() {
    stopLive();
    if (!isFollowing() || document.hidden) {
      say(isFollowing() ? "waiting" : "past");
      return;
    }
    live = new AbortController();
    const { signal } = live;
    follow(
      { ...filters(state, { times: false }), payloads: "false" },
      {
        signal,
        after: lastEvent,
        arrived(call, id) {
          lastEvent = id;
          if (call === null) return;
          const from = since(state);
          if (from && exact(call.started_at) < exact(from)) return;
          if (waiting.length >= WAITING_MAX) isOverflown = true;
          else waiting.push(call);
          timer ??= setTimeout(taken, Math.max(0, takenAt + TAKE_EVERY - performance.now()));
        },
        changed(now, error) {
          if (signal.aborted) return;
          say(now);
          if (error) context.fail(error, foot, load);
        },
      },
    );
  }

  function stopLive() {
    live?.abort();
    live = null;
    clearTimeout(timer);
    timer = null;
  }

  function say(now) {
    status = now;
    const words = { live: isPaused ? "Paused" : "Live", waiting: "Connecting…", refused: "Not live", past: "Not live" };
    show(pause, h("span", { class: "dot" }), words[status]);
    pause.className = `live ${isPaused ? "paused" : status}`;
    pause.setAttribute("aria-pressed", String(isPaused));
    pause.setAttribute("aria-label", status === "live" ? (isPaused ? "Paused. Follow again" : "Live. Pause") : words[status]);
    pause.title = { live: isPaused ? "Follow again" : "New calls appear by themselves. Pause", waiting: "The connection is being made again", past: "The chosen time is over", refused: "The collector refused" }[status];
    pause.disabled = status !== "live" && !isPaused;
  }

  function togglePause() {
    isPaused = !isPaused;
    say(status);
    if (!isPaused) toNewest();
    else sayFresh();
  }

  function taken() {
    timer = null;
    takenAt = performance.now();
    if (list.hasAttribute("aria-busy")) {
      timer = setTimeout(taken, TAKE_EVERY);
      return;
    }
    if (!isReading() && !isOverflown) insert();
    else if (Date.now() < pointedUntil) timer = setTimeout(taken, TAKE_EVERY);
    sayFresh();
  }

  function insert() {
    const there = new Map(calls.map((call) => [call.id, call]));
    const oldest = isComplete || calls.length === 0 ? "" : exact(calls.at(-1).started_at);
    let added = 0;
    for (const call of waiting) {
      const began = exact(call.started_at);
      if (there.has(call.id) || began < oldest) continue;
      there.set(call.id, call);
      // Nearly always the first.
      let place = 0;
      while (place < calls.length && exact(calls[place].started_at) > began) place += 1;
      if (calls.length === 0) show(foot);
      calls.splice(place, 0, call);
      rows.insertBefore(row(call, true), rows.children[place] ?? null);
      added += 1;
    }
    waiting = [];
    if (calls.length > ROWS_LIVE + PAGE) {
      while (calls.length > ROWS_LIVE) {
        calls.pop();
        rows.lastElementChild.remove();
      }
      isComplete = false;
      next = { until: justAfter(calls.at(-1).started_at) };
    }
    if (added) sayFoot();
    markOpen();
  }

  function sayFresh() {
    const many = isOverflown ? `${count(WAITING_MAX)}+ new` : `${count(waiting.length)} new`;
    const text = areNewestGone && waiting.length === 0 ? "Back to the newest" : many;
    fresh.hidden = !areNewestGone && waiting.length === 0;
    if (fresh.textContent !== text) fresh.textContent = text;
    if (!fresh.hidden && tracked !== text && waiting.length && (waiting.length < 4 || isOverflown)) announce(text);
    tracked = text;
  }

  function toNewest() {
    isPaused = false;
    say(status);
    if (document.activeElement && rows.contains(document.activeElement)) document.activeElement.blur();
    if (isOverflown || areNewestGone) {
      load();
      return;
    }
    insert();
    scroll.scrollTop = 0;
    sayFresh();
  }

  async function save(format) {
    exporter.open = false;
    show(trouble);
    const label = exporter.querySelector("summary");
    label.textContent = "Exporting…";
    announce("The export is being made");
    try {
      const blob = await getBlob("/export", { ...filters(state), format }, {});
      const link = h("a", { href: URL.createObjectURL(blob), download: `operations.${format}` });
      document.body.append(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      announce("The export is saved");
    } catch (error) {
      exporter.open = true;
      context.fail(error, trouble, () => save(format), { goesOn: false });
    } finally {
      label.textContent = "Export";
    }
  }

  // One call.

  function markOpen() {
    for (const each of rows.children) each.classList.toggle("open", each.dataset.id === state.call);
  }

  function openOrClose() {
    markOpen();
    if (!state.call) {
      if (panel) {
        panel.leave();
        const opened = rows.querySelector(`tr[data-id="${CSS.escape(panel.id)}"] a`);
        panel = null;
        side.hidden = true;
        split.classList.remove("with-side");
        show(side);
        opened?.focus({ preventScroll: true });
      }
      return;
    }
    split.classList.add("with-side");
    side.hidden = false;
    if (panel?.id === state.call && panel.workspace === state.workspace) {
      panel.update(state);
      return;
    }
    panel?.leave();
    panel = openCall(side, context, state);
  }

  // Keys.

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target instanceof Element ? event.target : document.body;
    if (event.key === "Escape" && state.call) {
      event.preventDefault();
      context.go({ call: undefined });
      return;
    }
    if (target.closest("input, select, textarea, details[open], .side")) return;
    if (event.key === "Escape" && rows.contains(target)) {
      target.blur();
      return;
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined && event.key !== "Home" && event.key !== "End") return;
    const links = [...rows.querySelectorAll("a")];
    if (links.length === 0) return;
    const at = links.indexOf(document.activeElement);
    const to = event.key === "Home" ? 0 : event.key === "End" ? links.length - 1 : at === -1 ? 0 : Math.max(0, Math.min(links.length - 1, at + step));
    event.preventDefault();
    links[to].focus();
    links[to].closest("tr").scrollIntoView({ block: "nearest" });
    if (to === links.length - 1) older();
  }

  const seen = () => {
    if (document.hidden) stopLive();
    else if (live === null) startLive();
    say(document.hidden ? "waiting" : status);
  };
  const scrolled = () => {
    if (scroll.scrollTop + scroll.clientHeight > scroll.scrollHeight - 400 && calls.length && !next?.searched) older();
    if (scroll.scrollTop <= 4 && waiting.length && !isReading() && !isOverflown) taken();
  };
  rows.addEventListener("pointermove", () => (pointedUntil = Date.now() + POINTED));
  rows.addEventListener("pointerleave", () => (pointedUntil = 0));
  scroll.addEventListener("scroll", scrolled, { passive: true });
  document.addEventListener("keydown", keys);
  document.addEventListener("visibilitychange", seen);

  let shown = null;
  return {
    update(now) {
      state = now;
      const asked = JSON.stringify([now.workspace, now.range, now.since, now.until, ...Object.keys(FILTERS).map((name) => now[name])]);
      bar.update(now);
      const { payloads } = context.account();
      blind.hidden = payloads;
      blind.textContent = payloads ? "" : "Your token has the role read: arguments and results are hidden, and a search finds tools only.";
      openOrClose();
      if (asked !== shown) {
        shown = asked;
        load();
      } else {
        for (const each of rows.querySelectorAll("a")) each.setAttribute("href", href(state, { call: each.closest("tr").dataset.id }));
      }
    },
    leave() {
      stopLive();
      loading?.abort();
      panel?.leave();
      document.removeEventListener("keydown", keys);
      document.removeEventListener("visibilitychange", seen);
    },
  };
}
