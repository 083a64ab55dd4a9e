"""What a server may answer, each text beside the end that it means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from trio_oplog._operation import Outcome
from trio_oplog.testing._builder import SessionBuilder
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._json_text import an_array, an_object, quoted
from trio_oplog.testing._laws import Law
from trio_oplog.testing._oracle import Ending
from trio_oplog.testing._session import Feature

Members: TypeAlias = list[tuple[str, str | None]]
Answer: TypeAlias = tuple[Members, Ending]

IMAGE: Final = '{"type":"image","data":"aGk=","mimeType":"image/png"}'
# Only the answer to a handshake says who the server is.
_IMPOSTOR: Final = ("serverInfo", '{"name":"impostor","version":"1"}')
_WIDE: Final = ("é", "😀", "日", "x")


def some_answer(session: SessionBuilder, choices: ChoiceSource, dialect: Feature | None, *, server_known: bool) -> Answer:
    """An answer: the members beside its id, and how it ends the call.

    Args:
        session: Where it is written.
        choices: Decides.
        dialect: The dialect of the call that it ends; ``None`` when it ends none.
        server_known: Whether the MCP server has said its name before.
    """
    plain = (_text, _text, _tool_error, _rpc_error, _too_long, _image)
    if not session.hostile or choices.chance(2):
        return choices.pick(plain)(session, choices)
    if dialect is Feature.MCP and choices.chance(3):
        return _input_required() if server_known else choices.pick((_input_required, _named_server))()
    return choices.pick((_null_error, _surrogate, *_ODD, _null_error, _surrogate))(session, choices)


def _result(session: SessionBuilder, *blocks: str, more: Iterable[tuple[str, str | None]] = ()) -> str:
    return an_object([("content", an_array(blocks, session.gap)), *more], session.gap)


def _block(session: SessionBuilder, text: str) -> str:
    return an_object([("type", '"text"'), ("text", quoted(text, escaped=session.escaped))], session.gap)


def _text(session: SessionBuilder, choices: ChoiceSource) -> Answer:
    texts = choices.pick((("ok",), ("one", "two"), ("grün 😀",), ("",), (), ("a\u2028b", "\x00"), ('{"id":1}',)))
    more: Members = choices.pick(
        ([], [("isError", "false")], [("isError", "null")], [("structuredContent", '{"a":1}')], [_IMPOSTOR])
    )
    return [("result", _result(session, *(_block(session, text) for text in texts), more=more))], Ending(text="".join(texts))


def _tool_error(session: SessionBuilder, choices: ChoiceSource) -> Answer:
    text = choices.pick(("no such file", "", "défaut"))
    result = _result(session, _block(session, text), more=[("isError", "true")])
    return [("result", result)], Ending(text=text, outcome=Outcome.TOOL_ERROR)


def _rpc_error(session: SessionBuilder, choices: ChoiceSource) -> Answer:
    code = choices.pick((-32603, -32602, 0, -1))
    message = choices.pick(("boom", "", "gar böse", "e" * (session.config.result_max_bytes + 1)))
    error = an_object([("code", str(code)), ("message", quoted(message, escaped=session.escaped))], session.gap)
    members: Members = [("error", error)]
    return members, Ending(text=message, outcome=Outcome.RPC_ERROR, error_code=code)


def _too_long(session: SessionBuilder, choices: ChoiceSource) -> Answer:
    # All offsets of a wide character against the limit occur, the limit itself too.
    wide = choices.pick(_WIDE)
    limit = session.config.result_max_bytes
    text = "." * choices.number(4) + wide * (limit // len(wide.encode()) + choices.number(3))
    return [("result", _result(session, _block(session, text[:3]), _block(session, text[3:])))], Ending(text=text)


def _image(session: SessionBuilder, choices: ChoiceSource) -> Answer:
    blocks, types, text = choices.pick(
        (
            ((IMAGE,), ("image",), ""),
            ((_block(session, "see:"), IMAGE, _block(session, "!")), ("text", "image", "text"), "see:!"),
            (('{"type":"resource_link","uri":"file:///a","name":"a","text":"no"}',), ("resource_link",), ""),
        )
    )
    return [("result", _result(session, *blocks))], Ending(text=text, content_types=types)


def _null_error(session: SessionBuilder, choices: ChoiceSource) -> Answer:
    session.features.add(Feature.NULL_ERROR)
    members: Members = [("error", "null"), ("result", _result(session, _block(session, "fine")))]
    if choices.chance(2):
        members.reverse()
    return members, Ending(text="fine", laws=(Law.NULL_ERROR,))


def _surrogate(session: SessionBuilder, choices: ChoiceSource) -> Answer:
    session.features.add(Feature.LONE_SURROGATE)
    text = choices.pick(("\ud800", "a\udfffb", "\ud800" * 20))
    return [("result", _result(session, _block(session, text)))], Ending(text=text, laws=(Law.WHAT_JSON_READS,))


def _null_result(_: SessionBuilder, choices: ChoiceSource) -> Answer:
    return [("result", choices.pick(("null", "5", '"text"', "[]", "{}", "true")))], Ending()


def _no_content(_: SessionBuilder, choices: ChoiceSource) -> Answer:
    return [("result", choices.pick(('{"content":null}', '{"content":5}', '{"structuredContent":{"a":1}}')))], Ending()


def _odd_text(session: SessionBuilder, _: ChoiceSource) -> Answer:
    return [("result", _result(session, '{"type":"text","text":5}', _block(session, "b")))], Ending(text="b")


def _null_method(session: SessionBuilder, _: ChoiceSource) -> Answer:
    return [("method", "null"), ("result", _result(session, _block(session, "m")))], Ending(text="m")


def _truthy(session: SessionBuilder, choices: ChoiceSource) -> Answer:
    more: Members = [("isError", choices.pick(('"true"', "1", "[]")))]
    return [("result", _result(session, _block(session, "t"), more=more))], Ending(text="t")


def _odd_error(_: SessionBuilder, choices: ChoiceSource) -> Answer:
    error, text, code = choices.pick(
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


def _error_beside_result(session: SessionBuilder, _: ChoiceSource) -> Answer:
    error = '{"code":1,"message":"both"}'
    members: Members = [("result", _result(session, _block(session, "no"))), ("error", error)]
    return members, Ending(text="both", outcome=Outcome.RPC_ERROR, error_code=1)


def _repeated_key(session: SessionBuilder, _: ChoiceSource) -> Answer:
    members: Members = [
        ("result", _result(session, _block(session, "first"))),
        ("result", _result(session, _block(session, "last"))),
    ]
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
