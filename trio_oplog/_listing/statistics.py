"""What a store may be asked to count, and what it answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
from attrs import Attribute, field, frozen

from trio_oplog._errors import QueryError
from trio_oplog._listing.query import (
    LIMIT_MAX,
    as_recorded,
    optional_bool,
    optional_time,
    required_text,
    text_field,
    valid_limit,
)

_LABELS: Final = ("tool", "env_id", "source", "outcome", "client", "approval")
STATISTICS_GROUPS: Final = (*_LABELS, "user_id", "hour", "day")
"""What statistics can be grouped by."""


def _group(_: Any, attribute: Attribute[Any], value: object) -> None:
    if value not in STATISTICS_GROUPS:
        raise QueryError(attribute.name, f"must be one of {', '.join(STATISTICS_GROUPS)}")


@frozen(kw_only=True)
class StatisticsQuery:
    """What to count, and by what.

    Attributes:
        workspace_id: Whose operations; not empty.
        by: ``tool``, ``env_id``, ``source``, ``outcome``, ``client``, ``approval``, ``user_id``, ``hour`` or ``day`` (UTC).
        since: From the hour of this time on; aware.
        until: To the end of the hour before this time, or of the hour that it is in; aware.
        tool, env_id, source, outcome, client, approval: Only operations that have this, as in a list.
        user_id: Only operations of this user.
        is_error: Only those that failed, or only those that did not.
        limit: At most this many groups, 1 to 1 000: the newest hours or days, or the most frequent of everything else.

    Users are counted apart: ``user_id`` goes together with ``is_error`` and times, and with nothing else.

    Raises:
        QueryError: A value is wrong, or cannot be combined with another; the error names the field.
    """

    workspace_id: str = field(converter=as_recorded, validator=required_text)
    by: str = field(validator=_group)
    since: datetime | None = field(default=None, validator=optional_time)
    until: datetime | None = field(default=None, validator=optional_time)
    tool: str | None = text_field()
    env_id: str | None = text_field()
    source: str | None = text_field()
    outcome: str | None = text_field()
    client: str | None = text_field()
    approval: str | None = text_field()
    user_id: str | None = text_field()
    is_error: bool | None = field(default=None, validator=optional_bool)
    limit: int = field(default=LIMIT_MAX, validator=valid_limit)

    def __attrs_post_init__(self) -> None:
        if (self.by == "user_id" or self.user_id is not None) and (self.by in _LABELS or self._has_labels):
            raise QueryError("user_id", "is counted apart and cannot be combined with other fields")

    @property
    def _has_labels(self) -> bool:
        return any(getattr(self, name) is not None for name in _LABELS)

    @property
    def kind(self) -> str:
        """Which counts are asked for: of calls by their labels (``call``), of users (``user``), or of everything (``all``)."""
        if self.by == "user_id" or self.user_id is not None:
            return "user"
        return "call" if self.by in _LABELS or self._has_labels else "all"


@frozen(kw_only=True)
class Statistics:
    """What was counted of one group of operations.

    Percentiles are those of nearest rank, within 5 %; ``None`` where nothing was measured.

    Attributes:
        value: What the group has in common: a text, ``None`` for those without one, or the beginning of an hour or day.
        count: How many there were.
        errors: How many of them failed.
        sum_ms: How long they took together, in milliseconds.
        p50_ms, p95_ms, p99_ms: Percentiles of how long they took.
        waits: How many of them waited for a person.
        waited_ms: How long they did together, in milliseconds.
        waited_p50_ms, waited_p95_ms, waited_p99_ms: Percentiles of how long those waited.
    """

    value: str | datetime | None
    count: int
    errors: int
    sum_ms: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    waits: int
    waited_ms: int
    waited_p50_ms: float | None
    waited_p95_ms: float | None
    waited_p99_ms: float | None


@frozen
class Counted:
    """What was counted.

    Attributes:
        groups: Hours and days in their order; of everything else the most frequent first.
        is_whole: Whether these are all groups.  Else there are more than the limit.
    """

    groups: list[Statistics]
    is_whole: bool = True

    def document(self, by: str) -> bytes:
        """The same as an endpoint answers with it.

        Args:
            by: What was counted by.
        """
        more = {} if self.is_whole else {"incomplete": True}
        return msgspec.json.encode({"by": by, "groups": self.groups, **more})
