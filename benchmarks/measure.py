"""Timing that holds up on a noisy machine: candidate and baseline take turns, and the best of many short rounds counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

ROUND_SECONDS = 0.004
ROUNDS = 60


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: What was measured.
        value: What came out, with its unit.
        baseline: What it is compared with, likewise.
        ratio: Value by baseline.
        bound: What the ratio must not be above (``"<= 1.3"``) or below (``">= 5"``); empty where nothing is promised.
    """

    name: str
    value: str
    baseline: str
    ratio: float | None
    bound: str = ""

    @property
    def kept(self) -> bool:
        """Whether the promise is kept."""
        if not self.bound or self.ratio is None:
            return True
        sign, number = self.bound.split()
        return self.ratio <= float(number) if sign == "<=" else self.ratio >= float(number)


def best_of_turns(*candidates: Callable[[], object]) -> list[float]:
    """Seconds a call of each candidate, the best of many rounds taken in turn."""
    counts = [_calls_a_round(candidate) for candidate in candidates]
    best = [float("inf")] * len(candidates)
    for _ in range(ROUNDS):
        for at, (candidate, count) in enumerate(zip(candidates, counts, strict=True)):
            began = time.perf_counter()
            for _ in range(count):
                candidate()
            best[at] = min(best[at], (time.perf_counter() - began) / count)
    return best


def _calls_a_round(candidate: Callable[[], object]) -> int:
    candidate()
    began = time.perf_counter()
    candidate()
    return max(1, int(ROUND_SECONDS / max(time.perf_counter() - began, 1e-7)))


def microseconds(seconds: float) -> str:
    """A short time for a table."""
    return f"{seconds * 1e6:,.2f} µs"


def show(title: str, rows: list[Row]) -> bool:
    """Print one table; say whether every promise in it is kept."""
    print(f"\n{title}")
    width = max(len(row.name) for row in rows)
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:8.2f} x"
        bound = f"  (goal {row.bound}{'' if row.kept else ': missed'})" if row.bound else ""
        print(f"  {row.name:<{width}}  {row.value:>16}  {row.baseline:>22}  {ratio:>10}{bound}")
    return all(row.kept for row in rows)
