"""Scenarios in which Codex lets a reviewer or a hook decide whether the model's call may run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trio_oplog._operation import DecidedBy
from trio_oplog.testing._approval_scenarios import ask_item, in_room, own_item
from trio_oplog.testing._approval_texts import COMMAND, DECISIONS
from trio_oplog.testing._builder import SessionBuilder
from trio_oplog.testing._call_scenarios import Scenario
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._facts import Question
from trio_oplog.testing._item_scenarios import complete_item, start_item
from trio_oplog.testing._item_texts import ItemKey
from trio_oplog.testing._json_text import an_object, quoted
from trio_oplog.testing._laws import Law

# What a review finds: its status, and whether the call may not go on.
FINDINGS: Final = (("approved", False), ("denied", True), ("timedOut", True), ("aborted", True))


def review(session: SessionBuilder, key: ItemKey, status: str, *, refuses: bool) -> Iterator[None]:
    """A reviewer looks at an item, announced or not, and finds something."""
    review_id, rationale, risk = f"review-{session.fresh()}", "looks harmless", "low"
    _say_review(session, key, "started", review_id, '{"status":"inProgress","riskLevel":null,"rationale":null}')
    call = session.oracle.item_or_early(key.thread_id, key.item_id) if session.config.record_items else None
    question = None if call is None else call.ask(Question(asked_at=session.world.now, waits=False, by=DecidedBy.REVIEWER))
    yield
    found = f'{{"status":{quoted(status)},"riskLevel":{quoted(risk)},"rationale":{quoted(rationale)}}}'
    _say_review(session, key, "completed", review_id, found)
    if call is not None and question is not None:
        session.oracle.decide(call, question, status, by=DecidedBy.REVIEWER, refuses=refuses, reason=rationale, risk=risk)
    yield


def _say_review(session: SessionBuilder, key: ItemKey, stage: str, review_id: str, found: str) -> None:
    members = [
        ("threadId", quoted(key.thread_id)),
        ("turnId", quoted(key.turn_id)),
        ("reviewId", quoted(review_id)),
        ("targetItemId", quoted(key.item_id)),
        ("review", found),
        ("action", '{"type":"command","command":"ls"}'),
    ]
    session.notify(f"item/autoApprovalReview/{stage}", an_object(members, session.gap), Law.APPROVALS)


def hook(
    session: SessionBuilder,
    key: ItemKey,
    event: str = "permissionRequest",
    status: str = "completed",
    reasons: tuple[str, ...] = (),
) -> Iterator[None]:
    """A hook runs for an item, announced or not; its run names the item at the end of its id only."""
    number = session.fresh()
    _say_hook(session, key, "started", event, number, "running", ())
    asked_at = session.world.now
    yield
    _say_hook(session, key, "completed", event, number, status, reasons)
    decides = status == "blocked" or (status == "completed" and event == "permissionRequest")
    if decides and session.config.record_items:
        blocks = status == "blocked"
        call = session.oracle.item_or_early(key.thread_id, key.item_id)
        question = call.ask(Question(asked_at=asked_at, waits=False, provisional=not blocks))
        decision, reason = ("block", "\n".join(reasons)) if blocks else ("allow", None)
        session.oracle.decide(call, question, decision, by=DecidedBy.HOOK, refuses=blocks, reason=reason or None)
    yield


def _say_hook(
    session: SessionBuilder, key: ItemKey, stage: str, event: str, number: int, status: str, reasons: tuple[str, ...]
) -> None:
    entries = ",".join(f'{{"kind":"feedback","text":{quoted(text)}}}' for text in reasons)
    run = [
        ("id", quoted(f"{event}:{number}:/home/dev/config.toml:{key.item_id}")),
        ("eventName", quoted(event)),
        ("status", quoted(status)),
        ("startedAt", "1795741477"),
        ("entries", f"[{entries}]"),
    ]
    members = [("threadId", quoted(key.thread_id)), ("turnId", quoted(key.turn_id)), ("run", an_object(run, session.gap))]
    session.notify(f"hook/{stage}", an_object(members, session.gap), Law.APPROVALS)


def reviewed(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A review before the item is announced or after it; perhaps another one, or a person decides at last."""
    key, at = own_item(session, choices.pick(("commandExecution", "fileChange", "mcpToolCall"))), session.fresh_ms()
    early = choices.chance(2)
    if not early:
        start_item(session, choices, key, at)
        yield
    for _ in range(1 + choices.number(2)):
        status, refuses = choices.pick(FINDINGS)
        yield from review(session, key, status, refuses=refuses)
    if early and choices.chance(3):
        complete_item(session, choices, key, at)  # and never announced
        return
    if early:
        start_item(session, choices, key, at)
        yield
    if choices.chance(3):
        ask_item(session, key, COMMAND).answer(session, choices.pick(DECISIONS[:4]))
        yield
    complete_item(session, choices, key, at)


def hooked(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """A hook allows a call, blocks it, or decides nothing: then a person is asked."""
    key, at = own_item(session, choices.pick(("commandExecution", "fileChange"))), session.fresh_ms()
    early = not choices.chance(2)
    if not early:
        start_item(session, choices, key, at)
        yield
    event, status, reasons = choices.pick(
        (
            ("permissionRequest", "completed", ()),
            ("permissionRequest", "blocked", ("not on", "a Friday")),
            ("preToolUse", "completed", ()),
            ("preToolUse", "blocked", ("never",)),
            ("permissionRequest", "failed", ()),
        )
    )
    yield from hook(session, key, event, status, reasons)
    if early:
        start_item(session, choices, key, at)
        yield
    follows = choices.number(3) if status != "blocked" else 0
    if follows == 1:
        ask_item(session, key, COMMAND).answer(session, choices.pick(DECISIONS[:4]))
        yield
    elif follows == 2:
        status, refuses = choices.pick(FINDINGS)
        yield from review(session, key, status, refuses=refuses)
    complete_item(session, choices, key, at)


def blocked_before_it_began(session: SessionBuilder, _: ChoiceSource) -> Iterator[None]:
    """A hook blocks a call that is never announced: there is no item, and no record."""
    yield from hook(session, own_item(session, "commandExecution"), "preToolUse", "blocked", ("never",))


REVIEW_SCENARIOS: Final[tuple[Scenario, ...]] = tuple(in_room(each) for each in (reviewed, hooked, blocked_before_it_began))
