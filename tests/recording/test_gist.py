"""The gist of a result, whatever shape a server gives it: text, what resources hold, JSON, links."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.watching import Watch, operation
from trio_oplog import Outcome
from trio_oplog._operation import ResultMeta

Message = dict[str, Any]
CALL = {"id": 1, "method": "tools/call"}


def text(*texts: Any, kind: str = "text") -> list[Message]:
    return [{"type": kind, "text": said} for said in texts]


def resource(**content: Any) -> Message:
    return {"type": "resource", "resource": content}


def link(uri: Any) -> Message:
    return {"type": "resource_link", "uri": uri, "name": "x"}


def gist(answer: Any) -> tuple[str | None, ResultMeta | None]:
    """The summary and the ``result_meta`` of a call with this answer, which may be its spelling."""
    watch = Watch()
    watch.client(CALL)
    watch.server(answer if isinstance(answer, str) else json.dumps({"id": 1} | answer))
    (op,) = watch.recorded
    assert op == operation(request_id="1", result_summary=op.result_summary, result_meta=op.result_meta, is_error=op.is_error)
    outcome = op.result_meta.outcome if op.result_meta else None
    assert op.is_error is (outcome in (Outcome.TOOL_ERROR, Outcome.RPC_ERROR))
    return op.result_summary, op.result_meta


def types(*kinds: str) -> ResultMeta:
    return ResultMeta(content_types=kinds)


FAILED = ResultMeta(outcome=Outcome.TOOL_ERROR)


@pytest.mark.parametrize(
    ("result", "summary", "meta"),
    [
        ({"content": text("a", "b")}, "ab", None),
        ({"content": text("a", kind="inputText") + text("b")}, "ab", None),
        ({"content": text("a"), "structuredContent": {"x": 1}}, "a", None),
        ({"content": [resource(text="r", uri="u:"), *text("a")]}, "a", types("resource", "text")),
        ({"content": [resource(text="r", uri="u:"), resource(blob=""), resource(text="s")]}, "rs", types(*["resource"] * 3)),
        ({"content": [resource(text="r")], "structuredContent": 1, "toolResult": 2}, "r", types("resource")),
        ({"content": [resource(text=""), link("a:")], "structuredContent": 1}, None, types("resource", "resource_link")),
        ({"content": [resource(blob="eA==")], "structuredContent": [1]}, "[1]", types("resource")),
        ({"content": [], "structuredContent": {"tables": [{"id": "a1"}]}}, '{"tables": [{"id": "a1"}]}', None),
        ({"structuredContent": {"a": 1}, "toolResult": 2}, '{"a": 1}', None),
        ({"structuredContent": False, "toolResult": 2}, "false", None),
        ({"structuredContent": "text"}, '"text"', None),
        ({"structuredContent": None, "toolResult": {"a": 1}}, '{"a": 1}', None),
        ({"toolResult": None}, None, None),
        ({"content": [link("a:"), link("b:")]}, "a:\nb:", types("resource_link", "resource_link")),
        ({"content": [link("a:"), link(""), link(5)]}, "a:", types(*["resource_link"] * 3)),
        ({"content": [link("a:")], "toolResult": 2}, "2", types("resource_link")),
        ({"content": [{"type": "image", "uri": "a:"}]}, None, types("image")),
        ({"content": [{"type": "text", "text": ""}], "structuredContent": {"a": 1}}, None, None),
        ({"content": [{"type": "text"}], "toolResult": 2}, None, None),
        ({"content": text("", ""), "toolResult": 2}, None, None),
        ({"content": "plain text"}, "plain text", None),
        ({"content": ""}, None, None),
        ({"content": {"type": "text", "text": "one block"}}, "one block", None),
        ({"content": {"type": "image"}, "toolResult": 2}, "2", types("image")),
        ({"content": 5, "toolResult": 2}, "2", None),
        ({"content": [5]}, None, types("unknown")),
        ("just text", "just text", None),
        ("", None, None),
        (None, None, None),
        (["x"], None, None),
        ({"isError": True, "structuredContent": {"code": "E_QUOTA"}}, '{"code": "E_QUOTA"}', FAILED),
        ({"isError": "true", "content": text("e")}, "e", FAILED),
        ({"isError": "TRUE", "content": "e"}, "e", FAILED),
        ({"isError": "yes"}, None, None),
        ({"isError": 1}, None, None),
    ],
)
def test_the_gist_is_the_first_of_text_embedded_text_json_and_links(
    result: Any, summary: str | None, meta: ResultMeta | None
) -> None:
    assert gist({"result": result}) == (summary, meta)


def test_json_is_told_in_its_exact_spelling() -> None:
    assert gist('{"id":1,"result":{"structuredContent": { "a" :1e2, "b":"\\u00e9" } }}') == ('{ "a" :1e2, "b":"\\u00e9" }', None)
    assert gist('{"id":1,"result":{"toolResult":[NaN ,1]}}') == ("[NaN ,1]", None)


@pytest.mark.parametrize(
    ("error", "summary", "code"),
    [
        ("went wrong", "went wrong", None),
        ({"code": -32602, "message": "bad"}, "bad", -32602),
        ({"code": "E42", "message": {"reason": "nested"}, "data": {"detail": "why"}}, '{"reason": "nested"}', None),
        ({"code": 3, "message": None}, None, 3),
        ({"code": 3.5, "message": 5}, "5", None),
        ({"code": True, "message": [1, 2]}, "[1, 2]", None),
        ({"code": 2, "message": ""}, None, 2),
        ({"code": 2}, None, 2),
        ({}, None, None),
        ([1, 2], "[1, 2]", None),
        (404, "404", None),
        (False, "false", None),
        ("", None, None),
    ],
)
def test_an_error_of_any_kind_says_what_it_can(error: Any, summary: str | None, code: int | None) -> None:
    assert gist({"error": error}) == (summary, ResultMeta(outcome=Outcome.RPC_ERROR, error_code=code))
    assert gist({"error": error, "result": {"content": "no"}}) == (
        summary,
        ResultMeta(outcome=Outcome.RPC_ERROR, error_code=code),
    )
    watch = Watch()
    watch.server({"method": "item/completed", "params": {"item": {"type": "mcpToolCall", "error": error}}})
    assert [(op.result_summary, op.result_meta) for op in watch.recorded] == [
        (summary, ResultMeta(outcome=Outcome.FAILED, error_code=code))
    ]


def test_an_error_of_odd_spelling_keeps_its_code_and_its_message() -> None:
    for code in ("9", '"9"'):
        spelled = f'{{"id":1,"error":{{"message":{{"x":NaN}},"code":{code}}}}}'
        kept = int(code) if code == "9" else None
        assert gist(spelled) == ('{"x":NaN}', ResultMeta(outcome=Outcome.RPC_ERROR, error_code=kept))


def test_answers_that_follow_the_schema_loosely_are_all_paired_and_none_is_empty() -> None:
    answers: list[tuple[Message, str, bool]] = [
        ({"result": {"content": "plain text"}}, "plain text", False),
        ({"result": {"content": {"type": "text", "text": "one block"}}}, "one block", False),
        (
            {"result": {"toolResult": {"content": text("old shape")}}},
            '{"content": [{"type": "text", "text": "old shape"}]}',
            False,
        ),
        ({"error": "went wrong"}, "went wrong", True),
        ({"result": "just text"}, "just text", False),
        ({"result": {"content": text("e"), "isError": "true"}}, "e", True),
        ({"error": {"code": "E42", "message": {"reason": "nested"}}}, '{"reason": "nested"}', True),
        ({"result": {"content": [], "structuredContent": {"total": 1}}}, '{"total": 1}', False),
    ]
    watch = Watch()
    for number, (answer, _, _) in enumerate(answers):
        watch.client(CALL | {"id": number})
        watch.server({"id": number} | answer)
    assert [(op.result_summary, op.is_error) for op in watch.recorded] == [(summary, failed) for _, summary, failed in answers]
