"""What a server may answer, each text beside the end that it means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from trio_oplog._operation import Outcome
from trio_oplog.testing._dice import Dice
from trio_oplog.testing._json_text import an_array, an_object, quoted
from trio_oplog.testing._laws import Law
from trio_oplog.testing._oracle import Ending
from trio_oplog.testing._session import Feature
from trio_oplog.testing._stage import Stage

Members: TypeAlias = list[tuple[str, str | None]]
Answer: TypeAlias = tuple[Members, Ending]

IMAGE: Final = '{"type":"image","data":"aGk=","mimeType":"image/png"}'
# Only the answer to a handshake says who the server is.
_IMPOSTOR: Final = ("serverInfo", '{"name":"impostor","version":"1"}')
_WIDE: Final = ("é", "😀", "日", "x")


def some_answer(stage: Stage, dice: Dice, dialect: Feature | None, *, server_known: bool) -> Answer:
    """An answer: the members beside its id, and how it ends the call.

    Args:
        stage: Where it is written.
        dice: Decides.
        dialect: The dialect of the call that it ends; ``None`` when it ends none.
        server_known: Whether the MCP server has said its name before.
    """
    plain = (_text, _text, _tool_error, _rpc_error, _too_long, _image)
    if not stage.hostile or dice.chance(2):
        return dice.pick(plain)(stage, dice)
    if dialect is Feature.MCP and dice.chance(3):
        return _input_required() if server_known else dice.pick((_input_required, _named_server))()
    return dice.pick((_null_error, _surrogate, *_ODD, _null_error, _surrogate))(stage, dice)


def _result(stage: Stage, *blocks: str, more: Iterable[tuple[str, str | None]] = ()) -> str:
    return an_object([("content", an_array(blocks, stage.gap)), *more], stage.gap)


def _block(stage: Stage, text: str) -> str:
    return an_object([("type", '"text"'), ("text", quoted(text, escaped=stage.escaped))], stage.gap)


def _text(stage: Stage, dice: Dice) -> Answer:
    texts = dice.pick((("ok",), ("one", "two"), ("grün 😀",), ("",), (), ("a\u2028b", "\x00"), ('{"id":1}',)))
    more: Members = dice.pick(
        ([], [("isError", "false")], [("isError", "null")], [("structuredContent", '{"a":1}')], [_IMPOSTOR])
    )
    return [("result", _result(stage, *(_block(stage, text) for text in texts), more=more))], Ending(text="".join(texts))


def _tool_error(stage: Stage, dice: Dice) -> Answer:
    text = dice.pick(("no such file", "", "défaut"))
    result = _result(stage, _block(stage, text), more=[("isError", "true")])
    return [("result", result)], Ending(text=text, outcome=Outcome.TOOL_ERROR)


def _rpc_error(stage: Stage, dice: Dice) -> Answer:
    code = dice.pick((-32603, -32602, 0, -1))
    message = dice.pick(("boom", "", "gar böse", "e" * (stage.config.result_max_bytes + 1)))
    error = an_object([("code", str(code)), ("message", quoted(message, escaped=stage.escaped))], stage.gap)
    members: Members = [("error", error)]
    return members, Ending(text=message, outcome=Outcome.RPC_ERROR, error_code=code)


def _too_long(stage: Stage, dice: Dice) -> Answer:
    # All offsets of a wide character against the limit occur, the limit itself too.
    wide = dice.pick(_WIDE)
    limit = stage.config.result_max_bytes
    text = "." * dice.number(4) + wide * (limit // len(wide.encode()) + dice.number(3))
    return [("result", _result(stage, _block(stage, text[:3]), _block(stage, text[3:])))], Ending(text=text)


def _image(stage: Stage, dice: Dice) -> Answer:
    blocks, types, text = dice.pick(
        (
            ((IMAGE,), ("image",), ""),
            ((_block(stage, "see:"), IMAGE, _block(stage, "!")), ("text", "image", "text"), "see:!"),
            (('{"type":"resource_link","uri":"file:///a","name":"a","text":"no"}',), ("resource_link",), ""),
        )
    )
    return [("result", _result(stage, *blocks))], Ending(text=text, content_types=types)


def _null_error(stage: Stage, dice: Dice) -> Answer:
    stage.features.add(Feature.NULL_ERROR)
    members: Members = [("error", "null"), ("result", _result(stage, _block(stage, "fine")))]
    if dice.chance(2):
        members.reverse()
    return members, Ending(text="fine", laws=(Law.NULL_ERROR,))


def _surrogate(stage: Stage, dice: Dice) -> Answer:
    stage.features.add(Feature.LONE_SURROGATE)
    text = dice.pick(("\ud800", "a\udfffb", "\ud800" * 20))
    return [("result", _result(stage, _block(stage, text)))], Ending(text=text, laws=(Law.WHAT_JSON_READS,))


def _null_result(_: Stage, dice: Dice) -> Answer:
    return [("result", dice.pick(("null", "5", '"text"', "[]", "{}", "true")))], Ending()


def _no_content(_: Stage, dice: Dice) -> Answer:
    return [("result", dice.pick(('{"content":null}', '{"content":5}', '{"structuredContent":{"a":1}}')))], Ending()


def _odd_text(stage: Stage, _: Dice) -> Answer:
    return [("result", _result(stage, '{"type":"text","text":5}', _block(stage, "b")))], Ending(text="b")


def _null_method(stage: Stage, _: Dice) -> Answer:
    return [("method", "null"), ("result", _result(stage, _block(stage, "m")))], Ending(text="m")


def _truthy(stage: Stage, dice: Dice) -> Answer:
    more: Members = [("isError", dice.pick(('"true"', "1", "[]")))]
    return [("result", _result(stage, _block(stage, "t"), more=more))], Ending(text="t")


def _odd_error(_: Stage, dice: Dice) -> Answer:
    error, text, code = dice.pick(
        (
            ("{}", "", None),
            ('"broken"', "", None),
            ("false", "", None),
            ('{"code":"x","message":"m"}', "m", None),
            ('{"code":7,"message":null}', "", 7),
            ('{"code":-32000,"message":"a\\ud800"}', "a\ud800", -32000),
        )
    )
    return [("error", error)], Ending(text=text, outcome=Outcome.RPC_ERROR, error_code=code)


def _error_beside_result(stage: Stage, _: Dice) -> Answer:
    error = '{"code":1,"message":"both"}'
    members: Members = [("result", _result(stage, _block(stage, "no"))), ("error", error)]
    return members, Ending(text="both", outcome=Outcome.RPC_ERROR, error_code=1)


def _repeated_key(stage: Stage, _: Dice) -> Answer:
    members: Members = [("result", _result(stage, _block(stage, "first"))), ("result", _result(stage, _block(stage, "last")))]
    return members, Ending(text="last")


def _input_required(*_: object) -> Answer:
    result = '{"inputRequests":{},"requestState":"v1.z1","resultType":"input_required"}'
    return [("result", result)], Ending(outcome=Outcome.INPUT_REQUIRED)


def _named_server(*_: object) -> Answer:
    result = '{"content":[],"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"named","version":""}}}'
    return [("result", result)], Ending(server="named")


_ODD: Final = (
    _null_result,
    _no_content,
    _odd_text,
    _null_method,
    _truthy,
    _odd_error,
    _error_beside_result,
    _repeated_key,
)
