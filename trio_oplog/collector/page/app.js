// The page: signs in, shows the view that the address names, and goes where links lead without loading the page again.

import { ApiError, exchange, getJson, isReachable, token } from "./api.js";
import { mountCalls } from "./calls.js";
import { announce, h, howToBegin, notice, show } from "./dom.js";
import { line } from "./format.js";
import { mountOverview } from "./overview.js";
import { signIn } from "./signin.js";
import { FILTERS, TIMES, href, read } from "./state.js";
import { mountWorkspaces } from "./workspaces.js";

const VIEWS = { calls: ["Calls", mountCalls], overview: ["Overview", mountOverview], workspaces: ["Workspaces", mountWorkspaces] };
const CHIPS = { ...FILTERS, ...TIMES };
const OWN = "trio-oplog"; // the collector's own workspace, with the record of who read what
const FIRST_RANGE = "7d";
const LOOK_EVERY = 2000; // milliseconds

const main = document.getElementById("main");
const top_ = document.getElementById("top");
const shared = "BroadcastChannel" in window ? new BroadcastChannel("trio-oplog-token") : null;

let account = null; // what the token may do
let workspaces = [];
let shown = null; // the view that is there: {name, update, leave}

/** Go where a state leads. */
function go(changes, { replace = false } = {}) {
  const to = href(read(), changes);
  if (to === location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  render();
}

const context = { go, fail, account: () => account, refreshed };

/** The workspaces that there are now. */
async function refreshed() {
  workspaces = (await getJson("/workspaces")).workspaces;
  header();
  return workspaces;
}

/** Look from time to time whether there is what a notice waits for, and do what is to be done then; not where the notice is gone. */
async function waitFor(isThere, said, then) {
  do {
    await new Promise((wake) => setTimeout(wake, LOOK_EVERY));
    if (!said.isConnected) return;
  } while (document.hidden || !(await isThere()));
  if (said.isConnected) then();
}

/**
 * Show why something could not be done, in a place, with what to do about it; a token that is no good leads to the sign-in.
 *
 * What could not be reached is done again by itself when it can be, unless somebody is to ask for it anew.
 */
function fail(error, place, again, { goesOn = true } = {}) {
  if (error.name === "AbortError") return;
  if (error.status === 401) {
    leave("The collector does not know this token any more.");
    return;
  }
  const words = describe(error, goesOn);
  announce(words[0]);
  const [title, act] = error.status === 400 && error.field in CHIPS ? ["Remove this filter", () => go({ [error.field]: undefined })] : ["Try again", again];
  const said = notice(words[0], h("p", {}, words[1]), act && h("p", {}, h("button", { type: "button", class: "main", click: act }, title)));
  show(place, said);
  if (error.status === 0 && goesOn) waitFor(isReachable, said, again);
}

function describe(error, goesOn) {
  if (!(error instanceof ApiError)) return ["The page has a fault", `Reload it. If that does not help, report this: ${line(String(error), 300)}`];
  if (error.status === 0) return ["The collector cannot be reached", `Is it running, and is this machine connected?${goesOn ? " The page goes on when it is back." : ""}`];
  if (error.status === 403) return ["This token may not look", "Sign in with a token of the role read, audit or admin."];
  if (error.status === 400) return [`The filter “${CHIPS[error.field] ?? error.field ?? ""}” cannot be used`, `It ${line(error.message, 300).replace(/^\S+ /, "")}.`];
  if (error.status === 503) return ["The collector is busy, or its store does not work now", "Its log says why. Nothing that was stored is lost."];
  return ["That did not work", sentence(error.message)];
}

const sentence = (text) => `${text[0].toUpperCase()}${line(text.slice(1), 300)}${text.endsWith(".") ? "" : "."}`;

function header() {
  const state = read();
  const view = shown?.name ?? "calls";
  // The header is made anew; who stands in it with the keyboard stays there.
  const inHeader = () => [...top_.querySelectorAll("a, button, select")];
  const focused = inHeader().indexOf(document.activeElement);
  const names = [...new Set([...(state.workspace ? [state.workspace] : []), ...workspaces])];
  const choice = h(
    "select",
    { id: "workspace", change: (event) => go({ view: state.view, workspace: event.target.value, ...Object.fromEntries(Object.keys(state).filter((name) => !["view", "range", "workspace"].includes(name)).map((name) => [name, undefined])) }) },
    names.map((name) => h("option", { value: name, selected: name === state.workspace }, line(name, 60))),
  );
  show(
    top_,
    h("a", { class: "brand", href: href({ workspace: state.workspace }), "data-go": true, "aria-label": "trio-oplog" }, mark(), h("span", {}, "trio-oplog")),
    account && [
      h(
        "nav",
        { "aria-label": "Views" },
        Object.entries(VIEWS).map(([name, [title]]) =>
          h(
            "a",
            {
              href: href(state, { view: name === "calls" ? undefined : name, call: undefined, range: name === "overview" && !state.range && !state.since && !state.until ? FIRST_RANGE : state.range }),
              "data-go": true,
              "aria-current": name === view ? "page" : undefined,
            },
            title,
          ),
        ),
      ),
      h("div", { class: "where" }, names.length > 0 && [h("label", { for: "workspace", class: "unseen" }, "Workspace"), choice]),
      h(
        "div",
        { class: "who" },
        h("span", { class: "account", title: `Signed in as ${line(account.name, 100)}, who may: ${rights()}` }, h("bdi", {}, line(account.name, 40)), h("span", { class: "role" }, account.role)),
        h("button", { type: "button", class: "quiet", click: () => leave() }, "Sign out"),
      ),
    ],
  );
  if (focused >= 0) inHeader()[focused]?.focus();
}

const rights = () => (account.payloads ? "see calls with their arguments and results" : "see calls, but no arguments and results");

function mark() {
  const image = h("img", { src: new URL("page/icon.svg", document.baseURI.split("?")[0]).href, alt: "", width: 22, height: 22 });
  return image;
}

function render() {
  if (account === null) return;
  const state = read();
  if (!state.workspace) {
    const first = workspaces.find((name) => name !== OWN) ?? workspaces[0];
    if (first) {
      history.replaceState(null, "", href(state, { workspace: first }));
      render();
      return;
    }
    if (state.view !== "workspaces") {
      shown?.leave();
      shown = null;
      header();
      show(main, h("h1", { class: "unseen" }, "Calls"), nothingYet());
      return;
    }
  }
  const name = state.view in VIEWS ? state.view : "calls";
  if (shown?.name !== name) {
    shown?.leave();
    show(main);
    shown = { name, ...VIEWS[name][1](main, context) };
    document.title = `${VIEWS[name][0]} · trio-oplog`;
  }
  header();
  shown.update(state);
}

function nothingYet() {
  const said = notice("Nothing was recorded yet", howToBegin(), h("p", {}, h("button", { type: "button", class: "main", click: () => start() }, "Look again")));
  waitFor(hasWorkspaces, said, start);
  return said;
}

async function hasWorkspaces() {
  try {
    return (await getJson("/workspaces")).workspaces.length > 0;
  } catch {
    return false;
  }
}

/** Forget the token, and ask for another one. */
function leave(reason) {
  shown?.leave();
  shown = null;
  account = null;
  token.clear();
  header();
  signIn(main, { reason, taken: start });
}

async function start() {
  header();
  show(main, h("p", { class: "loading" }, "Loading…"));
  try {
    account = await getJson("/whoami");
    workspaces = (await getJson("/workspaces")).workspaces;
  } catch (error) {
    account = null;
    if (error.status === 401 || error.status === 403) {
      token.clear();
      const reason = error.status === 401 ? "The collector does not know this token." : describe(error).join(". ");
      signIn(main, { reason, taken: start });
    } else {
      fail(error, main, start);
    }
    return;
  }
  announce(`Signed in as ${line(account.name, 100)}`);
  shown = null;
  render();
}

/** A token from another tab of this page, which only a page of this collector can have. */
function fromAnotherTab() {
  if (shared === null) return Promise.resolve(null);
  return new Promise((found) => {
    const timer = setTimeout(() => found(null), 150);
    shared.addEventListener("message", (event) => {
      if (event.data?.token) {
        clearTimeout(timer);
        found(event.data.token);
      }
    });
    shared.postMessage({ wanted: true });
  });
}

async function begin() {
  const code = /^#code=([\w-]+)$/.exec(location.hash)?.[1];
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  let reason;
  if (code) {
    try {
      token.set(await exchange(code));
    } catch (error) {
      reason = error.message ?? "The link does not work.";
    }
  }
  if (!token.get()) {
    const other = await fromAnotherTab();
    if (other) token.set(other);
  }
  shared?.addEventListener("message", (event) => {
    if (event.data?.wanted && account && token.get()) shared.postMessage({ token: token.get() });
  });
  if (token.get()) await start();
  else {
    header();
    signIn(main, { reason, taken: start });
  }
}

document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest("a[data-go]") : null;
  if (link === null || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  if (link.getAttribute("href") !== location.search) history.pushState(null, "", link.getAttribute("href"));
  render();
});
// What opened below a button closes when somebody turns to something else.
document.addEventListener("pointerdown", (event) => {
  for (const opened of document.querySelectorAll("details.adder[open]")) if (!opened.contains(event.target)) opened.open = false;
});
window.addEventListener("popstate", () => render());
document.addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof Element && event.target.closest("input, select, textarea");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const search = document.getElementById("search");
    if (search) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  }
});

begin();
