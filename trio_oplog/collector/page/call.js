// One call in full: what it was given, what came back, who let it run, where it came from, and what else happened in its thread.

import { getJson, getText } from "./api.js";
import { announce, h, notice, s, show } from "./dom.js";
import { bytes, duration, line, moment, outcome, plural, said, visibleJson, visibleText } from "./format.js";
import { memberText, pretty } from "./json.js";
import { href } from "./state.js";

const SHOWN_FIRST = 32_768; // characters
const SHOWN_MORE = 1_048_576;
const COLOURED = 4000; // so many parts of JSON have a colour
const THREAD_MAX = 200;

export function openCall(side, context, state) {
  const stop = new AbortController();
  const { signal } = stop;
  const id = state.call;
  const workspace = state.workspace;
  let now = state;
  const title = h("h2", { tabindex: "-1" }, "…");
  const close = h("a", { class: "close", href: href(now, { call: undefined }), "data-go": true, "aria-label": "Close the call", title: "Close (Escape)" }, "×");
  const body = h("div", { class: "side-body" }, h("p", { class: "loading" }, "Loading…"));
  show(side, h("header", { class: "side-head" }, title, close), body);
  side.scrollTop = 0;

  async function load() {
    try {
      // By the list, which takes an id as it is; no path can say all of them.
      const reply = await getText("", { workspace_id: workspace, id, limit: 1 }, { signal });
      const text = memberText(reply, "operations").slice(1, -1);
      if (text.trim() === "") {
        gone();
        return;
      }
      const call = JSON.parse(text);
      show(title, said(call.tool, 200));
      const thread = h("section", { class: "thread" });
      show(body, summary(call), context.account().payloads ? [argumentsOf(call, text), resultOf(call)] : hidden(), approval(call), facts(call), thread);
      title.focus({ preventScroll: true });
      announce(`Call of ${line(call.tool, 100)}`);
      if (call.thread_id) timeline(call, thread);
    } catch (error) {
      context.fail(error, body, load);
    }
  }

  function gone() {
    show(title, "No such call");
    show(body, notice("This workspace has no such call", h("p", {}, "It was deleted because it was old, or the link belongs to another workspace."), h("p", {}, h("a", { href: href(now, { call: undefined }), "data-go": true }, "Back to the list"))));
    title.focus({ preventScroll: true });
  }

  function summary(call) {
    const waited = call.result_meta?.waited_ms;
    return h(
      "div",
      { class: "summary" },
      outcome(call),
      h("span", {}, moment(call.started_at, { date: "always", fraction: true })),
      h("span", {}, "took ", h("b", {}, duration(call.duration_ms)), waited ? [", of which ", h("b", {}, duration(waited)), " waiting"] : null),
    );
  }

  const hidden = () => h("p", { class: "blind" }, "Your token has the role read: arguments and results are hidden.");

  function argumentsOf(call, text) {
    const given = memberText(text, "arguments");
    const meta = call.arguments_meta;
    if (given === undefined || given === "null") {
      return section("Arguments", null, h("p", { class: "none" }, meta ? `${bytes(meta.size_bytes)}, more than is kept. SHA-256 ${line(meta.sha256, 64)}` : "None"));
    }
    return section("Arguments", copier(given, "arguments"), code(given, "Arguments"));
  }

  function resultOf(call) {
    const text = call.result_summary;
    const meta = call.result_meta ?? {};
    const cut = meta.truncated ? h("p", { class: "help" }, `Cut: the whole result has ${bytes(meta.total_bytes ?? 0)}${meta.sha256 ? `, SHA-256 ${line(meta.sha256, 64)}` : ""}.`) : null;
    if (!text) return section("Result", null, h("p", { class: "none" }, meta.truncated ? null : "No text"), cut);
    return section("Result", copier(text, "result"), looksLikeJson(text) ? code(text, "Result") : plain(text, "Result"), cut);
  }

  function approval(call) {
    const given = call.approval;
    if (!given) return null;
    const BY = { client: "the client", reviewer: "an automatic review", hook: "a hook", none: "nobody" };
    return section(
      "Approval",
      null,
      h(
        "dl",
        {},
        fact("Decision", given.decision ? said(given.decision) : "none is known", { approval: given.decision ?? "none" }),
        fact("Decided by", BY[given.by] ?? said(given.by)),
        fact("Waited", duration(given.waited_ms)),
        given.count && fact("Decisions", String(given.count)),
        given.risk && fact("Risk", said(given.risk, 1024)),
        given.reason && fact("Reason", said(given.reason, 1024)),
      ),
    );
  }

  function facts(call) {
    const known = call.context ?? {};
    const meta = call.result_meta ?? {};
    const CONTEXT = [["server", "Server"], ["protocol", "Protocol"], ["transport", "Transport"], ["session", "Session"], ["trace_id", "Trace"], ["parent_span_id", "Parent span"]];
    const META = [["title", "Title"], ["error_code", "Error code"], ["exit_code", "Exit code"], ["rounds", "Rounds"], ["task_id", "Task"]];
    return section(
      "Context",
      null,
      h(
        "dl",
        {},
        call.user_id && fact("Who", said(call.user_id), { user_id: call.user_id }),
        known.client && fact("Client", said(known.client), { client: known.client }),
        fact("Tool", said(call.tool, 400), { tool: call.tool }),
        fact("Env", said(call.env_id), { env_id: call.env_id }),
        fact("Source", said(call.source), { source: call.source }),
        CONTEXT.map(([name, words]) => known[name] && fact(words, said(known[name]))),
        META.map(([name, words]) => meta[name] !== undefined && fact(words, said(String(meta[name])))),
        call.thread_id && fact("Thread", said(call.thread_id), { thread_id: call.thread_id }),
        call.request_id && fact("Request", said(call.request_id)),
        fact("Began", moment(call.started_at, { date: "always", fraction: true })),
        fact("Ended", moment(call.completed_at, { date: "always", fraction: true })),
        fact("Id", said(call.id, 200)),
      ),
    );
  }

  const fact = (name, value, filter) => [
    h("dt", {}, name),
    h("dd", {}, value, filter && h("a", { class: "narrow", href: href(now, { ...filter, call: undefined }), "data-go": true, "aria-label": `only these: calls with this ${name.toLowerCase()}` }, "only these")),
  ];

  async function timeline(call, place) {
    show(place, h("h3", {}, "Thread"), h("p", { class: "loading" }, "Loading…"));
    try {
      const reply = await getJson("", { workspace_id: workspace, thread_id: call.thread_id, payloads: "false", limit: THREAD_MAX }, { signal });
      const calls = reply.operations.reverse();
      const begin = Math.min(...calls.map((each) => Date.parse(each.started_at)));
      const end = Math.max(...calls.map((each) => Date.parse(each.started_at) + each.duration_ms), begin + 1);
      show(
        place,
        h("h3", {}, "Thread"),
        h("p", { class: "help" }, reply.next ? `The newest ${plural(calls.length, "call")} of this thread, ` : `${plural(calls.length, "call")}, `, duration(end - begin), " from the first to the last."),
        h(
          "ol",
          { class: "timeline" },
          calls.map((each) =>
            h(
              "li",
              { class: each.id === id ? "current" : undefined },
              h("a", { href: href(now, { call: each.id }), "data-go": true, "aria-current": each.id === id ? "true" : undefined }, moment(each.started_at), h("span", { class: "name" }, said(each.tool, 80))),
              span(each, begin, end),
              h("span", { class: "number" }, duration(each.duration_ms)),
            ),
          ),
        ),
      );
    } catch (error) {
      context.fail(error, place, () => timeline(call, place));
    }
  }

  function span(call, begin, end) {
    const scale = (ms) => (100 * ms) / (end - begin);
    const x = Math.min(scale(Date.parse(call.started_at) - begin), 99);
    return s("svg", { class: "span", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { class: "track", x: 0, y: 4, width: 100, height: 2 }), s("rect", { class: call.is_error ? "bad" : "good", x, y: 1, width: Math.max(scale(call.duration_ms), 1), height: 8 }));
  }

  load();
  return {
    id,
    workspace,
    update(next) {
      now = next;
      close.setAttribute("href", href(now, { call: undefined }));
    },
    leave: () => stop.abort(),
  };
}

const section = (title, action, ...content) => h("section", {}, h("div", { class: "head" }, h("h3", {}, title), action), content);

const looksLikeJson = (text) => {
  if (!/^\s*[[{]/.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

function copier(text, what) {
  const button = h("button", { type: "button", class: "quiet", "aria-label": `Copy the ${what}`, click: copy }, "Copy");
  async function copy() {
    let said_ = "Copied";
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      said_ = "Not copied: the browser does not let the page";
    }
    button.textContent = said_;
    announce(said_);
    setTimeout(() => (button.textContent = "Copy"), 2000);
  }
  return button;
}

const KINDS = new Set(["key", "string", "value"]);

/** JSON in readable form: as much as one reads at first, and the rest when it is asked for. */
function code(text, title) {
  const place = h("pre", { class: "code", tabindex: "0", role: "region", "aria-label": title });
  function render(longest) {
    let written = 0;
    let coloured = 0;
    let plainText = "";
    const parts = [];
    for (const [kind, token] of pretty(text, longest)) {
      const cut = visibleJson(token.length > longest - written ? token.slice(0, longest - written) : token);
      written += token.length;
      if (KINDS.has(kind) && coloured < COLOURED) {
        parts.push(plainText, h("span", { class: kind }, cut));
        plainText = "";
        coloured += 1;
      } else plainText += cut;
      if (written >= longest) break;
    }
    parts.push(plainText);
    show(place, parts);
    return written >= longest;
  }
  return more(place, render, text.length);
}

/** Text as it is, with its line breaks. */
function plain(text, title) {
  const place = h("pre", { class: "code text", tabindex: "0", role: "region", "aria-label": title });
  function render(longest) {
    show(place, visibleText(text.slice(0, longest)));
    return text.length > longest;
  }
  return more(place, render, text.length);
}

function more(place, render, length) {
  if (!render(SHOWN_FIRST)) return place;
  const rest = h("p", { class: "help" });
  const all = h("button", { type: "button", click: () => show(rest, render(SHOWN_MORE) ? `The first ${plural(SHOWN_MORE, "character")} of ${plural(length, "character")}. Copy gives all of it.` : null) }, "Show more");
  show(rest, `The beginning of ${plural(length, "character")}. `, all);
  return [place, rest];
}
