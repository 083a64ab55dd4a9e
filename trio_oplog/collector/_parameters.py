"""What the parameters of a URL ask for, route by route; see ``read_values`` for what is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from trio_oplog._errors import QueryError
from trio_oplog._listing import (
    LIMIT_MAX,
    LIST_PARAMETERS,
    ListQuery,
    StatisticsQuery,
    ValueReader,
    read_bool,
    read_text,
    read_time,
    read_values,
    required,
)
from trio_oplog.collector._slowest import SLOWEST_DEFAULT, check_slowest

Given = Iterable[tuple[str, str]]

_PLACE: Final = frozenset({"limit", "cursor"})
_TIMES: Final = frozenset({"since", "until"})


def _without(names: frozenset[str]) -> dict[str, ValueReader]:
    return {name: reader for name, reader in LIST_PARAMETERS.items() if name not in names}


_ONE: Final[Mapping[str, ValueReader]] = {"workspace_id": read_text}
_STATISTICS: Final[Mapping[str, ValueReader]] = {
    **_without(frozenset({"q", "cursor", "id", "id_prefix", "thread_id"})),
    "by": read_text,
}
_LIST: Final[Mapping[str, ValueReader]] = {**LIST_PARAMETERS, "payloads": read_bool}
_LIVE: Final[Mapping[str, ValueReader]] = {**_without(_PLACE | _TIMES), "after": read_text, "payloads": read_bool}
_SLOWEST: Final[Mapping[str, ValueReader]] = {
    **_without(frozenset({"q", "cursor", "id", "id_prefix", "thread_id"})),
    "payloads": read_bool,
}
_EXPORT: Final[Mapping[str, ValueReader]] = {**_without(frozenset({"limit"})), "format": read_text}
_PRUNE: Final[Mapping[str, ValueReader]] = {"workspace_id": read_text, "before": read_time, "dry_run": read_bool}

FORMATS: Final = ("ndjson", "csv")


class Listed(NamedTuple):
    """What a list shows, and whether with arguments and results."""

    query: ListQuery
    payloads: bool


class Live(NamedTuple):
    """What a live tail shows, from where on, and whether with arguments and results."""

    query: ListQuery
    after: str | None
    payloads: bool


class Export(NamedTuple):
    """What an export has, and how it is written."""

    query: ListQuery
    format: str


class Prune(NamedTuple):
    """What is to be deleted."""

    before: datetime
    workspace_id: str | None
    dry_run: bool


def read_workspace(given: Given) -> str:
    """The workspace that is asked for, where that is all."""
    return str(required(read_values(given, _ONE), "workspace_id")["workspace_id"])


def read_statistics_query(given: Given) -> StatisticsQuery:
    """What is to be counted."""
    return StatisticsQuery(**required(read_values(given, _STATISTICS), "workspace_id", "by"))


def read_list(given: Given) -> Listed:
    """What a list shows."""
    values = required(read_values(given, _LIST), "workspace_id")
    payloads = values.pop("payloads", True)
    return Listed(ListQuery(**values), payloads)


def read_slowest(given: Given) -> Listed:
    """Which of the slowest are shown."""
    values = required(read_values(given, _SLOWEST), "workspace_id")
    payloads = values.pop("payloads", True)
    return Listed(check_slowest(ListQuery(**{"limit": SLOWEST_DEFAULT, **values})), payloads)


def read_live(given: Given) -> Live:
    """What a live tail shows."""
    values = required(read_values(given, _LIVE), "workspace_id")
    after, payloads = values.pop("after", None), values.pop("payloads", True)
    return Live(ListQuery(**values, limit=LIMIT_MAX), after, payloads)


def read_export(given: Given) -> Export:
    """What an export has."""
    values = required(read_values(given, _EXPORT), "workspace_id")
    chosen = values.pop("format", FORMATS[0])
    if chosen not in FORMATS:
        raise QueryError("format", f"must be one of {', '.join(FORMATS)}")
    return Export(ListQuery(**values, limit=LIMIT_MAX), chosen)


def read_prune(given: Given) -> Prune:
    """What is to be deleted.

    An empty value is refused: elsewhere it counts as not given, and here that would delete more than was meant.
    """
    parameters = list(given)
    for name, text in parameters:
        if not text:
            raise QueryError(name[:64], "must not be empty")
    values = required(read_values(parameters, _PRUNE), "before")
    return Prune(values["before"], values.get("workspace_id"), values.get("dry_run", False))
