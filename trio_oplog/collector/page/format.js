// How values are written. What peers wrote is cut to a size and shown with its control characters visible.

import { h } from "./dom.js";

const NUMBER = new Intl.NumberFormat("en");
const DAY = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short" });
const DAY_OF_YEAR = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short", year: "numeric" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

// Controls, marks that turn the direction of text, and what has no width.
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u061c\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]/gu;

export const count = (number) => NUMBER.format(number);

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

const hex = (character) => character.codePointAt(0).toString(16).padStart(4, "0");

/** A text in one line, at most so long, in which nothing is hidden. */
export function line(text, longest = 160) {
  const cut = text.length > longest ? `${[...text.slice(0, longest)].join("")}…` : text;
  return cut.replace(INVISIBLE, (character) => (character === "\n" ? "↵" : `⟨U+${hex(character).toUpperCase()}⟩`));
}

/** JSON text in which nothing is hidden: what would be is escaped, which means the same. */
export const visibleJson = (text) => text.replace(INVISIBLE, (character) => (character === "\n" || character === "\t" ? character : `\\u${hex(character)}`));

/** A text of many lines in which nothing is hidden. */
export const visibleText = (text) =>
  text.replace(INVISIBLE, (character) => (character === "\n" || character === "\t" ? character : character === "\r" ? "" : line(character)));

/** What a peer wrote, apart from the direction of the text around it. */
export const said = (text, longest) => h("bdi", {}, line(text, longest));

export function duration(ms) {
  if (ms === undefined || ms === null) return "";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(ms < 9_995 ? 2 : 1)} s`;
  const minutes = Math.round(ms / 1000 / 60);
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${String(seconds % 60).padStart(2, "0")} s`;
  return `${count(Math.floor(minutes / 60))} h ${String(minutes % 60).padStart(2, "0")} m`;
}

const midnight = (date) => new Date(date).setHours(0, 0, 0, 0);

export function day(date) {
  return (date.getFullYear() === new Date().getFullYear() ? DAY : DAY_OF_YEAR).format(date);
}

/** A moment in local time, with UTC for whoever points at it. */
export function moment(iso, { date = "auto", fraction = false } = {}) {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return h("span", {}, line(iso, 40));
  const shown = [];
  if (date === "always" || (date === "auto" && midnight(at) !== midnight(Date.now()))) shown.push(`${day(at)} `);
  shown.push(CLOCK.format(at));
  if (fraction) shown.push(`.${String(at.getMilliseconds()).padStart(3, "0")}`);
  return h("time", { datetime: iso, title: utc(iso) }, shown.join(""));
}

/** A time with all six digits of its fraction, so that texts are in the order of times. */
export const exact = (iso) => iso.replace(/(?:\.(\d{1,6})\d*)?Z$/, (_, digits = "") => `.${digits.padEnd(6, "0")}Z`);

/** Just after a time, so that a list up to there has what began then. */
export function justAfter(iso) {
  const [seconds, digits] = exact(iso).slice(0, -1).split(".");
  if (digits !== "999999") return `${seconds}.${String(Number(digits) + 1).padStart(6, "0")}Z`;
  return new Date(Date.parse(`${seconds}Z`) + 1000).toISOString();
}

/** The same moment in UTC, with all the digits that are known. */
export const utc = (iso) => `${iso.replace("T", " ").replace("Z", "")} UTC`;

export function bytes(size) {
  if (size < 1024) return plural(size, "byte");
  return size < 1024 * 1024 ? `${(size / 1024).toFixed(1)} KiB` : `${(size / 1024 / 1024).toFixed(1)} MiB`;
}

export const percent = (part, whole) => (whole === 0 ? "–" : part === 0 ? "0 %" : `${((100 * part) / whole).toFixed(part / whole < 0.0995 ? 1 : 0)} %`);

const OUTCOMES = {
  rpc_error: "RPC error",
  tool_error: "tool error",
  input_required: "input required",
};

/** The outcome by which the collector finds and counts a call. */
export const outcomeOf = (call) => call.result_meta?.outcome ?? (call.is_error ? "error" : "ok");

export function outcome(call) {
  const name = outcomeOf(call);
  const tone = name === "ok" ? "good" : name === "declined" || !call.is_error ? "odd" : "bad";
  return h("span", { class: `outcome ${tone}` }, OUTCOMES[name] ?? line(name, 40));
}

export const outcomeName = (name) => OUTCOMES[name] ?? name;
