// Where one is: all of it is in the URL, so that a link leads back here and the browser's buttons work.

export const FILTERS = {
  q: "text",
  tool: "tool",
  outcome: "outcome",
  is_error: "errors",
  user_id: "who",
  client: "client",
  env_id: "env",
  source: "source",
  approval: "approval",
  thread_id: "thread",
};

export const TIMES = { since: "from", until: "before" };

export const RANGES = {
  "": "Any time",
  "1h": "Last hour",
  "24h": "Last 24 hours",
  "7d": "Last 7 days",
  "30d": "Last 30 days",
  "90d": "Last 90 days",
};

const HOURS = { h: 1, d: 24 };
const KNOWN = ["workspace", "view", "range", "since", "until", "call", ...Object.keys(FILTERS)];

/** What the address says, as a plain object of texts. */
export function read(search = location.search) {
  const parameters = new URLSearchParams(search);
  return Object.fromEntries(KNOWN.filter((name) => parameters.get(name)).map((name) => [name, parameters.get(name)]));
}

/** The address of this state with some changes; a change to undefined leaves the name out. */
export function href(state, changes = {}) {
  const merged = { ...state, ...changes };
  const parameters = new URLSearchParams();
  for (const name of KNOWN) if (merged[name]) parameters.set(name, merged[name]);
  return `?${parameters}`;
}

/** The filters as the collector takes them. */
export function filters(state, { times = true } = {}) {
  const found = { workspace_id: state.workspace };
  for (const name of Object.keys(FILTERS)) if (state[name]) found[name] = state[name];
  if (times) {
    if (since(state)) found.since = since(state);
    if (state.until) found.until = state.until;
  }
  return found;
}

/** From when on: as it was given, or as long ago as the range says. */
export function since(state) {
  const match = /^(\d{1,4})([hd])$/.exec(state.range ?? "");
  if (match) return new Date(Date.now() - match[1] * HOURS[match[2]] * 3_600_000).toISOString();
  return state.since;
}

export const hasFilters = (state) => Object.keys(FILTERS).some((name) => state[name]) || Boolean(state.range || state.since || state.until);

/** The same place without any filter. */
export const cleared = () => Object.fromEntries([...Object.keys(FILTERS), "range", "since", "until", "call"].map((name) => [name, undefined]));
