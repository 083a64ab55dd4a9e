"""What a list of operations may be asked for: one value for the gateway, the collector and the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from attrs import Attribute, field, frozen

from trio_oplog._errors import QueryError
from trio_oplog._recording import NAME_MAX_BYTES

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1_000

_TEXTS: Final = frozenset(
    {
        "workspace_id",
        "env_id",
        "tool",
        "source",
        "id",
        "id_prefix",
        "user_id",
        "thread_id",
        "outcome",
        "client",
        "approval",
        "q",
        "cursor",
    }
)
_TIMES: Final = frozenset({"since", "until"})

ValueReader = Callable[[str, str], Any]
"""Reads the text of a parameter; is told its name, for the error."""

_SPELLINGS: Final = {"true": True, "1": True, "false": False, "0": False}

# RFC 3339, section 5.6.  Hours and minutes of the offset are bounded here; datetime bounds the rest.
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(?:\.(\d{1,40}))?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)


def required_text(_: Any, attribute: Attribute[Any], value: object) -> None:
    """Validate: a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise QueryError(attribute.name, "must be a non-empty string")


def optional_text(instance: Any, attribute: Attribute[Any], value: object) -> None:
    """Validate: nothing, or a text of a length that a name may have."""
    if value is not None:
        required_text(instance, attribute, value)
        if len(str(value).encode("utf-8", "replace")) > NAME_MAX_BYTES:
            raise QueryError(attribute.name, f"must be at most {NAME_MAX_BYTES} bytes long")


def as_recorded(text: str) -> str:
    """A text as it is in a record, where U+FFFD stands for a lone surrogate, which has no UTF-8."""
    if not isinstance(text, str) or text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def text_field() -> Any:
    """An attribute of a query: a text, or nothing; see ``as_recorded`` and ``optional_text``."""
    return field(default=None, converter=as_recorded, validator=optional_text)


def optional_bool(_: Any, attribute: Attribute[Any], value: object) -> None:
    """Validate: nothing, or a bool."""
    if value is not None and not isinstance(value, bool):
        raise QueryError(attribute.name, "must be true or false")


def optional_time(_: Any, attribute: Attribute[Any], value: object) -> None:
    """Validate: nothing, or an aware time."""
    if value is not None and (not isinstance(value, datetime) or value.tzinfo is None):
        raise QueryError(attribute.name, "must be a time with a time zone")


def valid_limit(_: Any, attribute: Attribute[Any], value: object) -> None:
    """Validate: how many there may be."""
    if type(value) is not int or not 1 <= value <= LIMIT_MAX:
        raise QueryError(attribute.name, f"must be a whole number from 1 to {LIMIT_MAX}")


@frozen(kw_only=True)
class ListQuery:
    """Which operations to list: those that meet every condition given, the newest first.

    Attributes:
        workspace_id: Whose operations; not empty.
        env_id: Only those that ran there.
        tool: Only calls of this tool.
        source: Only those from this kind of client.
        is_error: Only those that failed, or only those that did not.
        since: Only those that began then or later; aware.
        id: Only this one.
        limit: At most this many, 1 to 1 000.
        until: Only those that began before then; aware.
        user_id: Only calls of this user.
        thread_id: Only calls of this conversation.
        outcome: Only those that ended so: a value of ``Outcome``; ``"ok"`` for those without one that are no errors, and
            ``"error"`` for those without one that are.
        client: Only calls of this client, as ``context.client`` has it.
        approval: Only those whose last decision was this; ``"none"`` where somebody was asked and no decision is known,
            ``"any"`` wherever somebody was asked.
        q: Only those with this text in the tool, the arguments or the summary, whatever the case.
        cursor: Only those after the end of an earlier page: what came with that as ``next``.
        id_prefix: Only those whose id begins so.

    The texts after the first are at most 1 024 bytes of UTF-8, as the names in a record are.  A lone surrogate in one is U+FFFD
    here, as it is in a record.

    Raises:
        QueryError: A value is wrong; the error names the field.
    """

    workspace_id: str = field(converter=as_recorded, validator=required_text)
    env_id: str | None = text_field()
    tool: str | None = text_field()
    source: str | None = text_field()
    is_error: bool | None = field(default=None, validator=optional_bool)
    since: datetime | None = field(default=None, validator=optional_time)
    id: str | None = text_field()
    limit: int = field(default=LIMIT_DEFAULT, validator=valid_limit)
    until: datetime | None = field(default=None, validator=optional_time)
    user_id: str | None = text_field()
    thread_id: str | None = text_field()
    outcome: str | None = text_field()
    client: str | None = text_field()
    approval: str | None = text_field()
    q: str | None = text_field()
    cursor: str | None = text_field()
    id_prefix: str | None = text_field()


def read_values(parameters: Iterable[tuple[str, str]], readers: Mapping[str, ValueReader]) -> dict[str, Any]:
    """The values of the parameters of a URL.

    An empty value is one that was not given.  An unknown or repeated name is refused: a misspelt filter that was silently
    left out would show more than was asked for.

    Args:
        parameters: Names and values, decoded.
        readers: What reads the text of each parameter that there may be.

    Raises:
        QueryError: One of them is wrong; the error names it.
    """
    values: dict[str, Any] = {}
    for name, text in parameters:
        if name in values:
            raise QueryError(name, "is given more than once")
        if name not in readers:
            raise QueryError(name[:64], "is not a parameter of this list")
        values[name] = readers[name](text, name) if text else None
    return {name: value for name, value in values.items() if value is not None}


def required(values: dict[str, Any], *names: str) -> dict[str, Any]:
    """The values, if those of some names are among them.

    Raises:
        QueryError: One of them is missing.
    """
    for name in names:
        if name not in values:
            raise QueryError(name, "is missing")
    return values


def write_parameters(query: ListQuery) -> dict[str, str]:
    """The parameters of a URL that spell a query; what it leaves open is left out."""
    spelled = {
        "workspace_id": query.workspace_id,
        "env_id": query.env_id,
        "tool": query.tool,
        "source": query.source,
        "is_error": None if query.is_error is None else str(query.is_error).lower(),
        "since": None if query.since is None else _spell_time(query.since),
        "id": query.id,
        "limit": str(query.limit),
        "until": None if query.until is None else _spell_time(query.until),
        **{
            name: getattr(query, name)
            for name in ("user_id", "thread_id", "outcome", "client", "approval", "q", "cursor", "id_prefix")
        },
    }
    return {name: text for name, text in spelled.items() if text is not None}


def read_time(text: str, name: str = "since") -> datetime:
    """A time in RFC 3339 (section 5.6), as UTC.

    Digits below a microsecond round up, so that ``since`` never lets in what is older.  A leap second is the second after
    it.

    Args:
        text: How it is spelled.
        name: The parameter that it is for.

    Raises:
        QueryError: It is not one; names the parameter.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise QueryError(name, "must be a time in RFC 3339, such as 2026-01-31T12:00:00Z (in a URL, write + as %2B)")
    day, hour, minute, second, fraction, zone = match.groups()
    digits = (fraction or "").ljust(6, "0")
    beyond = timedelta(seconds=int(second), microseconds=int(digits[:6]) + bool(digits[6:].strip("0")))
    try:
        return (datetime.fromisoformat(f"{day}T{hour}:{minute}:00{zone.upper()}") + beyond).astimezone(UTC)
    except (ValueError, OverflowError):
        raise QueryError(name, "is not a day that exists") from None


def _spell_time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def read_text(text: str, name: str) -> str:  # noqa: ARG001 -- a ValueReader
    """The text itself."""
    return text


def read_bool(text: str, name: str) -> bool:
    """``true``, ``1``, ``false`` or ``0``.

    Raises:
        QueryError: It is none of them; names the parameter.
    """
    if text not in _SPELLINGS:
        raise QueryError(name, "must be true or false")
    return _SPELLINGS[text]


def _read_limit(text: str, name: str) -> int | str:  # noqa: ARG001 -- a ValueReader
    # Longer ones are out of range anyhow, and int() refuses thousands of digits with an error of its own.
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(LIMIT_MAX)) else text


LIST_PARAMETERS: Final[Mapping[str, ValueReader]] = {
    **dict.fromkeys(_TEXTS, read_text),
    **dict.fromkeys(_TIMES, read_time),
    "is_error": read_bool,
    "limit": _read_limit,
}
"""What reads the parameters of a list."""
