// What the collector is asked, and what it says.
//
// The token is kept in sessionStorage and sent in a header. A cookie would be sent to every program that listens on another port of
// the same host, and with requests that other pages make; this one goes nowhere but here, and is gone with the tab.

const KEY = "trio-oplog-token";
const endpoint = new URL(document.querySelector('meta[name="trio-oplog-endpoint"]').content, document.baseURI).href.split("?")[0];
const RETRY_FIRST = 1000;
const RETRY_LAST = 15_000;

export class ApiError extends Error {
  constructor(status, message, field) {
    super(message);
    this.status = status;
    this.field = field;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  clear: () => sessionStorage.removeItem(KEY),
};

function address(path, parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters ?? {})) {
    if (value !== undefined && value !== null && value !== "") query.set(name, value);
  }
  return `${endpoint}${path}?${query}`;
}

async function ask(path, parameters, { signal, headers } = {}) {
  const shown = token.get();
  let response;
  try {
    response = await fetch(address(path, parameters), {
      headers: { ...(shown ? { Authorization: `Bearer ${shown}` } : {}), ...headers },
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The collector cannot be reached.");
  }
  if (response.ok) return response;
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // What is between the page and the collector said no, in its own way.
  }
  throw new ApiError(response.status, problem.error ?? `The answer was ${response.status}.`, problem.field);
}

/** An answer, read. */
export const getJson = async (path, parameters, options) => (await ask(path, parameters, options)).json();

/** An answer as the text that it is. */
export const getText = async (path, parameters, options) => (await ask(path, parameters, options)).text();

/** An answer of any length, kept by the browser wherever it keeps such things. */
export const getBlob = async (path, parameters, options) => (await ask(path, parameters, options)).blob();

/** Whether the collector answers, whatever it says. */
export async function isReachable() {
  try {
    await ask("/whoami");
  } catch (error) {
    return error.status !== 0;
  }
  return true;
}

/** Exchange the code of a sign-in link, once, for a token. */
export async function exchange(code) {
  const response = await fetch(new URL("exchange", document.baseURI), { method: "POST", headers: { Authorization: `Bearer ${code}` }, cache: "no-store", credentials: "omit" });
  if (!response.ok) throw new ApiError(response.status, "The link was used already, or belongs to another start.");
  return response.text();
}

/**
 * Tell of each record that arrives, until the signal says stop: reconnects by itself, and goes on where it was.
 *
 * EventSource would do the same, but cannot send a token.
 */
export async function follow(parameters, { signal, after, arrived, changed }) {
  let delay = RETRY_FIRST;
  let last = after;
  while (!signal.aborted) {
    try {
      const response = await ask("/live", parameters, { signal, headers: last ? { "Last-Event-ID": last } : {} });
      changed("live");
      delay = RETRY_FIRST;
      for await (const event of events(response.body.getReader())) {
        if (event.id) last = event.id;
        arrived(event.data === "" ? null : JSON.parse(event.data), last);
      }
    } catch (error) {
      if (signal.aborted) return;
      if ([400, 401, 403].includes(error.status)) {
        changed("refused", error);
        return;
      }
    }
    if (signal.aborted) return;
    changed("waiting");
    await new Promise((wake) => {
      const timer = setTimeout(wake, delay);
      signal.addEventListener("abort", () => (clearTimeout(timer), wake()), { once: true });
    });
    delay = Math.min(2 * delay, RETRY_LAST);
  }
}

async function* events(reader) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const whole = rest.split("\n\n");
    rest = whole.pop();
    for (const one of whole) {
      const event = { id: "", data: "" };
      for (const field of one.split("\n")) {
        if (field.startsWith("id: ")) event.id = field.slice(4);
        else if (field.startsWith("data: ")) event.data += field.slice(6);
      }
      yield event;
    }
  }
}
