// Elements, made by code. Nothing here reads markup: every text becomes a text node, whoever wrote it.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== undefined && child !== null && child !== false) element.append(child);
  }
}

/** An HTML element. Functions among the properties listen to the event of their name. */
export const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);

/** An SVG element. */
export const s = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

/** Let an element have these children and no others. */
export function show(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

/** Say something to whoever cannot see the page. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** What to do for the first call to be on record. */
export const howToBegin = () => [
  h("p", {}, h("code", {}, "trio-oplog adopt"), " puts the MCP servers of your agents and editors on record; ", h("code", {}, "trio-oplog wrap --"), " in front of a command does so with a single one. Calls appear here as soon as they are stored."),
  h("p", {}, h("code", {}, "trio-oplog check"), " says whether everything is set up."),
];

/** What the page says when there is nothing to show: what is the case, and what to do. */
export function notice(title, ...rest) {
  return h("div", { class: "notice" }, h("h2", {}, title), rest);
}
