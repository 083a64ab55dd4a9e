// The overview: how many calls there were, how many failed, how long they took, and who let them run.

import { getJson } from "./api.js";
import { overTime, percentileBar, share } from "./charts.js";
import { h, notice, show } from "./dom.js";
import { filterBar } from "./filters.js";
import { count, duration, line, moment, outcome, outcomeName, percent, plural, said } from "./format.js";
import { filters, href, since } from "./state.js";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const BY_HOUR_UP_TO = 8 * DAY;
const BARS_MAX = 400;
const TOOLS_FIRST = 12;
const SLOWEST = 10;
const DECISIONS_MAX = 8;
const RECENT = 10;
// An error rate that is worth a colour.
const isMuch = (group) => group.errors >= 0.05 * group.count && group.errors > 0;
// What statistics cannot be narrowed by: records have these, counts do not.
const UNCOUNTED = { q: "a text", thread_id: "a thread", user_id: "a person" };

export function mountOverview(main, context) {
  let state = {};
  let stop = new AbortController();
  let chart = null;
  const bar = filterBar(context, { search: false });
  const body = h("div", { class: "cards" });
  show(main, h("div", { class: "view" }, h("h1", { class: "unseen" }, "Overview"), bar.element, body));

  const card = (title, place, ...about) => h("section", { class: "card", "aria-label": title }, h("h2", {}, title), about, place);

  async function load() {
    stop.abort();
    stop = new AbortController();
    const { signal } = stop;
    chart?.leave();
    chart = null;
    const asked = filters(state);
    for (const name of Object.keys(UNCOUNTED)) delete asked[name];
    const places = Object.fromEntries(["time", "tools", "outcomes", "slowest", "approvals", "people"].map((name) => [name, h("div", {}, h("p", { class: "loading" }, "Loading…"))]));
    const figures = h("div", { class: "figures" });
    const more = h("p", { class: "blind", hidden: true }, "There is more than is counted here: of days, hours, tools, people and the like, the newest or the most frequent 1,000 count.");
    const left = Object.keys(UNCOUNTED).filter((name) => state[name]);
    show(
      body,
      left.length > 0 && h("p", { class: "blind" }, `Counts cannot be narrowed by ${left.map((name) => UNCOUNTED[name]).join(" or ")}: the overview shows all of them.`),
      more,
      figures,
      card("Calls over time", places.time),
      card("Tools", places.tools, h("p", { class: "help" }, "The bar goes from the median to the 99th percentile, the strong part to the 95th.")),
      h("div", { class: "columns" }, card("Outcomes", places.outcomes), card("People", places.people)),
      card("Slowest calls", places.slowest),
      card("Approvals", places.approvals),
    );
    const each = async (place, work) => {
      try {
        await work(place);
      } catch (error) {
        if (error.status !== 0) {
          context.fail(error, place, load);
          return;
        }
        stop.abort();
        context.fail(error, body, load); // once, and not in each of the cards
      }
    };
    const counted = async (asked) => {
      const reply = await getJson("/stats", asked, { signal });
      if (reply.incomplete) more.hidden = false;
      return reply.groups;
    };
    const stats = (by, others = {}) => counted({ ...asked, ...others, by });
    await Promise.all([
      each(places.time, (place) => time(place, figures, stats)),
      each(places.tools, async (place) => tools(place, await stats("tool"))),
      each(places.outcomes, async (place) => outcomes(place, await stats("outcome"))),
      each(places.people, (place) => people(place, asked, counted)),
      each(places.slowest, (place) => slowest(place, asked, signal)),
      each(places.approvals, (place) => approvals(place, asked, stats, signal)),
    ]);
  }

  const empty = (words) => h("p", { class: "none" }, words);

  async function time(place, figures, stats) {
    const from = since(state);
    const first = from ? Date.parse(from) : null;
    const last = state.until ? Date.parse(state.until) : Date.now();
    const isHours = first !== null && last - first <= BY_HOUR_UP_TO;
    const groups = await stats(isHours ? "hour" : "day");
    const sum = (name) => groups.reduce((total, group) => total + group[name], 0);
    const calls = sum("count");
    const waited = sum("waited_ms");
    show(
      figures,
      figure("Calls", count(calls)),
      figure("Errors", percent(sum("errors"), calls), plural(sum("errors"), "call"), sum("errors") > 0 ? "bad" : ""),
      figure("Mean duration", calls ? duration(sum("sum_ms") / calls) : "–"),
      figure("Waited for people", waited ? duration(waited) : "–", waited ? plural(sum("waits"), "call") : ""),
    );
    if (calls === 0) {
      show(place, notice("No calls in this time", h("p", {}, "Choose a longer time, or remove a filter.")));
      return;
    }
    const step = isHours ? HOUR : DAY;
    const known = new Map(groups.map((group) => [Date.parse(group.value), group]));
    const start = Math.floor((first ?? Math.min(...known.keys())) / step) * step;
    const bars = [];
    for (let at = Math.max(start, Math.floor(last / step) * step - (BARS_MAX - 1) * step); at <= last; at += step) {
      const group = known.get(at);
      bars.push({ at: new Date(at), count: group?.count ?? 0, errors: group?.errors ?? 0 });
    }
    const within = (one) => ({ view: undefined, range: undefined, since: one.at.toISOString(), until: new Date(one.at.getTime() + step).toISOString() });
    chart = overTime(bars, { isHours, go: (one) => context.go(within(one)), link: (one) => to(within(one)) });
    show(place, chart.element);
  }

  const figure = (name, value, more, tone) => h("div", { class: `figure ${tone ?? ""}` }, h("span", { class: "name" }, name), h("b", {}, value), h("span", { class: "more" }, more ?? ""));

  const to = (changes) => ({ href: href(state, { view: undefined, ...changes }), "data-go": true });

  const columns = (titles) => h("thead", {}, h("tr", {}, titles.map(([words, kind]) => h("th", { scope: "col", class: kind }, words))));

  const wide = (title, ...content) => h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": title }, content);

  function tools(place, groups) {
    if (groups.length === 0) {
      show(place, empty("No calls."));
      return;
    }
    const most = Math.max(...groups.map((group) => group.p99_ms ?? 0));
    const row = (group) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, h("a", to({ tool: group.value }), said(group.value ?? "", 80))),
        h("td", { class: "number" }, count(group.count)),
        h("td", { class: `number ${isMuch(group) ? "bad" : ""}` }, percent(group.errors, group.count)),
        h("td", { class: "number" }, duration(group.p50_ms)),
        h("td", { class: "number" }, duration(group.p95_ms)),
        h("td", { class: "number" }, duration(group.p99_ms)),
        h("td", { class: "drawn" }, percentileBar(group, most)),
      );
    const rows = h("tbody", {}, groups.slice(0, TOOLS_FIRST).map(row));
    const rest = groups.slice(TOOLS_FIRST, TOOLS_FIRST + 500);
    const all = rest.length > 0 && h("button", { type: "button", click: () => (rows.append(...rest.map(row)), all.remove()) }, `Show ${plural(rest.length, "more tool")}`);
    show(place, wide("Tools", h("table", { class: "plain" }, columns([["Tool"], ["Calls", "number"], ["Errors", "number"], ["p50", "number"], ["p95", "number"], ["p99", "number"], [h("span", { class: "unseen" }, "Spread"), "drawn"]]), rows)), all);
  }

  function outcomes(place, groups) {
    const whole = groups.reduce((sum, group) => sum + group.count, 0);
    const rows = groups.map((group) => h("tr", {}, h("th", { scope: "row" }, h("a", to({ outcome: group.value }), outcomeName(line(group.value ?? "", 40)))), h("td", { class: "number" }, count(group.count)), h("td", { class: "number" }, percent(group.count, whole)), h("td", { class: "drawn" }, share(group.count, whole, group.errors ? "bad" : "good"))));
    show(place, rows.length ? wide("Outcomes", h("table", { class: "plain" }, columns([["Outcome"], ["Calls", "number"], ["Share", "number"], [h("span", { class: "unseen" }, "Share, drawn"), "drawn"]]), h("tbody", {}, rows))) : empty("No calls."));
  }

  async function people(place, asked, counted) {
    const { workspace_id, since: from, until, is_error } = asked;
    const groups = await counted({ workspace_id, since: from, until, is_error, by: "user_id" });
    const named = groups.filter((group) => group.value).slice(0, RECENT);
    const whole = groups.reduce((sum, group) => sum + group.count, 0);
    const rows = named.map((group) => h("tr", {}, h("th", { scope: "row" }, h("a", to({ user_id: group.value }), said(group.value, 60))), h("td", { class: "number" }, count(group.count)), h("td", { class: `number ${isMuch(group) ? "bad" : ""}` }, percent(group.errors, group.count)), h("td", { class: "drawn" }, share(group.count, whole, "good"))));
    show(place, rows.length ? wide("People", h("table", { class: "plain" }, columns([["Who"], ["Calls", "number"], ["Errors", "number"], [h("span", { class: "unseen" }, "Share, drawn"), "drawn"]]), h("tbody", {}, rows))) : empty("No call says who made it."));
  }

  async function slowest(place, asked, signal) {
    const reply = await getJson("/slowest", { ...asked, payloads: "false", limit: SLOWEST }, { signal });
    const calls = reply.operations;
    if (calls.length === 0) {
      show(place, empty("No calls."));
      return;
    }
    const rows = calls.map((call) => h("tr", {}, h("th", { scope: "row" }, h("a", to({ call: call.id }), said(call.tool, 80))), h("td", {}, moment(call.started_at, { date: "always" })), h("td", {}, call.user_id ? said(call.user_id, 60) : ""), h("td", {}, outcome(call)), h("td", { class: "number" }, duration(call.duration_ms)), h("td", { class: "number" }, duration(call.result_meta?.waited_ms))));
    show(
      place,
      reply.incomplete && h("p", { class: "help" }, "The time was over before all calls were looked at: there may be slower ones."),
      wide("Slowest calls", h("table", { class: "plain" }, columns([["Tool"], ["Time"], ["Who"], ["Outcome"], ["Took", "number"], ["Waited", "number"]]), h("tbody", {}, rows))),
    );
  }

  async function approvals(place, asked, stats, signal) {
    const decisions = await stats("approval", { approval: asked.approval ?? "any" });
    if (decisions.length === 0) {
      show(place, empty("Nobody was asked to approve a call."));
      return;
    }
    const shown = decisions.slice(0, DECISIONS_MAX);
    const [recent, ...byTool] = await Promise.all([
      getJson("", { ...asked, approval: asked.approval ?? "any", payloads: "false", limit: RECENT }, { signal }),
      ...shown.map((decision) => stats("tool", { approval: decision.value })),
    ]);
    const counts = new Map(); // of each tool, by decision
    byTool.forEach((groups, column) => {
      for (const group of groups) {
        if (!counts.has(group.value)) counts.set(group.value, shown.map(() => 0));
        counts.get(group.value)[column] = group.count;
      }
    });
    const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
    const tools_ = [...counts].toSorted((a, b) => sum(b[1]) - sum(a[1])).slice(0, TOOLS_FIRST);
    const BY = { client: "client", reviewer: "review", hook: "hook", none: "nobody" };
    show(
      place,
      wide(
        "Decisions by tool",
        h(
          "table",
          { class: "plain" },
          columns([["Tool"], ...shown.map((decision) => [h("a", to({ approval: decision.value }), said(decision.value === "none" ? "undecided" : decision.value, 40)), "number"])]),
          h(
            "tbody",
            {},
            tools_.map(([name, numbers]) => h("tr", {}, h("th", { scope: "row" }, h("a", to({ tool: name, approval: "any" }), said(name, 80))), numbers.map((number) => h("td", { class: "number" }, number ? count(number) : "")))),
            h("tr", { class: "sum" }, h("th", { scope: "row" }, "All"), shown.map((decision) => h("td", { class: "number" }, count(decision.count)))),
            h("tr", {}, h("th", { scope: "row" }, "Median wait"), shown.map((decision) => h("td", { class: "number" }, duration(decision.waited_p50_ms)))),
          ),
        ),
      ),
      h("h3", {}, "Last decisions"),
      wide(
        "Last decisions",
        h("table", { class: "plain" }, columns([["Tool"], ["Time"], ["Who"], ["Decision"], ["Decided by"], ["Waited", "number"]]), h("tbody", {}, recent.operations.map((call) => h("tr", {}, h("th", { scope: "row" }, h("a", to({ call: call.id }), said(call.tool, 80))), h("td", {}, moment(call.started_at, { date: "always" })), h("td", {}, call.user_id ? said(call.user_id, 60) : ""), h("td", {}, said(call.approval.decision ?? "undecided", 40)), h("td", {}, BY[call.approval.by] ?? said(call.approval.by, 40)), h("td", { class: "number" }, duration(call.approval.waited_ms)))))),
      ),
    );
  }

  let shown = null;
  return {
    update(now) {
      state = now;
      bar.update(now);
      const asked = JSON.stringify({ ...now, call: undefined });
      if (asked !== shown) {
        shown = asked;
        load();
      }
    },
    leave() {
      stop.abort();
      chart?.leave();
    },
  };
}
