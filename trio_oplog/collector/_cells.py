"""What is counted of records: by series and by hour and day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple, Self, TypeAlias

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


Place: TypeAlias = tuple[int, str, int, int, int]
"""The key of a cell in the database: the number of the workspace, the series' kind, ``HOUR`` or ``DAY``, where that begins in
seconds since 1970, and the number of the series."""


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

    def add(self, duration_ms: int, bucket: int) -> None:
        """Count a record.

        Args:
            duration_ms: From 0 to ``LARGEST``.
            bucket: That of this duration, which more than one cell counts.
        """
        self.count += 1
        self.sum_ms = min(self.sum_ms + duration_ms, LARGEST)
        self.durations[bucket] = self.durations.get(bucket, 0) + 1

    def add_wait(self, waited_ms: int) -> None:
        """Count how long it waited."""
        waited_ms = _clipped(waited_ms)
        self.waits += 1
        self.waited_ms = min(self.waited_ms + waited_ms, LARGEST)
        bucket = _histogram.bucket_of(waited_ms)
        self.waited[bucket] = self.waited.get(bucket, 0) + 1

    def add_columns(self, count: int, sum_ms: int, waits: int, waited_ms: int, durations: bytes, waited: bytes) -> None:
        """``merge`` with the columns of a cell."""
        self.count += count
        self.sum_ms = min(self.sum_ms + sum_ms, LARGEST)
        _histogram.merge(self.durations, _histogram.decode(durations))
        if waits:
            self.waits += waits
            self.waited_ms = min(self.waited_ms + waited_ms, LARGEST)
            _histogram.merge(self.waited, _histogram.decode(waited))

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


Hours: TypeAlias = dict[int, Cell]
Counts: TypeAlias = dict[Series, dict[tuple[int, int], Cell]]
"""The cells of each series by span and start."""


def hour_of(microseconds: int) -> int:
    """The beginning of the hour of a time, in seconds since 1970."""
    seconds = microseconds // MICROSECONDS
    return seconds - seconds % HOUR


def day_of(microseconds: int) -> int:
    """The beginning of the UTC day of a time, in seconds since 1970."""
    seconds = microseconds // MICROSECONDS
    return seconds - seconds % DAY


def count(rows: Iterable[Row]) -> Counts:
    """Count records into cells."""
    calls: dict[Labels, Hours] = defaultdict(dict)
    users: dict[tuple[str, str | None, bool], Hours] = defaultdict(dict)
    for row in rows:
        hour = hour_of(row.started_at)
        labels = row.labels
        duration_ms = _clipped(row.duration_ms)
        bucket = _histogram.bucket_of(duration_ms)
        for hours in (calls[labels], users[labels.workspace, row.user_id, labels.is_error]):
            cell = hours.get(hour)
            if cell is None:
                cell = hours[hour] = Cell()
            cell.add(duration_ms, bucket)
            if row.waited_ms is not None:
                cell.add_wait(row.waited_ms)
    counts = {Series.of_call(labels): _with_days(hours) for labels, hours in calls.items()}
    # Each record has one user, if only none, so that these are everything.
    everything: dict[tuple[str, bool], Hours] = defaultdict(dict)
    for (workspace, user_id, is_error), hours in users.items():
        counts[Series(workspace, "user", is_error, user_id=user_id)] = _with_days(hours)
        together = everything[workspace, is_error]
        for hour, cell in hours.items():
            together.setdefault(hour, Cell()).merge(cell)
    for (workspace, is_error), hours in everything.items():
        counts[Series(workspace, "all", is_error)] = _with_days(hours)
    return counts


def _with_days(hours: Hours) -> dict[tuple[int, int], Cell]:
    cells: dict[tuple[int, int], Cell] = {}
    for hour, cell in hours.items():
        cells[HOUR, hour] = cell
        # Nearly always the only hour of its day, and counted but once.
        day = hour - hour % DAY
        there = cells.get((DAY, day))
        cells[DAY, day] = cell if there is None else there + cell
    return cells


def _clipped(milliseconds: int) -> int:
    return min(max(milliseconds, 0), LARGEST)
