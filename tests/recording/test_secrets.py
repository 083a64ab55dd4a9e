"""Secrets are taken out of every text of a record, wherever they stand, and nothing else changes.

The law: of generated JSON, no value under a key that names a secret is anywhere in the encoded record, but where it is a key.
"""

from __future__ import annotations

import json
import re
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_oplog import Approval, Config, ConfigError, DecidedBy, Interceptor, Operation, ResultMeta, redact_secrets
from trio_oplog._recording.redact import mark
from trio_oplog._recording.secrets import SECRET_KEYS, _Keys
from trio_oplog._wire import encode
from trio_oplog.testing import RecordingSubmitter

MARK = '{"redacted":true,"size_bytes":%d}'
SECRETS = ["password", "Api-Key", "githubToken", "DB_PASSWORD2", "clientsecret", "X-API-Key"]
HARMLESS = ["max_tokens", "tokenizer", "user", "nextPageToken", "password_policy", "tokenCount"]


@pytest.mark.parametrize(
    "key", [*SECRET_KEYS, *SECRETS, "APIKey", "PRIVATE-KEY", "Proxy-Authorization", "Set-Cookie", "accessToken"]
)
def test_a_key_whose_last_words_are_known_names_a_secret(key: str) -> None:
    assert key in _Keys((), defaults=True)
    assert key not in _Keys((), defaults=False)


@pytest.mark.parametrize(
    "key", [*HARMLESS, "", "_", "1", "pwd", "author", "secretary", "cookiecutter", "progressToken", "k" * 70_000]
)
def test_other_keys_name_none(key: str) -> None:
    assert key not in _Keys((), defaults=True)


def test_a_key_of_ones_own_is_the_whole_key_whatever_its_case_and_separators() -> None:
    keys = _Keys(("Line-1",), defaults=False)
    assert "line1" in keys
    assert "LINE_1" in keys
    assert "line_2" not in keys
    assert "my_line_1" not in keys


@pytest.mark.parametrize("name", ["", "_-", 5])
def test_a_name_without_a_letter_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match=r"^names must have a letter or a digit each$"):
        redact_secrets("x", name)


def redact(make_operation: Any, arguments: str | None = None, **changes: Any) -> Operation:
    data = None if arguments is None else arguments.encode("utf-8", "surrogatepass")
    return redact_secrets()(make_operation(arguments=data, **{"result_summary": None} | changes))


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ('{"password": "hunter2", "a" : 1.50}', '{"password": %s, "a" : 1.50}' % (MARK % 9)),
        ('{"pass\\u0077ord":"hunter2"}', '{"pass\\u0077ord":%s}' % (MARK % 9)),
        ('[{"a":{"Token":{"b":[1,"x}"]}}}, "token"]', '[{"a":{"Token":%s}}, "token"]' % (MARK % 14)),
        ('{"token":1,"token":null,"n":[]}', f'{{"token":{MARK % 1},"token":{MARK % 4},"n":[]}}'),
        ('{"body":"{\\"password\\": \\"hunter2\\", \\"n\\": 1}"}', json.dumps({"body": '{"password": %s, "n": 1}' % (MARK % 9)})),
        ('{"password":"hunter2","cmd":"login -p hunter2"}', '{"password":%s,"cmd": "login -p [redacted]"}' % (MARK % 9)),
        ('{"pin_code":123456,"again":[123456,1234567]}', '{"pin_code":%s,"again":["[redacted]",1234567]}' % (MARK % 6)),
        ('{"password":"user","user":"abc","a":"abc"}', '{"password":%s,"user":"abc","a":"abc"}' % (MARK % 6)),
        ('{"authorization":"Bearer abc.def","h":"abc.def"}', '{"authorization":%s,"h":"[redacted]"}' % (MARK % 16)),
        ('{"secret":{"name":"hunter2"},"name":"hunter2"}', '{"secret":%s,"name":"[redacted]"}' % (MARK % 18)),
        ('{"secret":"say \\"hi\\"","t":"{\\"x\\":\\"say \\\\\\"hi\\\\\\"\\"}"}', None),
        ('{"password":true,"a":true}', '{"password":%s,"a":true}' % (MARK % 4)),
        ('{"a":"\\ud800","b":["password",":"]}', '{"a":"\\ud800","b":["password",":"]}'),
    ],
)
def test_what_is_left_of_arguments(arguments: str, kept: str | None, make_operation: Any) -> None:
    redacted = redact(make_operation, arguments).arguments
    assert redacted is not None
    if kept is None:
        assert b"hi" not in redacted
    else:
        assert redacted.decode().replace(": ", ":") == kept.replace(": ", ":")


@pytest.mark.parametrize(
    ("summary", "kept"),
    [
        ('{"password":"hunter2"}', '{"password":%s}' % (MARK % 9)),
        ('so: {"api_key": "hunter2"}\n"token": hunter2, "a"', f'so: {{"api_key": {MARK % 9}}}\n"token": {MARK % 7}, "a"'),
        # Cut in the middle of the value.
        ('{"a":1,"password":"hunter', '{"a":1,"password":%s' % (MARK % 7)),
        ('{"a":1,"password":"hunter2\\u00', '{"a":1,"password":%s' % (MARK % 12)),
        ('{"a":1,"password":"hunter2\\', '{"a":1,"password":%s' % (MARK % 9)),
        ('{"a":1,"password":{"b":["hunter', '{"a":1,"password":%s' % (MARK % 13)),
        ('{"a":1,"password":', '{"a":1,"password":'),
        # An odd quote costs its own line only.
        ('5" wide\n{"password":"hunter2"}', '5" wide\n{"password":%s}' % (MARK % 9)),
        ('no JSON: "\\q" says "', 'no JSON: "\\q" says "'),
        ('no JSON either: "\\quite long": "hunter2"', 'no JSON either: "\\quite long": "hunter2"'),
        ("no JSON: password hunter2", "no JSON: password hunter2"),
    ],
)
def test_what_is_left_of_a_result(summary: str, kept: str, make_operation: Any) -> None:
    assert redact(make_operation, result_summary=summary).result_summary == kept


def test_what_stands_in_the_arguments_stands_in_no_other_text(make_operation: Any) -> None:
    meta = ResultMeta(title="login hunter2", waited_ms=3)
    approval = Approval(by=DecidedBy.CLIENT, waited_ms=3, reason='run "hunter2"?')
    operation = redact(
        make_operation, '{"password":"hunter2"}', result_summary="hunter2 is in, hunt", result_meta=meta, approval=approval
    )
    assert operation.result_meta == attrs.evolve(meta, title="login [redacted]")
    assert operation.approval == attrs.evolve(approval, reason='run "[redacted]"?')
    # It may have been cut in the middle of the value.
    assert operation.result_summary == "[redacted] is in, [redacted]"
    texts = redact(make_operation, '{"password":"h\\"\\u00fc2 x"}', result_summary='{"said":"h\\"\\u00fc2 x"} h"ü2 x')
    assert texts.result_summary == '{"said":"[redacted]"} [redacted]'


def test_an_operation_without_secrets_stays_as_it_is(make_operation: Any) -> None:
    approval = Approval(by=DecidedBy.CLIENT, waited_ms=3)
    for changes in ({}, {"arguments": None}, {"result_meta": ResultMeta(exit_code=1), "approval": approval}):
        operation = make_operation(**changes)
        assert redact_secrets()(operation) is operation


def test_many_values_cost_the_payload(make_operation: Any) -> None:
    arguments = json.dumps([{"token": f"value-{number}"} for number in range(33)])
    operation = redact(make_operation, arguments, result_summary="value-1 value-x")
    assert operation.arguments is operation.result_summary is None
    assert operation.arguments_meta is not None


def test_what_an_interceptor_hands_on_holds_none() -> None:
    recorder = RecordingSubmitter()
    interceptor = Interceptor(recorder, Config(source="sdk", workspace_id="ws-1", redact=redact_secrets("Konto")))
    call = {"id": 1, "method": "tools/call", "params": {"name": "pay", "arguments": {"konto": "DE02", "pass": 1}}}
    interceptor.on_client_frame(json.dumps(call))
    interceptor.on_server_frame('{"id":1,"result":{"content":[{"type":"text","text":"from DE02"}]}}')
    [operation] = recorder.operations
    assert b"DE02" not in encode(operation)
    assert operation.result_summary == "from [redacted]"
    assert interceptor.statistics().redact_errors == 0


# Values that no other part of a record can hold by chance; with characters that JSON escapes.
NUMBERS = [*range(10**12, 10**12 + 3)]
secret_values = st.sampled_from(NUMBERS) | st.sampled_from(NUMBERS).map(lambda number: f'sec"ü\\\n{number + 10**12}ret')
keys = st.sampled_from(HARMLESS) | st.text(st.characters(codec="utf-8"), max_size=3)
scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.characters(codec="utf-8"), max_size=4) | secret_values


def nest(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner, max_size=3)
        | st.builds(json.dumps, inner, ensure_ascii=st.booleans())
        | st.dictionaries(keys | st.sampled_from(SECRETS), inner, max_size=3)
    )


documents = st.recursive(scalars, nest, max_leaves=10)


def hidden_in(value: Any, *, is_secret: bool = False) -> set[str]:
    """The numbers of the values that stand under a key that names a secret, also in JSON that stands in a string."""
    if isinstance(value, dict):
        return set().union(*(hidden_in(inner, is_secret=is_secret or key in SECRETS) for key, inner in value.items()))
    if isinstance(value, list):
        return set().union(*(hidden_in(inner, is_secret=is_secret) for inner in value))
    if is_secret:
        return set(re.findall(r"\d{13}", str(value)))
    try:
        return hidden_in(json.loads(value)) if isinstance(value, str) else set()
    except ValueError:
        return set()


@given(documents, documents, st.booleans(), st.sampled_from([None, 1]))
@example(None, [['sec"ü\\\n2000000000000ret'], {"password": '"sec\\"ü\\\\\\n2000000000000ret"'}], True, None)
@example({"password": 'sec"ü\\\n1234567890123ret', "user": '"sec'}, ['sec"ü\\\n1234567890123ret'], True, None)
def test_no_secret_of_any_document_survives(arguments: Any, result: Any, ascii_only: bool, indent: int | None) -> None:
    hidden = hidden_in(arguments) | hidden_in(result)
    operation = an_operation(
        json.dumps(arguments, ensure_ascii=ascii_only, indent=indent),
        json.dumps(result, ensure_ascii=ascii_only, indent=indent),
        "title",
    )
    redacted = redact_secrets()(operation)
    text = encode(redacted).decode()
    for number in hidden:
        assert number not in text
    if redacted.arguments is not None:
        json.loads(redacted.arguments)
    if not any(re.search(name, operation.arguments.decode() + str(operation.result_summary)) for name in SECRETS):
        assert redacted is operation


def an_operation(arguments: str, summary: str, title: str) -> Operation:
    from datetime import UTC, datetime

    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    return Operation(
        id="1",
        workspace_id="w",
        source="s",
        env_id="e",
        tool="t",
        is_error=False,
        started_at=now,
        completed_at=now,
        duration_ms=0,
        arguments=arguments.encode(),
        result_summary=summary,
        result_meta=ResultMeta(title=title),
    )


def test_the_mark_may_carry_a_digest() -> None:
    assert json.loads(mark(b"1", digests=True)).keys() == {"redacted", "size_bytes", "sha256"}
