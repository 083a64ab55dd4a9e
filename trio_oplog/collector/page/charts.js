// Charts, drawn as SVG. Each has the same numbers in a table for whoever cannot see it.

import { h, s, show } from "./dom.js";
import { count, day, percent, plural } from "./format.js";

const HEIGHT = 190;
const LEFT = 46;
const BOTTOM = 24;
const TOP = 10;

/** A round number at or above this one, whose half is round, too. */
function round(most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 1)));
  return [1, 2, 3, 4, 6, 8, 10].map((factor) => factor * power).find((value) => value >= most);
}

const SHORT = new Intl.NumberFormat("en", { notation: "compact" });

function when(bar, isHours) {
  const clock = bar.at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return isHours ? `${day(bar.at)} ${clock}` : day(bar.at);
}

/** Calls over time, with the errors among them; drawn anew when the place changes its width. */
export function overTime(bars, { isHours, go, link }) {
  const place = h("div", { class: "chart" });
  const told = h("p", { class: "told", "aria-hidden": "true" });
  const most = round(Math.max(...bars.map((bar) => bar.count)));

  function draw(width) {
    const inner = Math.max(width - LEFT - 6, 40);
    const step = inner / bars.length;
    const height = HEIGHT - TOP - BOTTOM;
    const y = (value) => TOP + height - (height * value) / most;
    // Where a label stands: at whole days, or at hours where there are few; as many as there is room for.
    const candidates = bars.map((bar, number) => number).filter((number) => !isHours || bars.length <= 48 || bars[number].at.getHours() === 0);
    const every = Math.max(1, Math.ceil(candidates.length / Math.max(1, Math.floor(inner / 96))));
    const labels = candidates.filter((number, order) => order % every === 0 && LEFT + number * step < width - 60);
    const picture = s(
      "svg",
      { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `Calls over time: ${plural(bars.reduce((sum, bar) => sum + bar.count, 0), "call")}, ${plural(bars.reduce((sum, bar) => sum + bar.errors, 0), "error")}` },
      [0, 0.5, 1].map((part) => [s("line", { class: "grid", x1: LEFT, x2: width - 6, y1: y(most * part), y2: y(most * part) }), s("text", { class: "tick", x: LEFT - 8, y: y(most * part) + 4, "text-anchor": "end" }, most * part < 1 && part ? "" : SHORT.format(most * part))]),
      bars.map((bar, place_) => {
        const x = LEFT + place_ * step;
        const wide = Math.max(step - Math.min(2, step / 4), 0.75);
        const tall = bar.count && Math.max(y(0) - y(bar.count), 1.5);
        const red = bar.errors && Math.max(y(0) - y(bar.errors), 1.5);
        return s(
          "g",
          { class: bar.count ? "bar" : "bar empty", pointerenter: () => tell(bar), click: () => bar.count && go(bar) },
          s("rect", { class: "hit", x, y: TOP, width: step, height }),
          s("rect", { class: "good", x, y: y(0) - tall, width: wide, height: Math.max(tall - red, 0) }),
          s("rect", { class: "bad", x, y: y(0) - red, width: wide, height: red }),
        );
      }),
      labels.map((number) => s("text", { class: "tick", x: LEFT + number * step, y: HEIGHT - 6 }, when(bars[number], isHours && bars.length <= 48))),
    );
    show(place, picture);
  }

  function tell(bar) {
    told.textContent = `${when(bar, isHours)}: ${plural(bar.count, "call")}, ${plural(bar.errors, "error")}`;
  }
  told.textContent = `${isHours ? "By the hour" : "By the day (UTC)"}. Point at a bar for its numbers, click for its calls.`;
  let last = 0;
  const watch = new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width && width !== last) draw((last = width));
  });
  watch.observe(place);
  const table = h(
    "details",
    { class: "as-table" },
    h("summary", {}, "As a table"),
    h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Calls over time, as a table" }, h("table", { class: "plain" }, h("thead", {}, h("tr", {}, ["Time", "Calls", "Errors", "Error rate"].map((title, column) => h("th", { scope: "col", class: column ? "number" : undefined }, title)))), h("tbody", {}, bars.filter((bar) => bar.count).map((bar) => h("tr", {}, h("th", { scope: "row" }, h("a", link(bar), when(bar, isHours))), h("td", { class: "number" }, count(bar.count)), h("td", { class: "number" }, count(bar.errors)), h("td", { class: "number" }, percent(bar.errors, bar.count))))))),
  );
  return { element: h("div", {}, place, told, table), leave: () => watch.disconnect() };
}

/** From the median to the 99th percentile, on a scale that grows by factors. */
export function percentileBar(group, most) {
  const scale = (ms) => (100 * Math.log1p(ms)) / Math.log1p(Math.max(most, 1));
  const [p50, p95, p99] = [group.p50_ms, group.p95_ms, group.p99_ms].map(scale);
  return s(
    "svg",
    { class: "percentiles", viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: "track", x: 0, y: 5, width: 100, height: 2 }),
    s("rect", { class: "p99", x: p50, y: 3, width: Math.max(p99 - p50, 0.8), height: 6 }),
    s("rect", { class: "p95", x: p50, y: 3, width: Math.max(p95 - p50, 0.8), height: 6 }),
    s("rect", { class: "p50", x: Math.max(p50 - 0.5, 0), y: 0, width: 1, height: 12 }),
  );
}

/** How much of a whole, as a bar in a cell. */
export const share = (part, whole, tone) => s("svg", { class: "share", viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { class: "track", x: 0, y: 0, width: 100, height: 4 }), s("rect", { class: tone, x: 0, y: 0, width: whole ? Math.max((100 * part) / whole, part ? 1 : 0) : 0, height: 4 }));
