"""What the reference remembers: open calls, questions about them, and calls that wait for a task or for another round."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from attrs import Factory, define

from trio_oplog import Approval, DecidedBy


@define(eq=False)
class Question:
    asked: float
    waits: bool = True
    approves: bool = True
    by: DecidedBy = DecidedBy.NONE
    decision: str | None = None
    reason: str | None = None
    risk: str | None = None
    refuses: bool = False
    provisional: bool = False
    decided: float | None = None
    # How the client's answer is read: the decision, and whether it refuses.
    read: Any = None

    def until(self, end: float) -> float:
        return max(self.asked, min(end, end if self.decided is None else self.decided))


@define(eq=False)
class Call:
    key: Any
    kind: str
    turn: Any
    fields: dict[str, Any]
    began: tuple[datetime, float]
    duplicate: bool = False
    started_ms: int | None = None
    questions: list[Question] = Factory(list)
    decided: list[Question] = Factory(list)
    rounds: int = 1
    respelled: bool | None = None
    round: dict[str, Any] | None = None
    asks_for: tuple[str | None, str | None] = (None, None)
    task_id: str | None = None
    status: str | None = None
    status_message: str | None = None
    seen: dict[str, tuple[datetime, float]] = Factory(dict)
    told: set[str] = Factory(set)
    said: dict[str, str] = Factory(dict)

    def open_questions(self) -> list[Question]:
        return [each for each in self.questions if each.decided is None]

    def ask(self, question: Question) -> Question:
        if question.approves and not question.provisional:
            self.decided = [each for each in self.decided if not each.provisional]
        self.questions.append(question)
        return question

    def decide(self, question: Question, now: float) -> None:
        if question.decided is None:
            question.decided = now
            self.decided.append(question)

    def judgements(self) -> list[Question]:
        return [each for each in [*self.decided, *self.open_questions()] if each.approves]


class Table:
    """Where calls wait, of one interceptor or of several."""

    def __init__(self, max_calls: int, max_age: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.max_calls, self.max_age, self.monotonic = max_calls, max_age, monotonic
        self.waiting: list[tuple[Call, Any, float]] = []

    def add(self, call: Call, owner: Any) -> None:
        self.expire()
        self.waiting.append((call, owner, self.monotonic()))
        if len(self.waiting) > self.max_calls:
            self.drop(self.waiting[0][0])

    def expire(self) -> None:
        for call, _, since in list(self.waiting):
            if self.monotonic() - since > self.max_age:
                self.drop(call)

    def remove(self, call: Call) -> Any:
        owner = next(owner for each, owner, _ in self.waiting if each is call)
        self.waiting = [entry for entry in self.waiting if entry[0] is not call]
        return owner

    def drop(self, call: Call) -> None:
        self.remove(call).drop(call)

    def close(self) -> None:
        for call, _, _ in list(self.waiting):
            self.drop(call)


def approval_of(call: Call, end: float, to_ms: Callable[[float], int], name: Callable[[str | None], Any]) -> Approval | None:
    judgements = call.judgements()
    if not judgements:
        return None
    last = judgements[-1]
    return Approval(
        decision=last.decision,
        by=last.by,
        waited_ms=to_ms(last.until(end) - last.asked),
        reason=name(last.reason),
        risk=name(last.risk),
        count=len(judgements) if len(judgements) > 1 else None,
    )


def waited(call: Call, end: float) -> float | None:
    spans = sorted((each.asked, each.until(end)) for each in call.questions if each.waits)
    total, covered = 0.0, float("-inf")
    for start, stop in spans:
        total += max(stop - max(start, covered), 0.0)
        covered = max(covered, stop)
    return total if spans else None
