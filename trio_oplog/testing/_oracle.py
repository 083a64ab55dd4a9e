"""The oracle: which calls are open, and which operation must come of each end.  It is told of events, it reads no frame."""

from __future__ import annotations

import re
from collections.abc import Hashable
from decimal import Decimal
from typing import Final

from attrs import Factory, asdict, define, evolve

from trio_oplog._operation import Config, DecidedBy, Outcome
from trio_oplog.testing._expecting import Peers, expect
from trio_oplog.testing._facts import Arguments, CallFacts, Ending, OpenCall, Question, Said
from trio_oplog.testing._json_text import IdKey
from trio_oplog.testing._laws import Law
from trio_oplog.testing._session import Expected, Feature

_FINAL: Final = frozenset({"completed", "failed"})
_INTEGER: Final = re.compile("0|-?[1-9][0-9]*")


@define
class World:
    """What all connections of a session have in common.

    Attributes:
        config: The session's.
        frame: The index of the frame that is being written.
        now: When it is seen, in seconds since the session began.
        due: What must have come once that frame was seen.
        features: What has occurred.
        suspended: The calls that wait for their task or for a round of input, with the connection that each began on.
    """

    config: Config
    frame: int = 0
    now: float = 0.0
    due: list[Expected] = Factory(list)
    features: set[Feature] = Factory(set)
    suspended: list[tuple[OpenCall, Oracle]] = Factory(list)

    def suspend(self, call: OpenCall, home: Oracle) -> None:
        """A call waits; those that have waited for too long go, and the oldest when there are too many."""
        call.suspended_at = self.now
        overdue = self.now - self.config.max_suspended_age
        for old, _ in [pair for pair in self.suspended if pair[0].suspended_at < overdue]:
            self.drop(old, Law.SUSPENDED_BOUNDED)
        self.suspended.append((call, home))
        if len(self.suspended) > self.config.max_suspended:
            self.drop(self.suspended[0][0], Law.SUSPENDED_BOUNDED)

    def resume(self, call: OpenCall) -> None:
        """A call waits no longer."""
        self.suspended = [pair for pair in self.suspended if pair[0] is not call]

    def drop(self, call: OpenCall, law: Law) -> None:
        """A call falls out of the table, and is recorded as it was last seen."""
        home = next(home for each, home in self.suspended if each is call)
        self.resume(call)
        self.features.add(Feature.SUSPENDED)
        ending = Ending(outcome=Outcome.UNANSWERED)
        if call.round is not None:
            ending = Ending(outcome=Outcome.INPUT_REQUIRED, at=call.suspended_at)
        elif call.status == "completed":
            ending = Ending(outcome=Outcome.UNFETCHED, at=call.status_at)
        elif call.status == "failed":
            ending = Ending(outcome=Outcome.FAILED, at=call.status_at, text=call.status_message or "")
        home.record(call, evolve(ending, laws=(law,)))

    def task(self, task_id: str) -> OpenCall | None:
        """The call that waits for a task."""
        return next((call for call, _ in self.suspended if call.task_id == task_id and call.round is None), None)

    def asked_for(self, signature: Hashable, state: str | None, answered: frozenset[str]) -> OpenCall | None:
        """The oldest call that a request continues."""
        for call, _ in self.suspended:
            wanted = call.round
            if wanted and (wanted.signature, wanted.state) == (signature, state) and (not wanted.keys or wanted.keys & answered):
                return call
        return None

    def close(self) -> None:
        """The table closes: all that waits falls out of it."""
        for call, _ in list(self.suspended):
            self.drop(call, Law.SUSPENDED)


@define
class Oracle:
    """Keeps the account of one connection while a session is written.

    Attributes:
        world: What it shares with the other connections.
        open: The open calls, oldest first.
        spent: Keys that must not be used again: what the rules say of them then depends on how long one remembers.
        peers: What the handshake has said.
        left_behind: The items that their turn or their thread ended.
        executions: The items that have ended, each with the time at which it started.
        ended: The ACP calls that have ended.
        early: What was decided about items that nobody has announced yet, by thread and item.
        history: The ACP sessions that are being loaded.
    """

    world: World
    open: list[OpenCall] = Factory(list)
    spent: set[Hashable] = Factory(set)
    peers: Peers = Factory(Peers)
    left_behind: set[Hashable] = Factory(set)
    executions: set[Hashable] = Factory(set)
    ended: set[Hashable] = Factory(set)
    early: dict[tuple[str, str], OpenCall] = Factory(dict)
    history: set[str] = Factory(set)

    @property
    def config(self) -> Config:
        """The session's."""
        return self.world.config

    @property
    def frame(self) -> int:
        """The index of the frame that is being written."""
        return self.world.frame

    @property
    def now(self) -> float:
        """When that frame is seen."""
        return self.world.now

    @property
    def features(self) -> set[Feature]:
        """What has occurred."""
        return self.world.features

    def with_key(self, key: Hashable) -> list[OpenCall]:
        """The open calls with this key, oldest first."""
        return [call for call in self.open if call.key == key]

    def target(self, key: IdKey) -> tuple[OpenCall | None, bool]:
        """The call that an answer with this id ends, and whether the id is only the same in the other type."""
        exact = self.with_key(key)
        if exact:
            return exact[0], False
        alike = self.with_key(_other_type(key))
        return (alike[0], True) if len(alike) == 1 else (None, False)

    def begin(self, call: OpenCall) -> None:
        """A call begins; the oldest one goes when there are too many."""
        call.began, call.began_at = self.frame, self.now
        self._adopt(call)
        self._open(call)

    def begin_item(self, call: OpenCall) -> None:
        """An item is announced; it may have been announced before."""
        if self._is_known(call):
            self.features.add(Feature.REPEATED_ITEM)
        else:
            self.begin(call)

    def _open(self, call: OpenCall) -> None:
        self.features.add(call.dialect)
        twins = self.with_key(call.key)
        for twin in (*twins, call) if twins else ():
            twin.duplicate = True
            self.features.add(Feature.DUPLICATED_ID)
        for other in self.open:
            if call.spelled_id and other.spelled_id and call.spelled_id.looks_like(other.spelled_id):
                call.alike = other.alike = True
                self.features.add(Feature.ALIKE_IDS)
        self.open.append(call)
        if len(self.open) > 1:
            self.features.add(Feature.CONCURRENCY)
        if len(self.open) > self.config.max_pending:
            oldest = self.open[0]
            self.features.add(Feature.EVICTION)
            self.end(oldest, Ending(outcome=Outcome.EVICTED, laws=(Law.EVICTED,)))
            if oldest.turn:
                self.spent.add(oldest.key)

    def end(self, call: OpenCall, ending: Ending, facts: CallFacts | None = None) -> None:
        """A call ends; ``facts`` are what the end itself says of the call, where it repeats them."""
        if call.spelled_id and any(other.spelled_id for other in self.open[: self.open.index(call)]) and not ending.outcome:
            self.features.add(Feature.OUT_OF_ORDER)
        self.open.remove(call)
        if call.dialect is Feature.ACP:
            self.ended.add(call.key)
        self.record(call, ending, facts)

    def record(self, call: OpenCall, ending: Ending, facts: CallFacts | None = None) -> None:
        """Say which operation must come now."""
        made, features = expect(self.config, call, ending, facts or call.facts, self.peers, self.now)
        self.features.update(features)
        self.world.due.append(made)

    def answer(self, key: IdKey, ending: Ending) -> None:
        """The server answers an id; nothing happens when no call has it."""
        call, respelled = self.target(key)
        if call is None:
            return
        if respelled:
            self.features.add(Feature.RESPELLED_ID)
            call.respelled = True
            ending = evolve(ending, laws=(Law.RESPELLED_IDS, *ending.laws))
        if ending.suspends is None and ending.task_id is None:
            self.end(call, ending)
            return
        self.open.remove(call)
        call.round, call.task_id = ending.suspends, ending.task_id
        if call.round is not None and call.round.elicits is not None:
            call.ask(Question(asked_at=self.now))
        self.world.suspend(call, self)

    def retry(self, call: OpenCall, signature: Hashable, state: str | None, answers: dict[str, str]) -> None:
        """A request comes that may be another round of a call; else it is a call of its own."""
        earlier = self.world.asked_for(signature, state, frozenset(answers))
        if earlier is None:
            self.begin(call)
            return
        self.features.add(Feature.ROUND)
        self.world.resume(earlier)
        wanted = earlier.round
        if wanted is not None and wanted.elicits is not None:
            self.decide(earlier, earlier.asked[-1], answers.get(wanted.elicits))
        earlier.rounds += 1
        earlier.round = None
        earlier.key, earlier.spelled_id = call.key, call.spelled_id
        self._open(earlier)

    def ask(self, call: OpenCall, *, waits: bool = True, approves: bool = True, reason: str | None = None) -> Question:
        """The server asks the client something about a call."""
        return call.ask(Question(asked_at=self.now, waits=waits, approves=approves, reason=reason))

    def decide(
        self,
        call: OpenCall,
        question: Question,
        decision: str | None,
        *,
        by: DecidedBy = DecidedBy.CLIENT,
        refuses: bool = False,
        reason: str | None = None,
        risk: str | None = None,
    ) -> None:
        """A question is answered; one that was taken back before stays as it was."""
        if question.decided_at is None:
            question.by, question.decision, question.refuses = by, decision, refuses
            question.reason, question.risk = reason or question.reason, risk
            call.decide(question, self.now)

    def withdraw(self, call: OpenCall, question: Question) -> None:
        """The server takes its question back, or somebody else has answered it."""
        call.decide(question, self.now)

    def see_status(
        self, task_id: str, status: str, message: str | None = None, *, elicits: bool = False, told: bool = False
    ) -> None:
        """The status of a task is seen, in an answer or (``told``) in a notification; an answer counts more."""
        call = self.world.task(task_id)
        if call is None:
            return
        if status == "cancelled":
            self.end_task(task_id, Ending(outcome=Outcome.CANCELLED, text=message or ""))
            return
        if status != call.status or (call.was_told and not told):
            call.status, call.status_at, call.was_told = status, self.now, told
        call.status_message = message
        if elicits and not call.asked:
            call.ask(Question(asked_at=self.now))

    def update_task(self, task_id: str, decision: str | None) -> None:
        """The client brings the input that a task asked for."""
        call = self.world.task(task_id)
        if call is not None and call.asked:
            self.decide(call, call.asked[-1], decision)

    def end_task(self, task_id: str, ending: Ending) -> None:
        """A task ends, and the call with it; nothing happens when no call waits for it."""
        call = self.world.task(task_id)
        if call is not None:
            self.world.resume(call)
            self.features.add(Feature.TASK)
            self.record(call, evolve(ending, laws=(*ending.laws, Law.TASKS)))

    def complete(self, call: OpenCall, ending: Ending) -> None:
        """An item completes; it begins with its end when nothing announced it."""
        started = [each for each in self.with_key(call.key) if each.started_at_ms == call.started_at_ms]
        is_over = call.started_at_ms is not None and (call.key, call.started_at_ms) in self.executions
        if is_over or (call.key in self.left_behind and not started):
            self.features.add(Feature.REPEATED_ITEM)
            return
        self.executions.add((call.key, call.started_at_ms))
        if started:
            self.end(started[0], ending, call.facts)
            return
        self.features.update((Feature.UNANNOUNCED_ITEM, call.dialect))
        call.began, call.began_at = self.frame, self.now
        self._adopt(call)
        self.record(call, evolve(ending, laws=(*ending.laws, Law.UNANNOUNCED_ITEMS)))

    def _is_known(self, call: OpenCall) -> bool:
        if call.started_at_ms is None:
            return False
        is_open = any(each.started_at_ms == call.started_at_ms for each in self.with_key(call.key))
        return is_open or (call.key, call.started_at_ms) in self.executions

    def _adopt(self, call: OpenCall) -> None:
        """What was decided before the item was announced is about it."""
        early = self.early.pop((call.turn[0], call.facts.request_id), None) if call.turn else None
        if early is not None:
            call.questions, call.decided = early.questions, early.decided

    def item(self, thread_id: str, item_id: str) -> OpenCall | None:
        """The open item that an approval names."""
        return next(
            (each for each in self.open if each.turn and (each.turn[0], each.facts.request_id) == (thread_id, item_id)), None
        )

    def item_or_early(self, thread_id: str, item_id: str) -> OpenCall:
        """The open item that a review or a hook names, or a place for what is decided before it is announced."""
        place = OpenCall(key=None, facts=CallFacts(source="", tool="", request_id=item_id), began=0, dialect=Feature.ITEMS)
        return self.item(thread_id, item_id) or self.early.setdefault((thread_id, item_id), place)

    def complete_turn(self, thread_id: str, turn_id: str) -> None:
        """A turn completes, and with it the open items that do not outlive it."""
        self._leave_behind([call for call in self.open if call.turn == (thread_id, turn_id)], Law.INTERRUPTED)

    def start_turn(self, thread_id: str, turn_id: str) -> None:
        """A turn starts, and ends what older turns of its thread left open."""
        older = [call for call in self.open if call.turn and call.turn[0] == thread_id and call.turn[1] != turn_id]
        self._leave_behind(older, Law.TURN_ENDS)

    def close_thread(self, thread_id: str) -> None:
        """A thread closes, and ends all of its items."""
        for call in [call for call in self.open if call.turn and call.turn[0] == thread_id]:
            self._interrupt(call, Law.TURN_ENDS)

    def _leave_behind(self, calls: list[OpenCall], law: Law) -> None:
        for call in calls:
            if not call.outlives_turn or any(each.approves for each in call.asked):
                self._interrupt(call, law)

    def _interrupt(self, call: OpenCall, law: Law) -> None:
        self.features.add(Feature.INTERRUPTION)
        self.executions.add((call.key, call.started_at_ms))
        self.left_behind.add(call.key)
        self.end(call, Ending(outcome=Outcome.INTERRUPTED, laws=(law,)))
        self.spent.add(call.key)

    def hear(
        self, session_id: str, call_id: str, said: Said, status: str | None = None, *, permission: bool = False
    ) -> OpenCall | None:
        """An ACP agent tells of a call: it begins, goes on or ends.

        Args:
            session_id: The session.
            call_id: The call.
            said: What is said of it.
            status: Its status.
            permission: Whether this is only a request for permission: what that shows is no result.

        Returns:
            The call, if it is open now.
        """
        key = ("acp", session_id, call_id)
        if not self.config.record_items or key in self.ended or session_id in self.history:
            return None
        heard = evolve(said, text=None, output=None) if permission else said
        call = next(iter(self.with_key(key)), None)
        if call is None:
            facts = CallFacts(source="llm", tool="other", request_id=call_id, thread_id=session_id, session=session_id)
            call = OpenCall(key=key, facts=facts, began=0, dialect=Feature.ACP)
            self._tell(call, heard)
            # One that ends where it begins takes no room.
            if status in _FINAL:
                call.began, call.began_at = self.frame, self.now
                self.features.add(Feature.ACP)
                self.ended.add(key)
                self.record(call, _acp_ending(said, Said(), status))
                return None
            self.begin(call)
        earlier = call.said
        self._tell(call, heard)
        if status in _FINAL and call in self.open:
            self.end(call, _acp_ending(said, earlier, status))
        return call if call in self.open else None

    @staticmethod
    def _tell(call: OpenCall, said: Said) -> None:
        call.said = evolve(call.said, **asdict(said, filter=lambda _, value: value is not None))
        tool = call.said.name or call.said.kind or "other"
        call.facts = evolve(call.facts, tool=tool, arguments=Arguments(text=call.said.raw_input))

    def end_prompt(self, session_id: str) -> None:
        """An ACP prompt is answered, and ends what its session left open."""
        for call in [call for call in self.open if call.dialect is Feature.ACP and call.facts.session == session_id]:
            self.end(call, Ending(outcome=Outcome.INTERRUPTED, laws=(Law.ACP_CALLS,)))

    def lone_mcp_call(self) -> OpenCall | None:
        """The call that a server's request in the middle is about, where the rules leave no guess."""
        calls = [call for call in self.open if call.dialect is Feature.MCP]
        if len(calls) == 1 and not calls[0].asked and not self.world.suspended:
            return calls[0]
        return None

    def close(self) -> None:
        """The connection ends, and what is open with it."""
        if self.open:
            self.features.add(Feature.UNANSWERED)
        for call in list(self.open):
            self.end(call, Ending(outcome=Outcome.UNANSWERED, laws=(Law.UNANSWERED,)))


def _acp_ending(said: Said, earlier: Said, status: str | None) -> Ending:
    text = said.text or said.output or earlier.text or earlier.output or ""
    return Ending(text=text, outcome=Outcome.FAILED if status == "failed" else None, laws=(Law.ACP_CALLS,))


def _other_type(key: IdKey) -> IdKey | None:
    """The id that is the same text in the other type; ``None`` where there is none."""
    _, value = key
    if isinstance(value, Decimal):
        return ("string", str(int(value))) if value == value.to_integral_value() else None
    return ("number", Decimal(value)) if _INTEGER.fullmatch(value) else None
