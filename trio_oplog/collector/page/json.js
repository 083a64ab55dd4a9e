// JSON as people read it, from the text and not from its values: 9007199254740993 stays what it is, and so do keys that are there twice.

const MARKS = "{}[],:";
const SPACES = " \n\r\t";

const INDENT = 2;
const DEEPEST = 40;

/** Where the string ends that begins here. Strings of megabytes are too much for a regular expression. */
function endOfString(text, begin) {
  let end = begin;
  for (;;) {
    end = text.indexOf('"', end + 1);
    if (end === -1) return text.length;
    let backslashes = 0;
    while (text[end - 1 - backslashes] === "\\") backslashes += 1;
    if (backslashes % 2 === 0) return end + 1;
  }
}

/** The tokens of a JSON text, each with where it begins. */
function* tokens(text) {
  let position = 0;
  while (position < text.length) {
    const character = text[position];
    let end = position + 1;
    if (SPACES.includes(character)) {
      position = end;
      continue;
    }
    if (character === '"') end = endOfString(text, position);
    else if (!MARKS.includes(character)) {
      while (end < text.length && !MARKS.includes(text[end]) && !SPACES.includes(text[end]) && text[end] !== '"') end += 1;
    }
    yield [text.slice(position, end), position];
    position = end;
  }
}

/** The tokens of a JSON text with the line breaks and spaces of a readable one, as [kind, text]; ends after so many characters. */
export function* pretty(text, longest = Infinity) {
  const kinds = []; // of the brackets that are open
  let written = 0;
  let isFirst = true; // nothing has come yet in the innermost bracket
  let isKey = false;
  const pause = () => `\n${" ".repeat(INDENT * Math.min(kinds.length, DEEPEST))}`;
  for (const [token] of tokens(text)) {
    if (written >= longest) return;
    const parts = [];
    if (token === "{" || token === "[") {
      if (isFirst && kinds.length) parts.push(["space", pause()]);
      parts.push(["mark", token]);
      kinds.push(token);
      isFirst = true;
      isKey = token === "{";
    } else if (token === "}" || token === "]") {
      kinds.pop();
      if (!isFirst) parts.push(["space", pause()]);
      parts.push(["mark", token]);
      isFirst = false;
      isKey = false;
    } else if (token === ",") {
      parts.push(["mark", token], ["space", pause()]);
      isKey = kinds.at(-1) === "{";
    } else if (token === ":") {
      parts.push(["mark", token], ["space", " "]);
      isKey = false;
    } else {
      if (isFirst && kinds.length) parts.push(["space", pause()]);
      isFirst = false;
      parts.push([token[0] !== '"' ? "value" : isKey ? "key" : "string", token]);
    }
    for (const part of parts) {
      written += part[1].length;
      yield part;
    }
  }
}

/** The exact text of a member of a JSON object; undefined where it has none. Of several of a name, the last one counts. */
export function memberText(text, name) {
  let depth = 0;
  let key = null; // the member of the outermost object that is being read
  let begin = 0;
  let found;
  let isKeyNext = false;
  for (const [token, at] of tokens(text)) {
    if (token === "{" || token === "[") {
      depth += 1;
      isKeyNext = depth === 1;
    } else if (token === "}" || token === "]" || (token === "," && depth === 1)) {
      if (token !== ",") depth -= 1;
      if (depth === 0 || token === ",") {
        if (key === name) found = text.slice(begin, at).trim();
        key = null;
        isKeyNext = token === ",";
      }
    } else if (token === ":" && depth === 1 && key !== null && begin === 0) {
      begin = at + 1;
    } else if (isKeyNext && depth === 1) {
      key = JSON.parse(token);
      begin = 0;
      isKeyNext = false;
    }
  }
  return found;
}
