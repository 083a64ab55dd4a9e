"""Who let one call run, and how long it waited for people: what was asked about a call, and what was decided."""

from __future__ import annotations

from typing import Final

import attrs
from msgspec import Struct

from trio_oplog._operation import Approval, DecidedBy
from trio_oplog._recording.dialects.events import Call, Decision
from trio_oplog._recording.limits import optional_name

DURATION_MAX_MS: Final = 2**31 - 1


def milliseconds(seconds: float) -> int:
    """Whole milliseconds from 0 to 2**31 - 1."""
    return max(0, min(int(seconds * 1000), DURATION_MAX_MS))


class Ask(Struct, eq=False, gc=False):
    """Somebody is asked about a call.

    Attributes:
        asked: When, on the monotonic clock.
        is_approval: Whether the answer decides on something.
        is_wait: Whether a person has to answer.
        is_request: Whether it is a request of the server's, and not a review or a part of an answer.
        reason: Why it is asked.
    """

    asked: float
    is_approval: bool
    is_wait: bool
    is_request: bool
    reason: str | None


class Consent(Struct, eq=False, gc=False):
    """What is known of the approvals of one call.  All times are seconds on one monotonic clock."""

    open: dict[Ask, None]
    """What is asked and not settled."""
    latest: Ask | None = None
    """The approval that was asked for last."""
    settled: Approval | None = None
    """What was settled last."""
    settled_asked: float | None = None
    """When that was asked for; ``None`` for a hook."""
    refused: bool = False
    """Whether the last decision was a refusal."""
    count: int = 0
    asked_whether: bool = False
    """Codex: whether it was asked already if this MCP tool may run."""
    waiting: int = 0
    """How many open questions a person has to answer."""
    waiting_since: float = 0.0
    waited: float | None = None
    """Seconds spent waiting so far; ``None`` when nobody was ever asked."""
    waited_before: float | None = None
    """The same, when the call was answered with a question that may never be followed by an answer: it has ended then."""
    before_hooks: tuple[Approval | None, bool] | None = None
    """What was settled before hooks allowed the call; they have decided nothing if somebody is asked after them."""
    hooks: int = 0

    @property
    def is_busy(self) -> bool:
        """Whether a request of the server about the call is open."""
        return any(ask.is_request for ask in self.open)

    @property
    def is_undecided(self) -> bool:
        """Whether the call waits to be allowed."""
        return any(ask.is_approval for ask in self.open)

    def ask(self, ask: Ask) -> None:
        """Somebody is asked about the call."""
        self.open[ask] = None
        if ask.is_approval:
            self._forget_hooks()
            self.latest = ask
            self.count += 1
        if ask.is_wait:
            if not self.waiting:
                self.waiting_since = ask.asked
            self.waiting += 1
            self.waited = self.waited or 0.0

    def settle(self, ask: Ask, now: float, decision: Decision | None = None, by: DecidedBy = DecidedBy.NONE) -> None:
        """It was decided, or (no decision) it is no longer to be decided."""
        if self.open.pop(ask, self) is self:
            return
        if ask.is_wait:
            self.waiting -= 1
            if not self.waiting:
                self.waited = (self.waited or 0.0) + (now - self.waiting_since)
        if ask.is_approval:
            self.settled_asked = ask.asked
            self._decided(decision or Decision(), by, now - ask.asked, ask.reason)

    def give_up(self, now: float) -> None:
        """Nobody is waited for any more."""
        for ask in list(self.open):
            self.settle(ask, now)

    def hook_decided(self, decision: Decision, seconds: float) -> None:
        """A hook blocked the call, or let it run."""
        if not decision.refused:
            if not self.hooks:
                self.before_hooks = self.settled, self.refused
            self.hooks += 1
        self.latest = self.settled_asked = None
        self.count += 1
        self._decided(decision, DecidedBy.HOOK, seconds, None)
        if decision.refused and self.before_hooks is not None:  # this one stands, whoever is asked later
            self.before_hooks = self.settled, self.refused

    def _forget_hooks(self) -> None:
        if self.before_hooks is not None:
            if self.settled is not None and self.settled.by is DecidedBy.HOOK:
                self.settled, self.refused = self.before_hooks
            self.count -= self.hooks
            self.before_hooks, self.hooks = None, 0

    def _decided(self, decision: Decision, by: DecidedBy, seconds: float, reason: str | None) -> None:
        self.settled = Approval(
            decision=decision.decision,
            by=by,
            waited_ms=milliseconds(seconds),
            reason=decision.reason or reason,
            risk=decision.risk,
        )
        if decision.decision is not None:
            self.refused = decision.refused

    def suspend(self, now: float) -> None:
        """The call may have ended now: nobody knows yet if it goes on."""
        self.waited_before = self._waited(now)

    def resume(self) -> None:
        """The call goes on."""
        self.waited_before = None

    def _waited(self, now: float) -> float:
        return (self.waited or 0.0) + (now - self.waiting_since if self.waiting else 0.0)

    def waited_ms(self, now: float) -> int | None:
        """How long the call waited for people; ``None`` when nobody was asked."""
        if self.waited is None:
            return None
        return milliseconds(self._waited(now) if self.waited_before is None else self.waited_before)

    def approval(self, now: float) -> Approval | None:
        """What to record of it, when the call ends now."""
        count = self.count if self.count > 1 else None
        latest = self.latest
        if latest is not None and latest in self.open:  # nobody answers any more
            waited_ms = milliseconds(now - latest.asked)
            return Approval(by=DecidedBy.NONE, waited_ms=waited_ms, reason=latest.reason, count=count)
        if self.settled is None:
            return None
        waited_ms = self.settled.waited_ms
        if self.settled_asked is not None:  # it may have been decided when the call had ended
            waited_ms = min(waited_ms, milliseconds(now - self.settled_asked))
        return attrs.evolve(self.settled, waited_ms=waited_ms, count=count)


def consent_of(call: Call) -> Consent:
    """The consent of a call, which begins with the first thing that is known of it."""
    if call.consent is None:
        call.consent = Consent({})
    return call.consent


def new_ask(
    now: float, *, is_approval: bool = True, is_wait: bool = True, is_request: bool = True, reason: str | None = None
) -> Ask:
    """A question that is asked now."""
    return Ask(now, is_approval, is_wait, is_request, optional_name(reason))
