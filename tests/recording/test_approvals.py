"""Requests for approval are joined to the calls they are about; the last decision stands, and a refusal is the outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.watching import Watch, operation
from trio_oplog import Approval, DecidedBy, Outcome
from trio_oplog._operation import ResultMeta

Message = dict[str, Any]


def started(item_id: str = "i", turn: str = "u", thread: str = "t", kind: str = "fileChange", **item: Any) -> Message:
    params = {"threadId": thread, "turnId": turn, "item": {"type": kind, "id": item_id} | item}
    return {"method": "item/started", "params": params}


def completed(item_id: str = "i", turn: str = "u", thread: str = "t", kind: str = "fileChange", **item: Any) -> Message:
    return started(item_id, turn, thread, kind, **item) | {"method": "item/completed"}


def ask(request_id: Any = 0, item_id: str = "i", thread: str = "t", **params: Any) -> Message:
    params = {"threadId": thread, "turnId": "u", "itemId": item_id} | params
    return {"id": request_id, "method": "item/fileChange/requestApproval", "params": params}


def reply(request_id: Any = 0, decision: Any = "accept") -> Message:
    return {"id": request_id, "result": {"decision": decision}}


def review(event: str, review_id: str = "r", item_id: str = "i", status: str = "inProgress", **more: Any) -> Message:
    params = {"threadId": "t", "turnId": "u", "reviewId": review_id, "targetItemId": item_id, "review": {"status": status} | more}
    return {"method": f"item/autoApprovalReview/{event}", "params": params}


def hook(event: str, status: str | None = None, item_id: str = "i", name: str = "permissionRequest", **run: Any) -> Message:
    run = {"id": f"{name}:0:/hooks.toml:{item_id}", "eventName": name, "status": status} | run
    return {"method": f"hook/{event}", "params": {"threadId": "t", "turnId": "u", "run": run}}


ALLOW = hook("completed", "completed")
BLOCK = hook("completed", "blocked", entries=[{"text": "no"}, {}, {"text": "never"}])
TURN_OVER = {"method": "turn/completed", "params": {"threadId": "t", "turn": {"id": "u"}}}


def by_client(decision: str | None, waited_ms: int, **more: Any) -> Approval:
    return Approval(decision=decision, by=DecidedBy.CLIENT, waited_ms=waited_ms, **more)


def by_nobody(waited_ms: int, **more: Any) -> Approval:
    return Approval(by=DecidedBy.NONE, waited_ms=waited_ms, **more)


def allowed(waited_ms: int = 0, **more: Any) -> Approval:
    return Approval(decision="allow", by=DecidedBy.HOOK, waited_ms=waited_ms, **more)


Steps = list[tuple[float, str, Message]]


def play(*steps: tuple[float, str, Message], **config: Any) -> Watch:
    """Frames at their seconds, from ``"c"`` or ``"s"``."""
    watch = Watch(**config)
    for seconds, who, message in steps:
        watch.seconds = seconds
        (watch.client if who == "c" else watch.server)(message)
    return watch


def approved(*steps: tuple[float, str, Message]) -> tuple[Approval | None, Outcome | None, int | None]:
    """Approval, outcome and waited_ms of the only item of a session, which completes at second 10."""
    watch = play((0.0, "s", started()), *steps, (10.0, "s", completed()))
    (op,) = watch.recorded
    meta = op.result_meta or ResultMeta()
    assert op.is_error is (meta.outcome is not None)
    assert watch.interceptor._pairing.approvals.open == {}
    assert watch.interceptor._pairing.approvals._reviews == {}
    return op.approval, meta.outcome, meta.waited_ms


# One request


def test_an_approved_item_says_who_approved_it_and_how_long_that_took() -> None:
    watch = play(
        (0.0, "s", started()),
        (1.0, "s", ask(reason="outside of the workspace")),
        (4.5, "c", reply(decision="acceptForSession")),
        (5.0, "s", completed(status="completed")),
    )
    assert watch.recorded == [
        operation(
            source="llm",
            tool="fileChange",
            thread_id="t",
            request_id="i",
            seconds=5.0,
            result_meta=ResultMeta(waited_ms=3_500),
            approval=by_client("acceptForSession", 3_500, reason="outside of the workspace"),
        )
    ]


def test_nobody_answers_a_request_that_is_open_when_its_call_ends() -> None:
    assert approved((4.0, "s", ask(reason="why"))) == (by_nobody(6_000, reason="why"), None, 6_000)


@pytest.mark.parametrize("request_id", [0, "0", "a", 7])
def test_a_reply_in_the_other_type_is_a_reply(request_id: Any) -> None:
    other = str(request_id) if isinstance(request_id, int) else int(request_id) if request_id.isdigit() else request_id
    for reply_id in (request_id, other):
        assert approved((1.0, "s", ask(request_id)), (2.0, "c", reply(reply_id)))[0] == by_client("accept", 1_000)


@pytest.mark.parametrize("other", [1, "i", None, [], "00"])
def test_a_reply_to_something_else_decides_nothing(other: Any) -> None:
    assert approved((1.0, "s", ask()), (2.0, "c", reply(other)))[0] == by_nobody(9_000)


def test_a_request_that_is_sent_again_while_it_is_open_is_the_same_one() -> None:
    assert approved((1.0, "s", ask()), (2.0, "s", ask()), (3.0, "c", reply())) == (by_client("accept", 2_000), None, 2_000)


def test_a_second_reply_changes_nothing() -> None:
    assert approved((1.0, "s", ask()), (2.0, "c", reply()), (3.0, "c", reply(decision="decline")))[:2] == (
        by_client("accept", 1_000),
        None,
    )


def test_a_reply_in_a_batch_or_a_long_frame_or_no_utf_8_is_a_reply() -> None:
    long = reply() | {"x": "y" * 20_000}
    many = reply() | {"x": ["y" * 20] * 2_000}
    for message in ([reply()], long, [long], many, '{"id":0,"result":{"decision":"accept"},"x":NaN}'):
        assert approved((1.0, "s", ask()), (2.0, "c", message))[0] == by_client("accept", 1_000)  # type: ignore[arg-type]
    odd: Any = b'{"id":0,"result":{"decision":"caf\xe9"}}'
    for message in (odd, b"[" + odd + b"]"):
        assert approved((1.0, "s", ask()), (2.0, "c", message))[0] == by_client("caf\ufffd", 1_000)


def test_reason_and_risk_are_cut_to_a_name() -> None:
    long = "\xe9" * 600
    assert approved((1.0, "s", ask(reason=long)))[0] == by_nobody(9_000, reason="\xe9" * 512)
    decided = approved((1.0, "s", review("completed", status="approved", rationale=long, riskLevel=long)))[0]
    assert decided == Approval(decision="approved", by=DecidedBy.REVIEWER, waited_ms=0, reason="\xe9" * 512, risk="\xe9" * 512)


# Its end without a reply


@pytest.mark.parametrize(
    "resolved",
    [
        {"method": "serverRequest/resolved", "params": {"threadId": "t", "requestId": 0}},
        {"method": "notifications/cancelled", "params": {"requestId": 0, "reason": "late"}},
    ],
)
def test_a_request_that_is_taken_back_was_decided_by_nobody_here(resolved: Message) -> None:
    gone = approved((1.0, "s", ask(reason="why")), (3.0, "s", resolved), (5.0, "c", reply(decision="decline")))
    assert gone == (by_nobody(2_000, reason="why"), None, 2_000)


@pytest.mark.parametrize("request_id", ["0", 1, None])
def test_only_the_exact_id_takes_a_request_back(request_id: Any) -> None:
    resolved = {"method": "serverRequest/resolved", "params": {"threadId": "t", "requestId": request_id}}
    assert approved((1.0, "s", ask()), (3.0, "s", resolved), (3.0, "s", {"method": "serverRequest/resolved"})) == (
        by_nobody(9_000),
        None,
        9_000,
    )


# Refusals


@pytest.mark.parametrize(
    "end",
    [
        lambda watch: watch.server(completed(status="completed")),
        lambda watch: watch.server(completed(status="failed")),
        lambda watch: watch.server(TURN_OVER),
        lambda watch: watch.close(),
    ],
)
@pytest.mark.parametrize("decision", ["decline", "cancel", "denied", "abort"])
def test_a_refused_item_is_declined_however_it_ends(end: Callable[[Watch], Any], decision: str) -> None:
    watch = play((0.0, "s", started()), (0.0, "s", ask()), (1.0, "c", reply(decision=decision)))
    end(watch)
    assert watch.recorded == [
        operation(
            source="llm",
            tool="fileChange",
            thread_id="t",
            request_id="i",
            is_error=True,
            seconds=1.0,
            result_meta=ResultMeta(outcome=Outcome.DECLINED, waited_ms=1_000),
            approval=by_client(decision, 1_000),
        )
    ]


def test_the_last_decision_counts() -> None:
    def decided(*decisions: str) -> Outcome | None:
        steps = [
            step
            for number, decision in enumerate(decisions)
            for step in ((1.0, "s", ask(number)), (1.0, "c", reply(number, decision)))
        ]
        return approved(*steps)[1]

    assert decided("decline", "accept") is None
    assert decided("accept", "decline") is Outcome.DECLINED


def test_an_answer_without_a_decision_takes_no_refusal_back() -> None:
    steps: Steps = [
        (1.0, "s", ask()),
        (2.0, "c", reply(decision="decline")),
        (3.0, "s", ask(1)),
        (4.0, "c", reply(1, decision=5)),
    ]
    assert approved(*steps) == (by_client(None, 1_000, count=2), Outcome.DECLINED, 2_000)


# Several requests


def test_of_several_the_last_stands_and_all_are_counted() -> None:
    steps: Steps = [
        (1.0, "s", ask(0, reason="one")),
        (2.0, "c", reply(0)),
        (3.0, "s", ask(1, reason="two")),
        (4.5, "c", reply(1, "acceptForSession")),
    ]
    assert approved(*steps) == (by_client("acceptForSession", 1_500, reason="two", count=2), None, 2_500)


def test_of_two_that_are_open_at_once_the_one_that_is_decided_last_stands() -> None:
    steps: Steps = [
        (1.0, "s", ask(0, reason="one")),
        (2.0, "s", ask(1, reason="two")),
        (3.0, "c", reply(1, "decline")),
        (5.0, "c", reply(0, "accept")),
    ]
    # The time in which both were open counts once.
    assert approved(*steps) == (by_client("accept", 4_000, reason="one", count=2), None, 4_000)


def test_an_older_request_that_is_still_open_does_not_stand() -> None:
    steps: Steps = [(1.0, "s", ask(0)), (2.0, "s", ask(1)), (3.0, "c", reply(1, "decline"))]
    assert approved(*steps) == (by_client("decline", 1_000, count=2), Outcome.DECLINED, 9_000)


def test_a_request_that_is_open_at_the_end_stands_when_it_is_the_last() -> None:
    steps: Steps = [(1.0, "s", ask(0)), (3.0, "c", reply(0, "decline")), (4.0, "s", ask(1, reason="again"))]
    assert approved(*steps) == (by_nobody(6_000, reason="again", count=2), Outcome.DECLINED, 8_000)


# Which item


def test_an_item_is_known_by_its_thread_and_its_id() -> None:
    watch = play(
        (0.0, "s", started("i")),
        (0.0, "s", started("j")),
        (0.0, "s", started("i", thread="t2")),
        (1.0, "s", ask(1, "j")),
        (1.0, "s", ask(2, "i", thread="t2")),
        (2.0, "c", reply(1)),
        (3.0, "c", reply(2)),
        (4.0, "s", {"method": "thread/closed", "params": {"threadId": "t"}}),
        (4.0, "s", {"method": "thread/closed", "params": {"threadId": "t2"}}),
    )
    approvals = [(op.thread_id, op.request_id, op.approval) for op in watch.recorded]
    assert approvals == [("t", "i", None), ("t", "j", by_client("accept", 1_000)), ("t2", "i", by_client("accept", 2_000))]


def test_of_two_items_with_one_id_the_oldest_is_meant() -> None:
    watch = play((0.0, "s", started()), (0.0, "s", started()), (0.0, "s", ask()), (1.0, "c", reply()), (2.0, "s", TURN_OVER))
    assert [op.approval for op in watch.recorded] == [by_client("accept", 1_000), None]


def test_a_call_of_the_client_with_the_items_id_is_not_meant() -> None:
    call = {"id": "i", "method": "tools/call", "params": {"threadId": "t"}}
    watch = play((0.0, "c", call), (0.0, "s", ask()), (1.0, "c", reply()), (2.0, "s", started()), (3.0, "s", completed()))
    assert [op.approval for op in watch.recorded] == [by_client("accept", 1_000)]
    assert [op.approval for op in watch.close()[1:]] == [None]


def test_what_is_asked_before_the_item_begins_is_about_the_item() -> None:
    watch = play((1.0, "s", ask()), (2.0, "c", reply()), (4.0, "s", started()), (5.0, "s", completed()), (5.0, "s", started()))
    (op,) = watch.recorded
    assert (op.approval, op.result_meta, op.duration_ms) == (by_client("accept", 1_000), ResultMeta(waited_ms=1_000), 1_000)
    assert watch.close()[1].approval is None


def test_what_is_asked_about_an_item_that_only_ends_is_about_the_item() -> None:
    watch = play((1.0, "s", ask()), (2.0, "c", reply(decision="decline")), (4.0, "s", completed()))
    assert [(op.approval, op.is_error) for op in watch.recorded] == [(by_client("decline", 1_000), True)]


@pytest.mark.parametrize(("turn_of_request", "is_forgotten"), [("u", True), (None, True), ("v", False)])
def test_what_is_asked_about_an_item_that_never_begins_is_forgotten_with_its_turn(
    turn_of_request: str | None, is_forgotten: bool
) -> None:
    watch = play((0.0, "s", ask(turnId=turn_of_request)), (0.0, "s", review("started", item_id="j")), (0.0, "s", TURN_OVER))
    approvals = watch.interceptor._pairing.approvals
    assert (len(approvals.open), len(approvals._early), len(approvals._reviews)) == ((0, 0, 0) if is_forgotten else (1, 1, 0))
    watch.server(started(turn="v"), completed(turn="v"))
    assert (watch.recorded[0].approval is None) is is_forgotten


def test_the_end_of_another_threads_turn_forgets_nothing() -> None:
    other = {"method": "turn/completed", "params": {"threadId": "t2", "turn": {"id": "u"}}}
    watch = play((0.0, "s", ask()), (0.0, "s", other), (1.0, "s", started()), (1.0, "s", completed()))
    assert watch.recorded[0].approval == by_nobody(1_000)


def test_an_approval_that_is_about_no_call_leaves_nothing() -> None:
    watch = play((0.0, "s", ask()), (1.0, "c", reply(decision="decline")), (1.0, "s", ALLOW), (1.0, "s", review("completed")))
    assert watch.close() == []


def test_what_is_left_open_about_a_call_that_ended_is_forgotten() -> None:
    watch = play((0.0, "s", started()), (0.0, "s", ask()), (0.0, "s", review("started")), (0.0, "s", started("j")))
    watch.server(ask(1, "j"), review("started", "r2", "j"), completed())
    approvals = watch.interceptor._pairing.approvals
    assert ([*approvals.open], [*approvals._reviews]) == ([1], [("t", "r2")])


# Reviews


def test_a_review_decides_from_its_start_to_its_end_and_is_no_wait() -> None:
    verdict = review("completed", status="approved", rationale="harmless", riskLevel="low")
    assert approved((1.0, "s", review("started")), (3.5, "s", verdict)) == (
        Approval(decision="approved", by=DecidedBy.REVIEWER, waited_ms=2_500, reason="harmless", risk="low"),
        None,
        None,
    )


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("approved", None), ("inProgress", None), ("", None), ("denied", Outcome.DECLINED), ("timedOut", Outcome.DECLINED)],
)
def test_a_review_refuses_with_any_status_but_approved(status: str, outcome: Outcome | None) -> None:
    approval, ended, _ = approved((1.0, "s", review("completed", status=status)))
    assert (approval, ended) == (Approval(decision=status or None, by=DecidedBy.REVIEWER, waited_ms=0), outcome)


def test_a_review_of_what_is_typed_into_a_command_refuses_no_command() -> None:
    verdict = review("completed", status="denied")
    verdict["params"]["action"] = {"type": "writeStdin"}
    assert approved((1.0, "s", verdict))[1] is None
    verdict["params"]["action"] = {"type": "command"}
    assert approved((1.0, "s", verdict))[1] is Outcome.DECLINED


def test_a_review_that_never_ends_was_decided_by_nobody() -> None:
    assert approved((4.0, "s", review("started"))) == (by_nobody(6_000), None, None)


def test_a_review_that_is_told_twice_to_have_begun_is_one() -> None:
    verdict = review("completed", status="approved")
    assert approved((1.0, "s", review("started")), (2.0, "s", review("started")), (3.0, "s", verdict))[0] == Approval(
        decision="approved", by=DecidedBy.REVIEWER, waited_ms=2_000
    )


@pytest.mark.parametrize(
    "params",
    [None, [], {}, {"targetItemId": ""}, {"targetItemId": 5}, {"threadId": "t", "reviewId": "r", "review": {"status": "denied"}}],
)
def test_a_review_of_no_item_says_nothing(params: Any) -> None:
    for event in ("started", "completed"):
        message = {"method": f"item/autoApprovalReview/{event}", "params": params}
        assert approved((1.0, "s", message)) == (None, None, None)


def test_a_review_without_its_verdict_decides_nothing() -> None:
    message = review("completed")
    del message["params"]["review"]
    assert approved((1.0, "s", message))[:2] == (Approval(by=DecidedBy.REVIEWER, waited_ms=0), None)


# Hooks


def test_a_hook_that_lets_a_call_run_has_decided() -> None:
    assert approved((1.0, "s", hook("started")), (3.0, "s", ALLOW)) == (allowed(2_000), None, None)


def test_a_hook_that_began_unseen_took_no_time() -> None:
    assert approved((3.0, "s", ALLOW)) == (allowed(0), None, None)


def test_a_hook_that_blocks_a_call_refuses_it_and_says_why() -> None:
    assert approved((1.0, "s", hook("started")), (1.5, "s", BLOCK)) == (
        Approval(decision="block", by=DecidedBy.HOOK, waited_ms=500, reason="no\nnever"),
        Outcome.DECLINED,
        None,
    )


@pytest.mark.parametrize(
    "step",
    [
        hook("completed", "completed", name="preToolUse"),
        hook("completed", "failed"),
        hook("completed", "blocked", name="postToolUse"),
        hook("completed", "completed", name="postToolUse"),
        hook("completed", None),
        hook("started"),
        hook("completed", "completed", item_id="other"),
    ],
)
def test_a_hook_that_neither_allows_nor_blocks_the_call_says_nothing_of_it(step: Message) -> None:
    assert approved((1.0, "s", step)) == (None, None, None)


def test_hooks_that_only_began_are_forgotten_when_they_are_over() -> None:
    watch = play((0.0, "s", hook("started")), (0.0, "s", hook("started", name="postToolUse")))
    assert len(watch.interceptor._pairing.approvals._hooks) == 2
    watch.server(ALLOW, hook("completed", "completed", name="postToolUse"))
    assert watch.interceptor._pairing.approvals._hooks == {}


def test_a_hook_after_which_somebody_is_asked_has_decided_nothing() -> None:
    assert approved((1.0, "s", ALLOW), (2.0, "s", ask()), (3.0, "c", reply())) == (by_client("accept", 1_000), None, 1_000)
    assert approved((1.0, "s", ALLOW), (1.0, "s", ALLOW), (2.0, "s", review("started")))[0] == by_nobody(8_000)
    # Whoever decided before it still counts.
    decided = approved((1.0, "s", ask()), (2.0, "c", reply(decision="decline")), (3.0, "s", ALLOW), (4.0, "s", ask(1)))
    assert decided == (by_nobody(6_000, count=2), Outcome.DECLINED, 7_000)


def test_a_hook_that_decides_after_somebody_stands() -> None:
    steps: Steps = [(1.0, "s", ask()), (2.0, "c", reply(decision="decline")), (3.0, "s", ALLOW)]
    assert approved(*steps) == (allowed(0, count=2), None, 1_000)


def test_a_question_that_changes_nothing_of_a_hooks_decision_leaves_it() -> None:
    question = {"id": 0, "method": "item/tool/requestUserInput", "params": {"threadId": "t", "itemId": "i"}}
    assert approved((1.0, "s", ALLOW), (2.0, "s", question)) == (allowed(0), None, 8_000)


def test_two_hooks_that_allow_are_two_decisions() -> None:
    assert approved((1.0, "s", ALLOW), (2.0, "s", ALLOW))[0] == allowed(0, count=2)


def test_what_a_hook_blocked_stays_blocked_whoever_else_is_asked() -> None:
    for first in ([], [(1.0, "s", ALLOW)]):
        steps: Steps = [*first, (2.0, "s", BLOCK), (3.0, "s", ask())]
        assert approved(*steps) == (by_nobody(7_000, count=2), Outcome.DECLINED, 7_000)
    assert approved((1.0, "s", BLOCK), (2.0, "s", ALLOW), (2.0, "s", BLOCK))[:2] == (
        Approval(decision="block", by=DecidedBy.HOOK, waited_ms=0, reason="no\nnever", count=3),
        Outcome.DECLINED,
    )


def test_a_decision_after_a_hook_stands_when_another_is_asked() -> None:
    steps: Steps = [
        (1.0, "s", ask(0)),
        (2.0, "s", ALLOW),
        (3.0, "c", reply(0, "decline")),
        (4.0, "s", ask(1)),
        (5.0, "s", {"method": "serverRequest/resolved", "params": {"requestId": 1}}),
    ]
    assert approved(*steps) == (by_nobody(1_000, count=2), Outcome.DECLINED, 3_000)


@pytest.mark.parametrize("run", [None, [], {}, {"id": ""}, {"id": 5}, {"id": "a:"}, {"status": "blocked"}])
def test_a_hook_that_names_no_call_says_nothing(run: Any) -> None:
    for event in ("started", "completed"):
        assert approved((1.0, "s", {"method": f"hook/{event}", "params": {"threadId": "t", "run": run}})) == (None, None, None)
        assert approved((1.0, "s", {"method": f"hook/{event}", "params": None})) == (None, None, None)


def test_a_hook_whose_run_is_only_the_calls_id_is_about_the_call() -> None:
    assert approved((1.0, "s", hook("completed", "completed", id="i")))[0] == allowed(0)


# Bounds


def test_of_too_many_open_requests_the_oldest_is_forgotten_and_counted() -> None:
    watch = play((0.0, "s", started()), *[(float(n), "s", ask(n)) for n in range(1, 4)], max_pending=2, room=2)
    assert [*watch.interceptor._pairing.approvals.open] == [2, 3]
    assert watch.statistics.forgotten_approvals == 1
    watch.client(reply(1, "decline"), reply(3), reply(2, "acceptForSession"))
    watch.server(completed())
    assert watch.recorded[0].approval == by_client("acceptForSession", 1_000, count=3)
    assert watch.recorded[0].is_error is False


def test_of_too_many_reviews_the_oldest_is_forgotten_and_no_call_holds_on_to_it() -> None:
    watch = play(
        (0.0, "s", started()), *[(float(n), "s", review("started", f"r{n}")) for n in range(1, 4)], max_pending=2, room=2
    )
    (call,) = watch.interceptor._pairing.calls
    assert call.consent is not None
    assert len(call.consent.open) == 2
    assert watch.statistics.forgotten_approvals == 1
    watch.server(completed())
    assert watch.recorded[0].approval == by_nobody(0, count=3)


def test_of_too_many_hooks_and_items_that_never_begin_the_oldest_are_forgotten() -> None:
    watch = play(*[(0.0, "s", hook("started", item_id=f"i{n}")) for n in range(3)], max_pending=2, room=2)
    assert [run[1] for run in watch.interceptor._pairing.approvals._hooks] == [
        f"permissionRequest:0:/hooks.toml:i{n}" for n in (1, 2)
    ]
    watch.server(*[hook("completed", "completed", item_id=f"i{n}") for n in range(3)])
    assert watch.statistics.forgotten_approvals == 2
    watch.server(*[completed(f"i{n}") for n in range(3)])
    assert [op.approval for op in watch.recorded] == [None, allowed(0), allowed(0)]
