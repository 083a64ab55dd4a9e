"""Codex app-server: who approved the calls of the model, and who refused them."""

from __future__ import annotations

from typing import Any

from tests.naive.calls import Ask, Call, Connection, new_ask, settle
from tests.naive.mcp import judge_elicitation
from tests.naive.reading import Message, id_key, name, same_json

REFUSALS = ("decline", "cancel", "denied", "abort")


def ask_about_item(connection: Connection, message: Message, thread: str | None, item_id: str | None, ask: Ask) -> None:
    """Join an ask to the open item that it names, else to the one that is still to come."""
    for call in connection.open:
        if call["kind"] == "item" and (call["thread"], call["item_id"]) == (thread, item_id):
            call["asks"].append(ask)
            return
    ask["turn"] = name(message.get("params", "turnId"))
    connection.early_asks.append(((thread, item_id), ask))


def take_early_asks(connection: Connection, call: Call) -> None:
    named = (call["thread"], call["item_id"])
    call["asks"] += [ask for about, ask in connection.early_asks if about == named]
    connection.early_asks[:] = [(about, ask) for about, ask in connection.early_asks if about != named]


def forget_early_asks(connection: Connection, thread: str | None, turn: str | None) -> None:
    """A turn is over: what was asked about items of it that never began is about no call."""
    connection.early_asks[:] = [
        (about, ask) for about, ask in connection.early_asks if about[0] != thread or ask["turn"] not in (turn, None)
    ]


def ask_approval(connection: Connection, message: Message, t: float) -> dict[str, Any]:
    ask = new_ask("request", t, reason=message.get("params", "reason"))
    legacy = message.get("method") in ("execCommandApproval", "applyPatchApproval")
    thread, item_id = ("conversationId", "callId") if legacy else ("threadId", "itemId")
    ask_about_item(connection, message, name(message.get("params", thread)), name(message.get("params", item_id)), ask)
    permissions = message.get("method") == "item/permissions/requestApproval"
    return {"ask": ask, "judge": judge_permissions if permissions else judge_decision}


def ask_user(connection: Connection, message: Message, t: float) -> dict[str, Any]:
    """``item/tool/requestUserInput``: no approval, and a wait where the item is open."""
    named = (name(message.get("params", "threadId")), name(message.get("params", "itemId")))
    ask = new_ask("request", t, approval=False)
    for call in connection.open:
        if call["kind"] == "item" and (call["thread"], call["item_id"]) == named:
            call["asks"].append(ask)
            break
    return {"ask": ask, "judge": lambda params, answer: {}}


def elicit(connection: Connection, message: Message, t: float) -> dict[str, Any] | None:
    """``mcpServer/elicitation/request``: Codex asks whether an MCP tool may run, or an MCP server has a question of its own."""
    meta = message.get("params", "_meta")
    approves = isinstance(meta, dict) and "codex_approval_kind" in meta
    thread = name(message.get("params", "threadId"))
    calls = [call for call in connection.open if call.get("server") is not None and call["record"].get("thread_id") == thread]
    calls = [call for call in calls if call["server"] == message.get("params", "serverName")]
    if approves:
        calls = [
            call
            for call in calls
            if call["record"]["tool"] == name(meta.get("tool_name"))
            and same_json(call["value"], meta.get("tool_params"))
            and not call.get("asked_whether")
        ]
    else:
        calls = [call for call in calls if not any(ask["wait"] and ask["settled_t"] is None for ask in call["asks"])]
    if not calls:
        return None
    ask = new_ask("request", t, reason=message.get("params", "reason"))
    calls[0]["asks"].append(ask)
    calls[0]["asked_whether"] = calls[0].get("asked_whether") or approves
    return {"ask": ask, "judge": judge_elicitation}


def resolved(connection: Connection, message: Message, t: float) -> None:
    """``serverRequest/resolved``, or ``notifications/cancelled`` of the server: a request of the server is off the table.

    Whoever decided, it was not our client, if its request is still open.
    """
    key = id_key(message.get("params", "requestId"))
    for asked in connection.asked:
        if key is not None and asked["key"] == key:
            connection.asked.remove(asked)
            if asked["kind"] == "ask":
                settle(asked["ask"], t)
            return


def judge_decision(params: Any, answer: Message) -> dict[str, Any]:
    decision = answer.get("result", "decision")
    if isinstance(decision, dict) and len(decision) == 1:
        (decision,) = decision
    if not isinstance(decision, str):
        return {}
    of_input = isinstance(params, dict) and params.get("kind") == "writeStdin"
    return {"decision": decision, "refuses": decision in REFUSALS and not of_input}


def judge_permissions(params: Any, answer: Message) -> dict[str, Any]:
    granted = answer.get("result", "permissions")
    if not isinstance(granted, dict):
        return {}
    scope = answer.get("result", "scope")
    return {"decision": (name(scope) or "turn") if granted else "decline"}


def review_started(connection: Connection, message: Message, t: float) -> Ask:
    review = new_ask("review", t, wait=False, review=(message.get("params", "threadId"), message.get("params", "reviewId")))
    thread, item_id = (name(message.get("params", member)) for member in ("threadId", "targetItemId"))
    ask_about_item(connection, message, thread, item_id, review)
    return review


def review_completed(connection: Connection, message: Message, t: float) -> None:
    named = (message.get("params", "threadId"), message.get("params", "reviewId"))
    asks = [ask for call in connection.open for ask in call["asks"]] + [ask for _, ask in connection.early_asks]
    review = next((ask for ask in asks if ask.get("review") == named and ask["settled_t"] is None), None)
    review = review or review_started(connection, message, t)
    verdict = message.get("params", "review")
    verdict = verdict if isinstance(verdict, dict) else {}
    status = name(verdict.get("status"))
    said_so = {"decision": status, "reason": verdict.get("rationale"), "risk": verdict.get("riskLevel")}
    settle(review, t, by="reviewer", refuses=status not in (None, "approved", "inProgress"), **said_so)


def hook_started(connection: Connection, message: Message, t: float) -> None:
    connection.hooks[name(message.get("params", "threadId")), name(message.get("params", "run", "id"))] = t


def hook_completed(connection: Connection, message: Message, t: float) -> None:
    """A hook that blocks decides, and so does one for permissions that says nothing against it.

    What runs after a tool comes too late to decide whether it runs.
    """
    thread, run_id = name(message.get("params", "threadId")), name(message.get("params", "run", "id"))
    started_t = connection.hooks.pop((thread, run_id), t)
    event, status = message.get("params", "run", "eventName"), message.get("params", "run", "status")
    if run_id is None or event == "postToolUse":
        return
    if status == "blocked":
        entries = message.get("params", "run", "entries")
        texts = [entry.get("text") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        verdict = {"decision": "block", "refuses": True, "reason": "\n".join(text for text in texts if isinstance(text, str))}
    elif status == "completed" and event == "permissionRequest":
        verdict = {"decision": "allow"}
    else:
        return
    hook = new_ask("hook", started_t, wait=False)
    settle(hook, t, by="hook", **verdict)
    ask_about_item(connection, message, thread, name(run_id.rpartition(":")[2]), hook)


REQUESTS_OF_SERVER = {
    "item/commandExecution/requestApproval": ask_approval,
    "item/fileChange/requestApproval": ask_approval,
    "item/permissions/requestApproval": ask_approval,
    "execCommandApproval": ask_approval,
    "applyPatchApproval": ask_approval,
    "item/tool/requestUserInput": ask_user,
    "mcpServer/elicitation/request": elicit,
}
NOTIFICATIONS = {
    "serverRequest/resolved": resolved,
    "notifications/cancelled": resolved,
    "item/autoApprovalReview/started": review_started,
    "item/autoApprovalReview/completed": review_completed,
    "hook/started": hook_started,
    "hook/completed": hook_completed,
}
