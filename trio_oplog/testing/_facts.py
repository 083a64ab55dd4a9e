"""What the oracle is told: calls, their ends, what is asked about them, and what they wait for."""

from __future__ import annotations

from collections.abc import Hashable

from attrs import Factory, define, frozen

from trio_oplog._operation import DecidedBy, Outcome
from trio_oplog.testing._json_text import SpelledId
from trio_oplog.testing._laws import Law
from trio_oplog.testing._session import Feature


@frozen(kw_only=True)
class Arguments:
    """The arguments of a call.

    Attributes:
        text: Their exact JSON text; ``None`` when they are missing or null.
        environment_id: The non-empty string that they hold under that name.
        strict: False where only Python's json reads them.
        composed: True where an item spreads them over several fields.
        raw: Their exact bytes, where these are no UTF-8; ``text`` is ``None`` then.
    """

    text: str | None = None
    environment_id: str | None = None
    strict: bool = True
    composed: bool = False
    raw: bytes | None = None


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
    client: str | None = None
    protocol: str | None = None
    session: str | None = None
    trace_id: str | None = None
    parent_span_id: str | None = None


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
        server_version: The server's version, where the answer itself tells it.
        execution: What tells this execution from every other, where an item says when it ran.
        replaced: Whether bytes of the text were no UTF-8.
        at: When it ended, where that was before this frame; in seconds since the session began.
        suspends: Where the answer asks for another round: what the retry must have.
        task_id: Where the answer hands out a task.
        laws: What this end puts to the test.
    """

    text: str = ""
    outcome: Outcome | None = None
    error_code: int | None = None
    exit_code: int | None = None
    content_types: tuple[str, ...] | None = None
    reported_duration_ms: int | None = None
    server: str | None = None
    server_version: str | None = None
    execution: Hashable | None = None
    replaced: bool = False
    at: float | None = None
    suspends: Round | None = None
    task_id: str | None = None
    laws: tuple[Law, ...] = ()


@frozen(kw_only=True)
class Round:
    """What a server asks for before it goes on, and what a retry must therefore have.

    Attributes:
        signature: The tool and the value of the arguments.
        state: The ``requestState``, if any.
        elicits: The key of the request that asks a person, if one does.
        keys: The keys of all requests.
    """

    signature: Hashable
    state: str | None = None
    elicits: str | None = None
    keys: frozenset[str] = frozenset()


@frozen(kw_only=True)
class Said:
    """What one message of an ACP agent says of a call; ``None`` where it says nothing.

    Attributes:
        name: The agent's own name of the tool.
        kind: What kind of tool it is.
        title: What people are shown.
        raw_input: The arguments' JSON text.
        text: All text of its content.
        output: What its ``rawOutput`` comes to.
    """

    name: str | None = None
    kind: str | None = None
    title: str | None = None
    raw_input: str | None = None
    text: str | None = None
    output: str | None = None


@define(kw_only=True, eq=False)
class Question:
    """Something that is asked or decided about a call.

    Attributes:
        asked_at: When, in seconds since the session began.
        waits: Whether the call waits for a person meanwhile.
        approves: Whether the answer is an approval.
        by: Who decides, or has decided.
        reason: Why.
        risk: How risky it was found.
        decided_at: When it was decided or taken back.
        decision: What was decided.
        refuses: Whether the call may not go on.
        provisional: Whether it counts only if nobody is asked afterwards: a hook that seems to have allowed the call.
    """

    asked_at: float
    waits: bool = True
    approves: bool = True
    by: DecidedBy = DecidedBy.NONE
    reason: str | None = None
    risk: str | None = None
    decided_at: float | None = None
    decision: str | None = None
    refuses: bool = False
    provisional: bool = False


@define(kw_only=True, eq=False)
class OpenCall:
    """A call that has begun and not ended."""

    key: Hashable
    facts: CallFacts
    began: int
    dialect: Feature
    turn: tuple[str, str] | None = None
    outlives_turn: bool = False
    started_at_ms: int | None = None
    spelled_id: SpelledId | None = None
    duplicate: bool = False
    alike: bool = False
    began_at: float = 0.0
    questions: list[Question] = Factory(list)
    decided: list[Question] = Factory(list)
    rounds: int = 1
    respelled: bool = False
    said: Said = Said()
    task_id: str | None = None
    round: Round | None = None
    suspended_at: float = 0.0
    status: str | None = None
    status_at: float | None = None
    was_told: bool = False
    """Whether the status is known from a notification."""
    status_message: str | None = None

    @property
    def asked(self) -> list[Question]:
        """The questions that nobody has answered yet."""
        return [each for each in self.questions if each.decided_at is None]

    def ask(self, question: Question) -> Question:
        """Somebody is asked about this call."""
        if question.approves and not question.provisional:
            self.decided = [each for each in self.decided if not each.provisional]
        self.questions.append(question)
        return question

    def decide(self, question: Question, at: float) -> None:
        """A question is answered, or taken back."""
        if question.decided_at is None:
            question.decided_at = at
            self.decided.append(question)

    def judgements(self) -> list[Question]:
        """Every approval, the last one last: what is still open comes after what was decided."""
        return [each for each in (*self.decided, *self.asked) if each.approves]
