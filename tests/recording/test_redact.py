"""Redaction: what is taken out is gone, and nothing else changes."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_oplog import Approval, ConfigError, DecidedBy, ResultMeta, redact_keys

NAMES = ["password", "TOKEN", "user"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*NAMES, "Password", "a", 'q"\\']) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


def test_a_value_is_replaced_at_any_depth_whatever_the_case(make_operation):
    arguments = b'{ "a": [1, {"PassWord" : "hunter2", "n": 1.50}],\n"\\u0050assword":{"deep":["hunter2"]} }'
    redacted = redact_keys("password")(make_operation(arguments=arguments)).arguments
    assert b"hunter2" not in redacted
    assert redacted.startswith(b'{ "a": [1, {"PassWord" : {"redacted":true,"size_bytes":9,"sha256":"')
    assert b'"n": 1.50}],\n"\\u0050assword":{"redacted"' in redacted
    assert json.loads(redacted)["a"][1]["PassWord"]["sha256"] == hashlib.sha256(b'"hunter2"').hexdigest()


def test_without_digests_only_the_size_is_left(make_operation):
    redacted = redact_keys("p", digests=False)(make_operation(arguments=b'{"p":123}')).arguments
    assert redacted == b'{"p":{"redacted":true,"size_bytes":3}}'


def test_every_one_of_repeated_keys_is_replaced(make_operation):
    redacted = redact_keys("p", digests=False)(make_operation(arguments=b'{"p":1,"p":{"p":2},"q":"p","r":["p"]}')).arguments
    mark = b'{"redacted":true,"size_bytes":%d}'
    assert redacted == b'{"p":%s,"p":%s,"q":"p","r":["p"]}' % (mark % 1, mark % 7)


def test_operations_without_arguments_stay_as_they_are(make_operation):
    operation = make_operation(arguments=None)
    assert redact_keys("p")(operation) is operation


def naive(value):
    """What it should be, on Python's own objects."""
    if isinstance(value, dict):
        return {
            key: "gone" if key.casefold() in {name.casefold() for name in NAMES} else naive(inner) for key, inner in value.items()
        }
    return [naive(inner) for inner in value] if isinstance(value, list) else value


def unmark(value):
    if isinstance(value, dict):
        return "gone" if value.keys() == {"redacted", "size_bytes"} else {key: unmark(inner) for key, inner in value.items()}
    return [unmark(inner) for inner in value] if isinstance(value, list) else value


@given(json_values, st.booleans(), st.sampled_from([None, 1]))
def test_nothing_but_the_named_values_changes(value, ascii_only, indent):
    from datetime import UTC, datetime

    from trio_oplog import Operation

    now = datetime.now(UTC)
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    operation = Operation(
        id="1",
        workspace_id="w",
        source="s",
        env_id="e",
        tool="t",
        is_error=False,
        started_at=now,
        completed_at=now,
        duration_ms=0,
        arguments=text,
    )
    redacted = redact_keys(*NAMES, digests=False)(operation).arguments
    assert unmark(json.loads(redacted.decode("utf-8", "surrogatepass"))) == naive(
        json.loads(text.decode("utf-8", "surrogatepass"))
    )
    keys = redact_keys(otherwise="keys")(operation).arguments
    assert shape(read(keys)) == shape(value)


def read(text):
    return json.loads(text.decode("utf-8", "surrogatepass"))


def shape(value):
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return [shape(inner) for inner in value] if isinstance(value, list) else None


def test_how_much_is_kept_depends_on_the_tool(make_operation):
    redact = redact_keys("p", tools={"a": "full", "b": "truncated", "c": "keys", "d": "digest"}, otherwise="none")
    arguments = b'{"x":"%s","l":[1]}' % (b"v" * 300)
    made = {
        tool: redact(make_operation(tool=tool, arguments=arguments, result_summary="\u00e4" * 200))
        for tool in ["a", "b", "c", "d", "e"]
    }
    assert made["a"].arguments == arguments
    assert made["a"].result_summary == "\u00e4" * 200
    assert made["b"].arguments is None
    assert made["b"].arguments_meta.size_bytes == len(arguments)
    assert made["b"].result_summary == "\u00e4" * 128
    assert made["b"].result_meta.total_bytes == 400
    assert made["c"].arguments == b'{"x":null,"l":[null]}'
    assert made["c"].arguments_meta.size_bytes == len(arguments)
    assert made["c"].result_summary is None
    assert made["d"].arguments is None
    assert made["d"].result_meta.sha256 == hashlib.sha256(("\u00e4" * 200).encode()).hexdigest()
    assert (made["e"].arguments, made["e"].arguments_meta, made["e"].result_summary, made["e"].result_meta) == (None,) * 4


def test_what_is_short_is_not_truncated(make_operation):
    operation = make_operation()
    assert redact_keys(otherwise="truncated")(operation) == operation
    bare = make_operation(arguments=None, result_summary=None)
    assert redact_keys(otherwise="truncated")(bare) == bare
    assert redact_keys(otherwise="keys")(bare) == bare


def test_nothing_kept_means_no_digest_either(make_operation):
    meta = ResultMeta(truncated=True, total_bytes=9, sha256="0" * 64, error_code=5)
    kept = redact_keys(otherwise="none")(make_operation(result_meta=meta))
    assert kept.result_meta == ResultMeta(error_code=5)


@pytest.mark.parametrize("field", ["names", "tools", "otherwise"])
def test_a_wrong_value_is_refused_by_name(field):
    with pytest.raises(ConfigError) as caught:
        {
            "names": lambda: redact_keys("", "x"),
            "tools": lambda: redact_keys("x", tools={"shell": "some"}),
            "otherwise": lambda: redact_keys("x", otherwise="some"),
        }[field]()
    assert caught.value.field == field


@pytest.mark.parametrize("policy", ["none", "digest", "keys"])
def test_without_a_payload_neither_a_title_nor_the_reason_of_an_approval_quotes_it(make_operation, policy):
    approval = Approval(decision="accept", by=DecidedBy.CLIENT, waited_ms=5, reason="may I run hunter2?")
    operation = make_operation(approval=approval, result_meta=ResultMeta(title="hunter2", waited_ms=5), result_summary="hunter2")
    kept = redact_keys(otherwise=policy)(operation)
    assert kept.approval == Approval(decision="accept", by=DecidedBy.CLIENT, waited_ms=5)
    assert (kept.result_meta.title, kept.result_meta.waited_ms, kept.result_summary) == (None, 5, None)
