"""What is counted of records: by series and by hour and day."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple, Self

from attrs import Factory, define

from trio_oplog.collector import _histogram
from trio_oplog.collector._histogram import LARGEST, Histogram
from trio_oplog.collector._rows import MICROSECONDS, Labels, Row, digest_of

HOUR: Final = 3_600
DAY: Final = 24 * HOUR


class Series(NamedTuple):
    """Records that are counted together.

    Each record belongs to three: that of its labels (``call``), that of its user (``user``, also of none) and that of its
    workspace (``all``).  Which of the fields after ``is_error`` are there depends on the kind.
    """

    workspace: str
    kind: str
    is_error: bool
    tool: str | None = None
    env_id: str | None = None
    source: str | None = None
    outcome: str | None = None
    client: str | None = None
    approval: str | None = None
    user_id: str | None = None

    @classmethod
    def of_call(cls, labels: Labels) -> Self:
        """The series of these labels."""
        return cls(
            labels.workspace,
            "call",
            labels.is_error,
            labels.tool,
            labels.env_id,
            labels.source,
            labels.outcome,
            labels.client,
            labels.approval,
        )


@lru_cache(maxsize=1 << 16)
def digest_of_series(series: Series) -> bytes:
    """Tells a series from every other one."""
    return digest_of(*series)


class Place(NamedTuple):
    """A series in an hour or in a day, by number: the key of a cell in the database.

    Attributes:
        workspace: The number of the series' workspace.
        kind: Its kind.
        span: ``HOUR`` or ``DAY``.
        start: Where it begins, in seconds since 1970.
        series: Its number.
    """

    workspace: int
    kind: str
    span: int
    start: int
    series: int


@define
class Cell:
    """How many records there were, and how long they took and waited."""

    count: int = 0
    sum_ms: int = 0
    waits: int = 0
    waited_ms: int = 0
    durations: Histogram = Factory(dict)
    waited: Histogram = Factory(dict)

    @classmethod
    def read(cls, count: int, sum_ms: int, waits: int, waited_ms: int, durations: bytes, waited: bytes) -> Self:
        """A cell from its columns."""
        return cls(count, sum_ms, waits, waited_ms, _histogram.decode(durations), _histogram.decode(waited))

    def columns(self) -> tuple[int, int, int, int, bytes, bytes]:
        """Its columns."""
        encode = _histogram.encode
        return (self.count, self.sum_ms, self.waits, self.waited_ms, encode(self.durations), encode(self.waited))

    def add(self, duration_ms: int, waited_ms: int | None) -> None:
        """Count one record."""
        duration_ms = min(max(duration_ms, 0), LARGEST)
        self.count += 1
        self.sum_ms = min(self.sum_ms + duration_ms, LARGEST)
        bucket = _histogram.bucket_of(duration_ms)
        self.durations[bucket] = self.durations.get(bucket, 0) + 1
        if waited_ms is not None:
            waited_ms = min(max(waited_ms, 0), LARGEST)
            self.waits += 1
            self.waited_ms = min(self.waited_ms + waited_ms, LARGEST)
            bucket = _histogram.bucket_of(waited_ms)
            self.waited[bucket] = self.waited.get(bucket, 0) + 1

    def __add__(self, other: Cell) -> Cell:
        """Both together, in a new cell."""
        both = Cell(self.count, self.sum_ms, self.waits, self.waited_ms, dict(self.durations), dict(self.waited))
        both.merge(other)
        return both

    def merge(self, other: Cell) -> None:
        """Add what another cell counted."""
        self.count += other.count
        self.sum_ms = min(self.sum_ms + other.sum_ms, LARGEST)
        _histogram.merge(self.durations, other.durations)
        if other.waits:
            self.waits += other.waits
            self.waited_ms = min(self.waited_ms + other.waited_ms, LARGEST)
            _histogram.merge(self.waited, other.waited)


def hour_of(microseconds: int) -> int:
    """The beginning of the hour of a time, in seconds since 1970."""
    seconds = microseconds // MICROSECONDS
    return seconds - seconds % HOUR


def day_of(microseconds: int) -> int:
    """The beginning of the UTC day of a time, in seconds since 1970."""
    seconds = microseconds // MICROSECONDS
    return seconds - seconds % DAY


def count(rows: Iterable[Row]) -> dict[tuple[Series, int, int], Cell]:
    """Count records into cells: by series, span and start."""
    calls: dict[tuple[Labels, int], Cell] = {}
    users: dict[tuple[str, str | None, bool, int], Cell] = {}
    for row in rows:
        hour = hour_of(row.started_at)
        labels = row.labels
        cell = calls.get((labels, hour))
        if cell is None:
            cell = calls[labels, hour] = Cell()
        cell.add(row.duration_ms, row.waited_ms)
        place = (labels.workspace, row.user_id, labels.is_error, hour)
        cell = users.get(place)
        if cell is None:
            cell = users[place] = Cell()
        cell.add(row.duration_ms, row.waited_ms)
    hours: dict[tuple[Series, int], Cell] = {}
    for series, hour, cell in _by_series(calls, users):
        there = hours.setdefault((series, hour), cell)
        if there is not cell:
            there.merge(cell)
    found: dict[tuple[Series, int, int], Cell] = {}
    for (series, hour), cell in hours.items():
        found[series, HOUR, hour] = cell
        # Nearly always the only hour of its day, and counted but once.
        there = found.setdefault((series, DAY, hour - hour % DAY), cell)
        if there is not cell:
            found[series, DAY, hour - hour % DAY] = there + cell
    return found


def _by_series(
    calls: dict[tuple[Labels, int], Cell], users: dict[tuple[str, str | None, bool, int], Cell]
) -> Iterator[tuple[Series, int, Cell]]:
    for (labels, hour), cell in calls.items():
        yield Series.of_call(labels), hour, cell
    # Each record has one user, if only none, so that these are everything.
    for (workspace, user_id, is_error, hour), cell in users.items():
        yield Series(workspace, "all", is_error), hour, Cell() + cell
        yield Series(workspace, "user", is_error, user_id=user_id), hour, cell
