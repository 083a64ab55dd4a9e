"""What Codex items may say: their beginnings and completions, each text beside what it means."""

from __future__ import annotations

from typing import Final, TypeAlias

from attrs import evolve, frozen

from trio_oplog._operation import Outcome
from trio_oplog.testing._answers import IMAGE
from trio_oplog.testing._dice import Dice
from trio_oplog.testing._json_text import an_array, an_object, quoted
from trio_oplog.testing._oracle import Arguments, CallFacts, Ending
from trio_oplog.testing._session import Feature
from trio_oplog.testing._stage import Stage

Members: TypeAlias = list[tuple[str, str | None]]

ITEM_TYPES: Final = ("mcpToolCall", "commandExecution", "fileChange", "dynamicToolCall", "collabAgentToolCall", "webSearch")
OTHER_ITEM_TYPES: Final = ("agentMessage", "userMessage", "reasoning", "plan", "subAgentActivity", "imageView", "sleep")


@frozen
class ItemKey:
    """What tells one item from another, as far as the protocol goes."""

    thread_id: str
    turn_id: str
    item_id: str
    item_type: str


def item_text(stage: Stage, method: str, key: ItemKey, body: Members, *, request_id: str | None = None) -> str:
    """The text of an item notification, or of a request that looks like one."""
    item = an_object([("type", quoted(key.item_type)), ("id", quoted(key.item_id)), *body], stage.gap)
    params = an_object([("item", item), ("threadId", quoted(key.thread_id)), ("turnId", quoted(key.turn_id))], stage.gap)
    return an_object([("method", quoted(method)), ("id", request_id), ("params", params), ("emittedAtMs", "5")], stage.gap)


def turn_completed_text(stage: Stage, thread_id: str, turn_id: str) -> str:
    """The text of ``turn/completed``."""
    turn = an_object([("id", quoted(turn_id)), ("items", "[]"), ("status", '"interrupted"'), ("error", "null")], stage.gap)
    params = an_object([("threadId", quoted(thread_id)), ("turn", turn)], stage.gap)
    return an_object([("method", '"turn/completed"'), ("params", params)], stage.gap)


def some_item(stage: Stage, dice: Dice, key: ItemKey) -> tuple[Members, CallFacts]:
    """What an item says of its call: the members, and the facts."""
    stage.features.add(Feature.ITEMS)
    members, tool, server, arguments = _MAKERS[key.item_type](stage, dice)
    facts = CallFacts(
        source="llm",
        tool=tool,
        request_id=key.item_id,
        thread_id=key.thread_id,
        server=server,
        arguments=arguments,
    )
    return members, facts


def some_completion(stage: Stage, dice: Dice, key: ItemKey, started_at_ms: int | None) -> tuple[Members, Ending]:
    """How an item completes: the members beside those of its call, and the end."""
    kind = key.item_type
    duration = dice.pick((None, 12, 0))
    members: Members = []
    ending = Ending()
    if kind != "webSearch":
        members, ending = _some_status(dice)
    more, ending = _some_result(stage, dice, kind, ending)
    members += more
    if kind in {"mcpToolCall", "commandExecution", "dynamicToolCall"}:
        members.append(("durationMs", "null" if duration is None else str(duration)))
        ending = evolve(ending, reported_duration_ms=duration)
    if started_at_ms is not None:
        members += [("startedAtMs", str(started_at_ms)), ("completedAtMs", str(started_at_ms + 3))]
        ending = evolve(ending, execution=(key, started_at_ms))
    return members, ending


def _some_status(dice: Dice) -> tuple[Members, Ending]:
    status, outcome = dice.pick(
        (
            ("completed", None),
            ("completed", None),
            ("failed", Outcome.FAILED),
            ("declined", Outcome.DECLINED),
            ("interrupted", Outcome.INTERRUPTED),
            ("inProgress", None),
            ("exploded", Outcome.FAILED),
        )
    )
    return [("status", quoted(status))], Ending(outcome=outcome)


def _some_result(stage: Stage, dice: Dice, kind: str, ending: Ending) -> tuple[Members, Ending]:
    text = dice.pick(("ok", "", "grün 😀", "é" * (stage.config.result_max_bytes // 2 + 1)))
    shown = quoted(text, escaped=stage.escaped)
    if kind == "commandExecution":
        code = dice.pick((0, None, 3))
        members: Members = [("aggregatedOutput", shown if text else "null"), ("exitCode", "null" if code is None else str(code))]
        return members, evolve(ending, text=text, exit_code=code)
    if kind == "dynamicToolCall":
        return _dynamic_result(dice, ending, text, shown)
    if kind != "mcpToolCall":
        return [], ending
    if ending.outcome is Outcome.FAILED and dice.chance(2):
        error = an_object([("message", shown)], stage.gap)
        return [("result", "null"), ("error", error)], evolve(ending, text=text)
    blocks = [an_object([("type", '"text"'), ("text", shown)], stage.gap)]
    types = None
    if dice.chance(4):
        blocks.append(IMAGE)
        types = ("text", "image")
    result = an_object([("content", an_array(blocks, stage.gap)), ("structuredContent", "null")], stage.gap)
    return [("result", result), ("error", "null")], evolve(ending, text=text, content_types=types)


def _dynamic_result(dice: Dice, ending: Ending, text: str, shown: str) -> tuple[Members, Ending]:
    blocks = [f'{{"type":"inputText","text":{shown}}}']
    types = None
    if dice.chance(4):
        blocks.append('{"type":"inputImage","imageUrl":"data:,"}')
        types = ("inputText", "inputImage")
    success = dice.pick(("true", "null", "false"))
    outcome = ending.outcome
    if success == "false" and outcome is None:
        outcome = Outcome.TOOL_ERROR
    members: Members = [("contentItems", an_array(blocks)), ("success", success)]
    return members, evolve(ending, text=text, content_types=types, outcome=outcome)


def _mcp(stage: Stage, dice: Dice) -> tuple[Members, str, str | None, Arguments]:
    tool = dice.pick(("echo", "slow"))
    raw, where = dice.pick(
        (
            ('{"text":"hi"}', None),
            ("null", None),
            ('{"environment_id":"env-7"}', "env-7"),
            (f'{{ "big":"{"y" * stage.config.args_max_bytes}"}}', None),
        )
    )
    arguments = Arguments(text=None if raw == "null" else raw, environment_id=where)
    members: Members = [("server", '"demo"'), ("tool", quoted(tool)), ("arguments", raw)]
    return members, tool, "demo", arguments


def _dynamic(_: Stage, dice: Dice) -> tuple[Members, str, str | None, Arguments]:
    raw, where = dice.pick((('{ "q":"one"}', None), ('{"environment_id":"env-8"}', "env-8"), ("[1]", None)))
    members: Members = [("namespace", "null"), ("tool", '"client_tool"'), ("arguments", raw)]
    return members, "client_tool", None, Arguments(text=raw, environment_id=where)


def _command(stage: Stage, dice: Dice) -> tuple[Members, str, str | None, Arguments]:
    command = dice.pick(('"ls"', '"echo \\"ü\\""', f'"{"z" * stage.config.args_max_bytes}"'))
    members: Members = [("command", command), ("cwd", '"/srv"'), ("commandActions", "[]")]
    return members, "commandExecution", None, _composed(members[:2])


def _file_change(_: Stage, dice: Dice) -> tuple[Members, str, str | None, Arguments]:
    changes = dice.pick(("[]", '[{"path":"/srv/a","kind":{"type":"add"},"diff":"+a\\n"}]'))
    members: Members = [("changes", changes)]
    return members, "fileChange", None, _composed(members)


def _web_search(_: Stage, dice: Dice) -> tuple[Members, str, str | None, Arguments]:
    members: Members = [("query", dice.pick(('"weather"', '"wëather"'))), ("action", "null")]
    return members, "webSearch", None, _composed(members[:1])


def _collab(_: Stage, dice: Dice) -> tuple[Members, str, str | None, Arguments]:
    tool = dice.pick(("spawnAgent", "wait"))
    members: Members = [("prompt", '"do it"'), ("receiverThreadIds", dice.pick(("[]", '["t9"]'))), ("tool", quoted(tool))]
    return members, tool, None, _composed(members[:2])


def _composed(members: Members) -> Arguments:
    return Arguments(text=an_object(members), composed=True)


_MAKERS: Final = {
    "mcpToolCall": _mcp,
    "commandExecution": _command,
    "fileChange": _file_change,
    "dynamicToolCall": _dynamic,
    "collabAgentToolCall": _collab,
    "webSearch": _web_search,
}
