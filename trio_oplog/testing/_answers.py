"""What a server may answer, each text beside the end that it means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from trio_oplog._operation import Outcome
from trio_oplog.testing._builder import SessionBuilder
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._facts import Ending, Round
from trio_oplog.testing._json_text import an_array, an_object, quoted
from trio_oplog.testing._laws import Law
from trio_oplog.testing._session import Feature

Members: TypeAlias = list[tuple[str, str | None]]
Answer: TypeAlias = tuple[Members, Ending]

IMAGE: Final = '{"type":"image","data":"aGk=","mimeType":"image/png"}'
LINK: Final = '{"type":"resource_link","uri":"file:///a","name":"a","text":"no"}'
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
    plain = (_text, _text, _tool_error, _rpc_error, _too_long, _image, _image)
    if not session.hostile or choices.chance(2):
        return choices.pick(plain)(session, choices)
    if dialect is Feature.MCP and choices.chance(3):
        options = (_input_required,) if server_known else (_input_required, _named_server)
        return choices.pick(options)(session, choices)
    return choices.pick((_null_error, _surrogate, *_ODD, _null_error, _surrogate, _gist, _gist))(session, choices)


def _result(session: SessionBuilder, *blocks: str, more: Iterable[tuple[str, str | None]] = ()) -> str:
    return an_object([("content", an_array(blocks, session.gap)), *more], session.gap)


def _block(session: SessionBuilder, text: str) -> str:
    return an_object([("type", '"text"'), ("text", quoted(text, escaped=session.escaped))], session.gap)


def _text(session: SessionBuilder, choices: ChoiceSource) -> Answer:
    texts = choices.pick((("ok",), ("one", "two"), ("grün 😀",), ("",), (), ("a\u2028b", "\x00"), ('{"id":1}',)))
    more: Members = choices.pick(
        ([], [("isError", "false")], [("isError", "null")], [("structuredContent", '{"a":1}')], [_IMPOSTOR])
    )
    # Where there is a text, be it empty, nothing else counts.
    text = "".join(texts) if texts or ("structuredContent", '{"a":1}') not in more else '{"a":1}'
    return [("result", _result(session, *(_block(session, text) for text in texts), more=more))], Ending(text=text)


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
            ((LINK,), ("resource_link",), "file:///a"),
            ((LINK, IMAGE, LINK), ("resource_link", "image", "resource_link"), "file:///a\nfile:///a"),
            ((LINK, _block(session, "")), ("resource_link", "text"), ""),
            ((_embedded("one"), LINK, _embedded("two")), ("resource", "resource_link", "resource"), "onetwo"),
            ((_embedded("no"), _block(session, "yes")), ("resource", "text"), "yes"),
        )
    )
    if LINK in blocks or "resource" in types:
        session.features.add(Feature.GIST)
    return [("result", _result(session, *blocks))], Ending(text=text, content_types=types, laws=(Law.GIST,))


def _embedded(text: str) -> str:
    return f'{{"type":"resource","resource":{{"uri":"demo://note","mimeType":"text/plain","text":{quoted(text)}}}}}'


def _gist(session: SessionBuilder, choices: ChoiceSource) -> Answer:
    """A result that says what it says in another way than text blocks."""
    session.features.add(Feature.GIST)
    result, text, types, failed = choices.pick(
        (
            ('{"content":[],"structuredContent":{ "a" :1.0}}', '{ "a" :1.0}', None, False),
            ('{"structuredContent":[1,"é"]}', '[1,"é"]', None, False),
            ('{"toolResult":{"old":true}}', '{"old":true}', None, False),
            ('{"content":"plain"}', "plain", None, False),
            ('{"content":{"type":"text","text":"alone"}}', "alone", None, False),
            (f'{{"content":{LINK}}}', "file:///a", ("resource_link",), False),
            ('{"content":[],"structuredContent":null}', "", None, False),
            ('"bare"', "bare", None, False),
            ('{"content":[{"type":"text","text":"no"}],"isError":"true"}', "no", None, True),
            ('{"content":[{"type":"text","text":"no"}],"isError":"TRUE"}', "no", None, True),
            (f'{{"content":[{LINK}],"structuredContent":{{"b":2}}}}', '{"b":2}', ("resource_link",), False),
        )
    )
    outcome = Outcome.TOOL_ERROR if failed else None
    return [("result", result)], Ending(text=text, content_types=types, outcome=outcome, laws=(Law.GIST,))


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
    return [("result", choices.pick(("null", "5", "{}", "true")))], Ending()


def _no_content(_: SessionBuilder, choices: ChoiceSource) -> Answer:
    return [("result", choices.pick(('{"content":null}', '{"content":5}', '{"content":[]}')))], Ending()


def _odd_text(session: SessionBuilder, _: ChoiceSource) -> Answer:
    return [("result", _result(session, '{"type":"text","text":5}', _block(session, "b")))], Ending(text="b")


def _null_method(session: SessionBuilder, _: ChoiceSource) -> Answer:
    return [("method", "null"), ("result", _result(session, _block(session, "m")))], Ending(text="m")


def _truthy(session: SessionBuilder, choices: ChoiceSource) -> Answer:
    more: Members = [("isError", choices.pick(('"yes"', "1", "[]")))]
    return [("result", _result(session, _block(session, "t"), more=more))], Ending(text="t")


def _odd_error(_: SessionBuilder, choices: ChoiceSource) -> Answer:
    error, text, code = choices.pick(
        (
            ("{}", "", None),
            ('"broken"', "broken", None),
            ("[1, 2]", "[1, 2]", None),
            ("5", "5", None),
            ('{"code":"x","message":"m"}', "m", None),
            ('{"code":7,"message":{"why": 1}}', '{"why": 1}', 7),
            ('{"code":7}', "", 7),
            ('{"code":7.5,"message":"m"}', "m", None),
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


def _input_required(session: SessionBuilder, _: ChoiceSource) -> Answer:
    """Nobody will ever send this state again."""
    state = quoted(f"v1.z{session.fresh()}")
    result = f'{{"inputRequests":{{}},"requestState":{state},"resultType":"input_required"}}'
    return [("result", result)], Ending(suspends=Round(signature=None, state=state))


def _named_server(_: SessionBuilder, choices: ChoiceSource) -> Answer:
    version, more = choices.pick((("2", ',"version":"2"'), (None, "")))
    result = f'{{"content":[],"_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"named"{more}}}}}}}'
    return [("result", result)], Ending(server="named", server_version=version, laws=(Law.CONTEXT,))


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
