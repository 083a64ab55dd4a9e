// The bar above a view: search, time, chips of what is filtered by, and how to add one.

import { getJson } from "./api.js";
import { h, show } from "./dom.js";
import { day, line, outcomeName, said } from "./format.js";
import { FILTERS, RANGES, TIMES, cleared, filters } from "./state.js";

const CHOOSABLE = ["tool", "outcome", "user_id", "client", "env_id", "source", "approval", "thread_id"];
const SUGGESTED = 200;

/** The bar. Without a search field where the view cannot search. */
export function filterBar(context, { search = true } = {}) {
  const bar = h("div", { class: "bar" });
  let state = {};
  const field = h("input", {
    id: "search",
    type: "search",
    placeholder: "Search tools, arguments and results",
    "aria-label": "Search in tools, arguments and results",
    "aria-keyshortcuts": "/",
    spellcheck: "false",
    maxlength: "500",
    keydown: (event) => {
      if (event.key === "Escape") {
        field.value = state.q ?? "";
        field.blur();
        event.stopPropagation();
      }
    },
  });
  const range = h("select", { id: "range", "aria-label": "Time", change: () => context.go({ range: range.value || undefined, since: undefined, until: undefined }) });
  const chips = h("ul", { class: "chips", "aria-label": "Filters" });
  const errors = h("button", { type: "button", class: "toggle", click: () => context.go({ is_error: state.is_error === "true" ? undefined : "true" }) }, "Errors only");
  const values = h("datalist", { id: "values" });
  const name = h("select", { id: "filter-name", "aria-label": "Filter by", change: () => suggest() }, CHOOSABLE.map((each) => h("option", { value: each }, FILTERS[each])));
  const value = h("input", { id: "filter-value", list: "values", "aria-label": "Value", required: true, autocomplete: "off", spellcheck: "false", maxlength: "500" });
  const adder = h(
    "details",
    {
      class: "adder",
      toggle: () => adder.open && (suggest(), name.focus()),
      keydown: (event) => {
        if (event.key === "Escape" && adder.open) {
          adder.open = false;
          adder.querySelector("summary").focus();
          event.stopPropagation();
        }
      },
    },
    h("summary", {}, "Add filter"),
    h(
      "form",
      {
        submit: (event) => {
          event.preventDefault();
          adder.open = false;
          const chosen = value.value;
          value.value = "";
          context.go({ [name.value]: chosen, call: undefined });
        },
      },
      name,
      value,
      values,
      h("button", { type: "submit", class: "main" }, "Add"),
    ),
  );

  async function suggest() {
    show(values);
    const by = name.value;
    if (by === "thread_id") return;
    try {
      const { groups } = await getJson("/stats", { workspace_id: state.workspace, by, limit: SUGGESTED });
      show(values, groups.filter((group) => group.value && group.value.length < 500).slice(0, SUGGESTED).map((group) => h("option", { value: group.value })));
    } catch {
      // Only suggestions: whatever is wrong, the list says it.
    }
  }

  function chip(key, title, text, removed) {
    return h(
      "li",
      { class: "chip" },
      h("span", { class: "chip-name" }, title),
      h("span", { class: "chip-value", title: line(text, 500) }, said(text, 48)),
      h("button", { type: "button", class: "remove", "aria-label": `Remove the filter ${title} ${line(text, 48)}`, click: () => context.go(removed) }, "×"),
    );
  }

  function update(next) {
    state = next;
    if (document.activeElement !== field) field.value = state.q ?? "";
    const custom = state.since || state.until;
    show(
      range,
      custom && h("option", { value: "custom", selected: true, disabled: true }, "Chosen time"),
      Object.entries(RANGES).map(([key, title]) => h("option", { value: key, selected: !custom && key === (state.range ?? "") }, title)),
    );
    errors.setAttribute("aria-pressed", String(state.is_error === "true"));
    const found = Object.keys(FILTERS)
      .filter((key) => state[key] && !(key === "is_error" && state[key] === "true"))
      .map((key) => chip(key, FILTERS[key], key === "outcome" ? outcomeName(state[key]) : key === "is_error" ? "none" : state[key], { [key]: undefined }));
    for (const [key, title] of Object.entries(TIMES)) {
      if (state[key]) {
        const at = new Date(state[key]);
        const text = Number.isNaN(at.getTime()) ? state[key] : `${day(at)} ${at.toLocaleTimeString("en-GB")}`;
        found.push(chip(key, title, text, { [key]: undefined }));
      }
    }
    if (found.length > 0) found.push(h("li", {}, h("button", { type: "button", class: "quiet", click: () => context.go(cleared()) }, "Clear all")));
    show(chips, found);
    chips.hidden = found.length === 0;
  }

  show(
    bar,
    search &&
      h(
        "form",
        {
          role: "search",
          submit: (event) => {
            event.preventDefault();
            field.blur();
            context.go({ q: field.value || undefined });
          },
        },
        field,
        h("kbd", { "aria-hidden": "true" }, "/"),
      ),
    range,
    errors,
    adder,
  );
  return { element: h("div", { class: "bars" }, bar, chips), bar, update, filters: (options) => filters(state, options) };
}
