"""Step 5: the values of keys that name secrets are taken out of every text of an Operation."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from trio_oplog._errors import ConfigError
from trio_oplog._operation import Operation, shrink
from trio_oplog._recording.redact import mark

SECRET_KEYS: Final = (
    "access_key",
    "access_token",
    "account_key",
    "api_key",
    "auth_token",
    "authorization",
    "bearer",
    "bearer_token",
    "client_secret",
    "connection_string",
    "cookie",
    "cookies",
    "credential",
    "credentials",
    "encryption_key",
    "id_token",
    "jwt",
    "otp",
    "passphrase",
    "passwd",
    "password",
    "pin_code",
    "private_key",
    "refresh_token",
    "secret",
    "secret_access_key",
    "secret_key",
    "secrets",
    "session_token",
    "signing_key",
    "ssh_key",
    "subscription_key",
    "token",
)
"""The keys that ``redact_secrets`` knows.  A key counts when its last words are one of them."""

_HARMLESS: Final = ("cancellation_token", "continuation_token", "next_token", "page_token", "progress_token", "sync_token")
"""They end in ``token``, and only say where a list goes on or which request is meant."""

_TEXT: Final = "[redacted]"
_LENGTH_MIN: Final = 4
"""A shorter value is not looked for in other texts: it would be found by chance."""
_VALUES_MAX: Final = 32
"""More values cost the whole payload, so that looking for them takes a bounded time."""
_NESTING_MAX: Final = 4
"""JSON in a string of JSON is read to this depth."""

_SCHEME: Final = re.compile(r"(?:basic|bearer|token)\s+(\S+)", re.IGNORECASE)
_WORD_BEGINS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[\W_]+")
# A string ends with its line at the latest: JSON has none over several lines, and a summary may be cut in the middle of one.
_STRING: Final = r'"(?:[^"\\\n]|\\[^\n])*+(?:"|\\?(?=\n|\Z))'
_TOKEN: Final = re.compile(_STRING + r'|[{}\[\],:]|[^\s{}\[\],:"]+')
_SCALAR: Final = re.compile(rf'({_STRING})(\s*:)?|[^\s{{}}\[\],:"]+')


def redact_secrets(*names: str, defaults: bool = True) -> Callable[[Operation], Operation]:
    """Make a function that takes passwords, tokens and keys out of operations, for ``Config.redact``.

    It is what ``trio-oplog wrap`` and ``trio-oplog gateway`` use.  The value of each key that names a secret is replaced by
    ``{"redacted": true, "size_bytes": …}``, at any depth of the arguments, in JSON that stands in a string of theirs, and where
    JSON stands in the result's summary, the title or the reason of an approval.  Values of at least four characters that were
    found so are replaced by ``[redacted]`` wherever else they stand in these texts.

    Keys are compared without regard to case and separators, so ``apiKey``, ``API-KEY`` and ``api_key`` are one.

    Args:
        names: Further keys.  Such a key is the whole key: ``name`` is not ``user_name``.
        defaults: Whether to know the usual ones: ``password``, ``token``, ``secret``, ``authorization``, ``api_key``,
            ``cookie``, ``private_key`` and others.  Such a key may have words before it: ``github_token`` is one, and
            ``max_tokens`` and ``next_page_token`` are none.

    Returns:
        The function.  An operation with more than 32 different values of such keys goes without its payload.

    Raises:
        ConfigError: A name is empty or no text.
    """
    if not all(isinstance(name, str) and _letters(name) for name in names):
        raise ConfigError("names", "must have a letter or a digit each")
    keys = _Keys(names, defaults=defaults)
    return lambda operation: _redacted(operation, keys)


class _Keys:
    """Which keys name secrets."""

    def __init__(self, whole: tuple[str, ...], *, defaults: bool) -> None:
        self._whole = frozenset(map(_letters, whole))
        self._endings = frozenset("".join(_words(name)) for name in SECRET_KEYS) if defaults else frozenset()
        self._longest = max(map(len, self._endings), default=0)

    def __contains__(self, key: str) -> bool:
        if self._whole and _letters(key) in self._whole:
            return True
        words = _words(key)
        if words[-2:] in _HARMLESS_WORDS:
            return False
        ending = ""
        for word in reversed(words):
            ending = word + ending
            if len(ending) > self._longest:
                break
            if ending in self._endings:
                return True
        return False


def _letters(key: str) -> str:
    """A key in lower case, without separators."""
    return _WORD_BEGINS.sub("", key).casefold()


def _words(key: str) -> list[str]:
    """The words of a key in lower case, without a number at the end: ``dbPassword2`` has the words ``db`` and ``password``."""
    words = _WORD_BEGINS.sub("_", key).casefold().rstrip("_0123456789").split("_")
    return [word for word in words if word]


_HARMLESS_WORDS: Final = [_words(name) for name in _HARMLESS]


def _redacted(operation: Operation, keys: _Keys) -> Operation:
    scan = _Scan(keys)
    meta, approval = operation.result_meta, operation.approval
    arguments = operation.arguments
    before = (
        None if arguments is None else arguments.decode("utf-8", "surrogatepass"),
        operation.result_summary,
        None if meta is None else meta.title,
        None if approval is None else approval.reason,
    )
    texts = [None if text is None else scan.without_secrets(text) for text in before]
    if len(scan.values) > _VALUES_MAX:
        return shrink(operation)
    if scan.values:
        values = _Values(scan.values)
        texts[0] = None if texts[0] is None else values.without_in_json(texts[0])
        texts[1:] = [None if text is None else values.without(values.without_in_json(text, bare=_TEXT)) for text in texts[1:]]
    changes: dict[str, Any] = {}
    if texts[0] is not None and texts[0] != before[0]:
        changes["arguments"] = texts[0].encode("utf-8", "surrogatepass")
    if texts[1] != before[1]:
        changes["result_summary"] = texts[1]
    if meta is not None and texts[2] != before[2]:
        changes["result_meta"] = attrs.evolve(meta, title=texts[2])
    if approval is not None and texts[3] != before[3]:
        changes["approval"] = attrs.evolve(approval, reason=texts[3])
    return attrs.evolve(operation, **changes) if changes else operation


class _Scan:
    """Goes through the texts of one operation.

    Attributes:
        values: What was found under keys that name secrets and is long enough to be looked for elsewhere.
    """

    def __init__(self, keys: _Keys) -> None:
        self.values: set[str] = set()
        self._keys = keys

    def without_secrets(self, text: str, nesting: int = _NESTING_MAX) -> str:
        """The same text with the value of each such key replaced.  What is no JSON stays; JSON may be cut at its end."""
        parts: list[str] = []
        at = 0
        key: str | None = None  # the last string, as long as only a colon has followed
        is_value = False  # whether the next token begins the value of a key that names a secret
        tokens = _TOKEN.finditer(text)
        for token in tokens:
            spelled = token[0]
            if is_value:
                end = self._end_of_value(token, tokens, text)
                value = text[token.start() : end]
                self._keep(value)
                parts += [text[at : token.start()], mark(value.encode("utf-8", "replace"), digests=False).decode()]
                at, key, is_value = end, None, False
            elif spelled == ":":
                is_value = key is not None and key in self._keys
                key = None
            elif spelled[0] == '"':
                key = _read_string(spelled)
                if nesting and key is not None and '"' in key:
                    inner = self.without_secrets(key, nesting - 1)
                    if inner != key:
                        parts += [text[at : token.start()], json.dumps(inner)]
                        at = token.end()
            else:
                key = None
        return "".join([*parts, text[at:]])

    def _end_of_value(self, token: re.Match[str], tokens: Iterator[re.Match[str]], text: str) -> int:
        if token[0] not in ("{", "["):
            return token.end()
        depth = 1
        for inner in tokens:
            depth += (inner[0] in ("{", "[")) - (inner[0] in ("}", "]"))
            if depth == 0:
                return int(inner.end())
        return len(text)

    def _keep(self, value: str, nesting: int = _NESTING_MAX) -> None:
        """Remember what a value says, to look for it elsewhere; of an object or array each string and number in it."""
        for token in _SCALAR.finditer(value):
            string, colon = token.groups()
            if colon is not None:
                continue
            said = token[0] if string is None else _read_string(string)
            if said is None or len(said) < _LENGTH_MIN or said in ("true", "false", "null"):
                continue
            self.values.add(said)
            if nesting and said[0] in '{["':
                self._keep(said, nesting - 1)
            if scheme := _SCHEME.fullmatch(said):
                self.values.add(scheme[1])


class _Values:
    """Values that are to stand in no text of an operation."""

    def __init__(self, values: set[str]) -> None:
        self._values = values
        self._any = re.compile("|".join(map(re.escape, sorted(values, key=len, reverse=True))))

    def without(self, text: str) -> str:
        """The same text without them.  Where it was cut, it may end in the middle of one."""
        text = self._any.sub(_TEXT, text)
        for value in self._values:
            for length in range(min(len(value) - 1, len(text)), _LENGTH_MIN - 1, -1):
                if text.endswith(value[:length]):
                    return text[:-length] + _TEXT
        return text

    def without_in_json(self, text: str, nesting: int = _NESTING_MAX, *, bare: str = json.dumps(_TEXT)) -> str:
        """The same text without them in its strings and among its numbers; keys stay.  ``bare`` takes the place of a number."""

        def without(token: re.Match[str]) -> str:
            string, colon = token.groups()
            if string is None:
                return bare if token[0] in self._values else token[0]
            said = None if colon is not None else _read_string(string)
            if said is None:
                return token[0]
            inner = self.without_in_json(said, nesting - 1) if nesting and '"' in said else said
            inner = self._any.sub(_TEXT, inner)
            return token[0] if inner == said else json.dumps(inner)

        return _SCALAR.sub(without, text)


def _read_string(spelled: str) -> str | None:
    """What a string of JSON says; of one that was cut what is there of it, and ``None`` where it is none."""
    if "\\" not in spelled and len(spelled) > 1 and spelled[-1] == '"':
        return spelled[1:-1]
    # Where it was cut, that may be in the middle of an escape.
    for closed in (spelled, *(spelled[:end] + '"' for end in range(len(spelled), max(len(spelled) - 6, 0), -1))):
        try:
            return str(json.loads(closed, strict=False))
        except ValueError:
            continue
    return None
