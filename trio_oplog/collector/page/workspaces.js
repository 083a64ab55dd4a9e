// The workspaces that the token may see, with what happened in each in the last seven days.

import { getJson } from "./api.js";
import { h, notice, show } from "./dom.js";
import { count, duration, line, percent } from "./format.js";
import { href } from "./state.js";

const SPAN = 7 * 86_400_000;
const AT_ONCE = 4;
const COUNTED_MAX = 200;

export function mountWorkspaces(main, context) {
  const stop = new AbortController();
  const body = h("tbody", { role: "rowgroup" });

  async function update() {
    let names;
    try {
      names = await context.refreshed();
    } catch (error) {
      context.fail(error, main, update);
      return;
    }
    if (stop.signal.aborted) return;
    if (names.length === 0) {
      show(main, notice("There is no workspace yet", h("p", {}, "One appears with its first record.")));
      return;
    }
    const rows = names.map((name) => {
      const cells = [1, 2, 3].map(() => h("td", { class: "number" }, "…"));
      return { name, cells, row: h("tr", {}, h("th", { scope: "row" }, h("a", { href: href({ workspace: name }), "data-go": true }, h("bdi", {}, line(name)))), cells, h("td", {}, h("a", { href: href({ workspace: name, view: "overview", range: "7d" }), "data-go": true, "aria-label": `Overview of ${line(name)}` }, "Overview"))) };
    });
    show(body, rows.map((each) => each.row));
    show(
      main,
      h(
        "section",
        { class: "page" },
        h("h1", {}, "Workspaces"),
        h("div", { class: "wide card", tabindex: "0", role: "region", "aria-label": "Workspaces" }, h("table", { class: "plain" }, h("thead", {}, h("tr", {}, ["Workspace", "Calls in 7 days", "Errors", "Mean duration"].map((title, column) => h("th", { scope: "col", class: column ? "number" : undefined }, title)), h("th", { scope: "col" }, h("span", { class: "unseen" }, "Where to go")))), body)),
      ),
    );
    const since = new Date(Date.now() - SPAN).toISOString();
    const waiting = rows.slice(0, COUNTED_MAX);
    for (const row of rows.slice(COUNTED_MAX)) for (const cell of row.cells) cell.textContent = "";
    try {
      await Promise.all(
        Array.from({ length: AT_ONCE }, async () => {
          for (let row = waiting.shift(); row; row = waiting.shift()) {
            const { groups } = await getJson("/stats", { workspace_id: row.name, by: "outcome", since }, { signal: stop.signal });
            const calls = groups.reduce((sum, group) => sum + group.count, 0);
            const errors = groups.reduce((sum, group) => sum + group.errors, 0);
            row.cells[0].textContent = count(calls);
            row.cells[1].textContent = percent(errors, calls);
            row.cells[2].textContent = calls ? duration(groups.reduce((sum, group) => sum + group.sum_ms, 0) / calls) : "–";
          }
        }),
      );
    } catch (error) {
      context.fail(error, main, update);
    }
  }

  return { update, leave: () => stop.abort() };
}
