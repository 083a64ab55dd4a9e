"""The oracle: which calls are open, and which operation must come of each end.  It is told of events, it reads no frame."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import Any

from attrs import Factory, define, frozen

from trio_oplog._operation import ArgumentsMeta, Config, Outcome, ResultMeta
from trio_oplog.testing._json_text import SpelledId, clean, cut
from trio_oplog.testing._laws import Law
from trio_oplog.testing._session import Expected, Feature

NAME_MAX_BYTES = 1024

_NO_ERROR = (None, Outcome.INPUT_REQUIRED)


@frozen(kw_only=True)
class Arguments:
    """The arguments of a call.

    Attributes:
        text: Their exact JSON text; ``None`` when they are missing or null.
        environment_id: The non-empty string that they hold under that name.
        strict: False where only Python's json reads them.
        composed: True where an item spreads them over several fields.
    """

    text: str | None = None
    environment_id: str | None = None
    strict: bool = True
    composed: bool = False


@frozen(kw_only=True)
class CallFacts:
    """What a call says of itself; the names as they are on the wire, uncut."""

    source: str
    tool: str
    request_id: str
    thread_id: str | None = None
    user_id: str | None = None
    server: str | None = None
    arguments: Arguments = Arguments()
    laws: tuple[Law, ...] = ()


@frozen(kw_only=True)
class Ending:
    """How a call ends.

    Attributes:
        text: All of its text; empty for none.
        outcome: Where it is not plain success.
        error_code: Of a JSON-RPC error.
        exit_code: Of a command.
        content_types: Of the blocks, where not all are text.
        reported_duration_ms: What an item says.
        server: The server's name, where the answer itself tells it.
        execution: What tells this execution from every other, where an item says when it ran.
        laws: What this end puts to the test.
    """

    text: str = ""
    outcome: Outcome | None = None
    error_code: int | None = None
    exit_code: int | None = None
    content_types: tuple[str, ...] | None = None
    reported_duration_ms: int | None = None
    server: str | None = None
    execution: Hashable | None = None
    laws: tuple[Law, ...] = ()


@define(kw_only=True, eq=False)
class OpenCall:
    """A call that has begun and not ended."""

    key: Hashable
    facts: CallFacts
    began: int
    dialect: Feature
    turn: tuple[str, str] | None = None
    outlives_turn: bool = False
    spelled_id: SpelledId | None = None
    duplicate: bool = False
    alike: bool = False


@define
class Oracle:
    """Keeps the account of one session while it is written.

    Attributes:
        config: The session's.
        frame: The index of the frame that is being written.
        due: What must have come once that frame was seen.
        open: The open calls, oldest first.
        spent: Keys that must not be used again: what the rules say of them then depends on how long one remembers.
        features: What has occurred.
        server_name: What the MCP server called itself.
    """

    config: Config
    frame: int = 0
    due: list[Expected] = Factory(list)
    open: list[OpenCall] = Factory(list)
    spent: set[Hashable] = Factory(set)
    features: set[Feature] = Factory(set)
    server_name: str | None = None

    def with_key(self, key: Hashable) -> list[OpenCall]:
        """The open calls with this key, oldest first."""
        return [call for call in self.open if call.key == key]

    def begin(self, call: OpenCall) -> None:
        """A call begins; the oldest one goes when there are too many."""
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
        self.due.append(self._expected(call, ending, facts or call.facts))

    def answer(self, key: Hashable, ending: Ending) -> None:
        """The server answers an id; nothing happens when no call has it."""
        for call in self.with_key(key)[:1]:
            self.end(call, ending)

    def complete(self, call: OpenCall, ending: Ending) -> None:
        """An item completes; it begins with its end when nothing announced it."""
        started = self.with_key(call.key)
        if started:
            self.end(started[0], ending, call.facts)
            return
        self.features |= {Feature.UNANNOUNCED_ITEM, call.dialect}
        call.began = self.frame
        self.due.append(self._expected(call, ending, call.facts, extra=(Law.UNANNOUNCED_ITEMS,)))

    def complete_turn(self, thread_id: str, turn_id: str) -> None:
        """A turn completes, and with it the open items that do not outlive it."""
        for call in list(self.open):
            if call.turn == (thread_id, turn_id) and not call.outlives_turn:
                self.features.add(Feature.INTERRUPTION)
                self.end(call, Ending(outcome=Outcome.INTERRUPTED, laws=(Law.INTERRUPTED,)))
                self.spent.add(call.key)

    def close(self) -> tuple[Expected, ...]:
        """The connection ends: what must come of what is open."""
        if self.open:
            self.features.add(Feature.UNANSWERED)
        self.due = []
        for call in list(self.open):
            self.end(call, Ending(outcome=Outcome.UNANSWERED, laws=(Law.UNANSWERED,)))
        return tuple(self.due)

    def _expected(self, call: OpenCall, ending: Ending, facts: CallFacts, extra: tuple[Law, ...] = ()) -> Expected:
        arguments, meta = self._kept_arguments(facts.arguments)
        summary, result = self._kept_result(call, ending)
        server = ending.server or facts.server or (self.server_name if call.dialect is Feature.MCP else None)
        return Expected(
            workspace_id=self.config.workspace_id,
            source=facts.source,
            env_id=_name(facts.arguments.environment_id or server or self.config.default_env_id),
            tool=_name(facts.tool),
            is_error=ending.outcome not in _NO_ERROR,
            user_id=self.config.user_id or _optional_name(facts.user_id),
            thread_id=_optional_name(facts.thread_id),
            request_id=_name(facts.request_id),
            arguments=arguments,
            arguments_meta=meta,
            result_summary=summary,
            result_meta=result,
            composed=facts.arguments.composed,
            execution=ending.execution,
            began=call.began,
            laws=_at_stake(call, ending, facts, meta, result) + extra,
        )

    def _kept_arguments(self, arguments: Arguments) -> tuple[bytes | None, ArgumentsMeta | None]:
        if arguments.text is None:
            return None, None
        data = arguments.text.encode()
        if len(data) <= self.config.args_max_bytes and arguments.strict:
            return data, None
        self.features.add(Feature.BIG_ARGUMENTS if arguments.strict else Feature.ODD_SPELLING)
        return None, ArgumentsMeta(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    def _kept_result(self, call: OpenCall, ending: Ending) -> tuple[str | None, ResultMeta | None]:
        text = clean(ending.text)
        data = text.encode()
        known: dict[str, Any] = {
            "outcome": ending.outcome,
            "error_code": ending.error_code,
            "exit_code": ending.exit_code,
            "content_types": ending.content_types,
            "reported_duration_ms": ending.reported_duration_ms,
            "duplicate_id": True if call.duplicate else None,
        }
        if ending.content_types:
            self.features.add(Feature.NON_TEXT_RESULT)
        if len(data) > self.config.result_max_bytes:
            self.features.add(Feature.BIG_RESULT)
            text = cut(text, self.config.result_max_bytes)
            known.update(truncated=True, total_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        meta = ResultMeta(**known)
        # Text of which nothing fits is not the same as no text.
        return text if data else None, None if meta == ResultMeta() else meta


def _name(text: str) -> str:
    return cut(clean(text), NAME_MAX_BYTES)


def _optional_name(text: str | None) -> str | None:
    return None if text is None else _name(text)


def _at_stake(
    call: OpenCall, ending: Ending, facts: CallFacts, meta: ArgumentsMeta | None, result: ResultMeta | None
) -> tuple[Law, ...]:
    laws = [*ending.laws]
    if call.alike:
        laws.append(Law.EXACT_IDS)
    if call.duplicate:
        laws.append(Law.DUPLICATE_IDS)
    laws += facts.laws
    if meta is not None:
        laws.append(Law.ARGUMENTS_LIMIT)
    if result is not None and result.truncated:
        laws.append(Law.RESULT_CUT)
    if len(facts.tool.encode("utf-8", "surrogatepass")) > NAME_MAX_BYTES or clean(facts.tool) != facts.tool:
        laws.append(Law.NAMES)
    return tuple(laws)
