"""Scenarios of MCP 2026-07-28 calls that take several requests: the server asks for input, and the client calls again with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from attrs import frozen

from trio_oplog._operation import Outcome
from trio_oplog.testing._builder import CLIENT, SessionBuilder
from trio_oplog.testing._call_scenarios import Scenario, answered_call
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._facts import Ending, Round
from trio_oplog.testing._json_text import SpelledId, an_object, quoted
from trio_oplog.testing._laws import Law
from trio_oplog.testing._task_scenarios import NEW, call_tool, ends_well, hand_out, open_call

_DONE: Final = '{"content":[{"type":"text","text":"booked"}],"resultType":"complete"}'
_ELICITS: Final = '{"who":{"method":"elicitation/create","params":{"message":"Who?"}}}'
_SAMPLES: Final = '{"sum":{"method":"sampling/createMessage","params":{"messages":[]}}}'
_BOTH: Final = f"{{{_SAMPLES[1:-1]},{_ELICITS[1:-1]}}}"
_ANSWERS: Final = {"who": '{"action":"accept","content":{}}', "sum": '{"role":"assistant"}'}
_ASKED_FOR: Final[dict[str | None, tuple[str, ...]]] = {_ELICITS: ("who",), _SAMPLES: ("sum",), _BOTH: ("sum", "who"), None: ()}


@frozen
class Dialogue:
    """A call that goes on from request to request: the tool and its arguments stay the same."""

    tool: str
    arguments: str

    @property
    def signature(self) -> tuple[str, str]:
        """By what a retry is known, beside the state: equal JSON is the same, however it is spelled."""
        return (self.tool, json.dumps(json.loads(self.arguments), sort_keys=True))


def new_dialogue(session: SessionBuilder) -> Dialogue:
    """Arguments that no other call has."""
    return Dialogue("book", f'{{"n":{session.fresh()},"to":"Oslo"}}')


def ask_for_input(
    session: SessionBuilder, spelled: SpelledId, dialogue: Dialogue, *, requests: str | None = _ELICITS, state: str | None = "s1"
) -> None:
    """The server answers that it needs more."""
    members: list[tuple[str, str | None]] = [
        ("inputRequests", requests),
        ("requestState", None if state is None else quoted(state)),
        ("resultType", '"input_required"'),
    ]
    session.respond(spelled, "result", an_object(members, session.gap), Law.ROUNDS)
    keys = _ASKED_FOR[requests]
    wanted = Round(signature=dialogue.signature, state=state, elicits="who" if "who" in keys else None, keys=frozenset(keys))
    session.oracle.answer(spelled.key, Ending(suspends=wanted))


def retry(
    session: SessionBuilder,
    dialogue: Dialogue,
    *,
    requests: str | None = _ELICITS,
    state: str | None = "s1",
    action: str = "accept",
    spelling: str | None = None,
    spelled: SpelledId | None = None,
) -> SpelledId:
    """The client calls again, with what it was asked for.

    Args:
        session: Where it is written.
        dialogue: What goes on.
        requests: What it was asked for.
        state: What it was told to send back.
        action: What the person said.
        spelling: The arguments' text, where it is not that of the first request.
        spelled: The id; a new one unless given.

    Returns:
        The id of the request.
    """
    keys = _ASKED_FOR[requests]
    answers = {key: _ANSWERS[key].replace("accept", action) for key in keys}
    arguments = spelling or dialogue.arguments
    params = an_object(
        [
            ("name", quoted(dialogue.tool)),
            ("arguments", arguments),
            ("requestState", None if state is None else quoted(state)),
            ("inputResponses", an_object(list(answers.items())) if answers else None),
        ],
        session.gap,
    )
    spelled = spelled or session.fresh_id()
    session.say(
        CLIENT, an_object([("method", '"tools/call"'), ("id", spelled.text), ("params", params)], session.gap), Law.ROUNDS
    )
    call = open_call(session, spelled, dialogue.tool, arguments)
    decisions = {key: action if key == "who" else "" for key in keys}
    session.oracle.retry(call, dialogue.signature, state, decisions)
    return spelled


def finish(session: SessionBuilder, spelled: SpelledId) -> None:
    """The server answers at last."""
    session.respond(spelled, "result", _DONE, Law.ROUNDS)
    session.oracle.answer(spelled.key, Ending(text="booked"))


def rounds(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """One call in several requests."""
    if not session.roomy:
        yield from answered_call(session, choices)
        return
    dialogue = new_dialogue(session)
    spelled = call_tool(session, dialogue.tool, dialogue.arguments, law=Law.ROUNDS)
    for number in range(1 + choices.number(3)):
        yield
        requests = choices.pick((_ELICITS, _BOTH, None, _SAMPLES))
        state = choices.pick((f"s{number}", "s", None)) if requests else f"s{number}"
        ask_for_input(session, spelled, dialogue, requests=requests, state=state)
        yield
        spelling = choices.pick((None, f" {dialogue.arguments} ".replace(":", " : ")))
        if len(dialogue.arguments) > session.config.args_max_bytes:
            spelling = None  # only a digest of the text is kept: equal JSON is known by it while its spelling stays the same
        action = choices.pick(("accept", "decline"))
        spelled = retry(session, dialogue, requests=requests, state=state, action=action, spelling=spelling)
    yield
    if choices.chance(4):
        task_id = f"task-{session.fresh()}"
        hand_out(session, spelled, task_id, NEW)
        yield
        ends_well(session, task_id, NEW)
    else:
        finish(session, spelled)


def never_retried(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """The client does not call again, or another call looks like it."""
    dialogue, requests = new_dialogue(session), choices.pick((_ELICITS, None))
    spelled = call_tool(session, dialogue.tool, dialogue.arguments, law=Law.ROUNDS)
    yield
    ask_for_input(session, spelled, dialogue, requests=requests)
    yield
    if choices.chance(2):
        other = choices.pick((dialogue, Dialogue("cancel", dialogue.arguments), Dialogue(dialogue.tool, '{"to":"Oslo"}')))
        # The state is damaged, or the tool or the arguments are others.
        state = "damaged" if other is dialogue else "s1"
        spelled = retry(session, other, requests=requests, state=state)
        yield
        session.respond(spelled, "error", '{"code":-32602,"message":"no"}', Law.ROUNDS)
        session.oracle.answer(spelled.key, Ending(text="no", outcome=Outcome.RPC_ERROR, error_code=-32602))


def twins(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Two equal calls are asked for input: only the state tells them apart, or nothing does, and the oldest goes on."""
    if not session.roomy:
        yield from answered_call(session, choices)
        return
    dialogue = new_dialogue(session)
    states = choices.pick((("s1", "s2"), ("s", "s")))
    ids = [call_tool(session, dialogue.tool, dialogue.arguments, law=Law.ROUNDS) for _ in states]
    yield
    for spelled, state in zip(ids, states, strict=True):
        ask_for_input(session, spelled, dialogue, state=state)
        yield
    retries = []
    for state in reversed(states):
        retries.append(retry(session, dialogue, state=state))
        yield
    for spelled in retries:
        finish(session, spelled)
        yield


ROUND_SCENARIOS: Final[tuple[Scenario, ...]] = (rounds, never_retried, twins)
