"""An operation as a span and as a log record, held to what its JSON says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_type_hints

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.otlp.expecting import expected_log_record, expected_span, plain_attributes, plain_log_record, plain_span
from tests.otlp.strategies import full_operations
from trio_oplog import Approval, ArgumentsMeta, Context, DecidedBy, Operation, Outcome, ResultMeta
from trio_oplog._otlp import mapping
from trio_oplog._otlp.fields import FIELDS, Attribute, Elsewhere, NotExported
from trio_oplog._wire import decode, encode

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def operation(**changes: Any) -> Operation:
    values: dict[str, Any] = {
        "id": "31c5b646-dda1-400c-b696-0c1e14ace21e",
        "workspace_id": "ws-1",
        "source": "mcp",
        "env_id": "local",
        "tool": "add",
        "is_error": False,
        "started_at": NOON,
        "completed_at": NOON,
        "duration_ms": 250,
    }
    return Operation(**(values | changes))


FULL = operation(
    user_id="alice",
    thread_id="thread",
    request_id="7",
    arguments=b'{"a": 1.0e1}',
    arguments_meta=ArgumentsMeta(size_bytes=70_000, sha256="ab"),
    result_summary="the secret text",
    is_error=True,
    result_meta=ResultMeta(
        truncated=True,
        total_bytes=5_000,
        sha256="cd",
        outcome=Outcome.RPC_ERROR,
        error_code=-32603,
        exit_code=3,
        content_types=("text", "image"),
        reported_duration_ms=12,
        duplicate_id=True,
        waited_ms=100,
        rounds=2,
        task_id="task-1",
        title="a title",
        id_respelled=True,
        replaced=True,
    ),
    context=Context(
        client="inspector/1.0",
        server="everything/2.0",
        protocol="2025-11-25",
        session="session-1",
        transport="websocket",
        trace_id=TRACE,
        parent_span_id=PARENT,
    ),
    approval=Approval(decision="accept", by=DecidedBy.CLIENT, waited_ms=90, reason="because", risk="low", count=2),
)


def paths(part: type, prefix: str = "") -> set[str]:
    """The path of every field of a class of the model, those of its parts in place of the parts."""
    found = set()
    for name, hint in get_type_hints(part).items():
        kinds = [kind for kind in (ArgumentsMeta, ResultMeta, Context, Approval) if kind in get_args(hint)]
        found |= paths(kinds[0], f"{prefix}{name}.") if kinds else {prefix + name}
    return found


def test_every_field_of_an_operation_is_mapped_or_listed_as_not_exported() -> None:
    assert set(FIELDS) == paths(Operation)


def test_the_mapping_does_not_hang_on_what_was_done_with_the_classes_before() -> None:
    program = (
        "from trio_oplog._wire import converter; converter()\n"  # resolves the types of the fields in place
        "from tests.otlp.test_mapping import FULL, made_span; print(made_span(FULL).name)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("tools/call add\n", "")


def made_span(call: Operation, kind: str = "server", *, payloads: bool = False) -> Span:
    span = Span()
    mapping.span(call, kind, payloads=payloads, into=span)
    return Span.FromString(span.SerializeToString())


def made_log_record(call: Operation, *, payloads: bool = False) -> LogRecord:
    record = LogRecord()
    mapping.log_record(call, payloads=payloads, into=record)
    return LogRecord.FromString(record.SerializeToString())


def document_of(call: Operation) -> tuple[dict[str, Any], str | None]:
    return json.loads(encode(call)), None if call.arguments is None else call.arguments.decode()


@given(full_operations(), st.sampled_from(["client", "server"]), st.booleans())
@example(FULL, "server", True)
@example(FULL, "client", False)
@example(attrs.evolve(FULL, source="llm"), "client", True)
@example(operation(is_error=True), "server", True)
@example(operation(is_error=True, result_meta=ResultMeta(outcome=Outcome.TOOL_ERROR)), "server", True)
@example(operation(is_error=True, result_meta=ResultMeta(outcome=Outcome.RPC_ERROR)), "server", False)
@example(operation(context=Context(transport="stdio", protocol="1")), "server", True)
@example(operation(context=Context(transport="pigeon")), "server", True)
@example(operation(context=Context(trace_id="no hex digits, but 32 characters", parent_span_id=PARENT)), "server", True)
@example(operation(context=Context(trace_id=f"{TRACE[:30]}  ", parent_span_id=PARENT)), "server", True)
@example(operation(context=Context(parent_span_id=PARENT)), "server", True)
@example(operation(context=Context(trace_id=TRACE, parent_span_id="0" * 16)), "server", True)
@example(operation(result_meta=ResultMeta(rounds=3, content_types=())), "server", True)
def test_a_span_says_what_the_operation_says(call: Operation, kind: str, payloads: bool) -> None:
    document, arguments = document_of(call)
    assert plain_span(made_span(call, kind, payloads=payloads)) == expected_span(document, arguments, kind, payloads=payloads)


@given(full_operations(), st.booleans())
@example(FULL, True)
@example(FULL, False)
@example(operation(), True)
def test_a_log_record_says_the_same(call: Operation, payloads: bool) -> None:
    document, arguments = document_of(call)
    assert plain_log_record(made_log_record(call, payloads=payloads)) == expected_log_record(
        document, arguments, payloads=payloads
    )


@given(full_operations())
@example(FULL)
def test_the_span_is_the_same_whether_the_operation_comes_from_memory_or_from_its_json(call: Operation) -> None:
    assert made_span(decode(encode(call)), payloads=True) == made_span(call, payloads=True)


def values_of(call: Operation) -> dict[str, Any]:
    """What each field of a full operation says, by its path."""
    found = {}
    for path in FIELDS:
        value: Any = call
        for name in path.split("."):
            value = getattr(value, name)
        found[path] = value
    return found


def test_every_field_that_is_a_payload_is_left_out_unless_asked_for() -> None:
    text = json.dumps(plain_span(made_span(FULL)), default=repr) + json.dumps(
        plain_log_record(made_log_record(FULL)), default=repr
    )
    with_payloads = json.dumps(plain_span(made_span(FULL, payloads=True)), default=repr)
    payloads = {path for path, entry in FIELDS.items() if not isinstance(entry, NotExported) and entry.payload}
    assert payloads == {"arguments", "result_summary", "result_meta.title", "approval.reason"}
    for path in payloads:
        value = values_of(FULL)[path]
        shown = json.dumps(value.decode() if isinstance(value, bytes) else value)
        assert shown not in text, path
        assert shown in with_payloads, path


def test_an_attribute_of_the_table_holds_the_field_that_the_table_says() -> None:
    span = made_span(FULL, payloads=True)
    attributes = plain_attributes(span.attributes) | plain_attributes(span.events[0].attributes)
    for path, entry in FIELDS.items():
        if isinstance(entry, Attribute):
            value = values_of(FULL)[path]
            value = value.decode() if isinstance(value, bytes) else list(value) if isinstance(value, tuple) else value
            assert attributes[entry.name] == value, path
        elif isinstance(entry, Elsewhere):
            for name in re.findall(r"`((?:trio_oplog|mcp|gen_ai|rpc|network|jsonrpc|error)\.[a-z_.]+)`", entry.place):
                if name not in ("gen_ai.tool.call.id", "trio_oplog.session", "trio_oplog.protocol", "trio_oplog.rounds.count"):
                    assert name in attributes, name


def test_an_operation_that_belongs_to_no_trace_begins_one_of_its_own() -> None:
    span = made_span(operation())
    assert (len(span.trace_id), len(span.span_id), span.parent_span_id) == (16, 8, b"")
    other = made_span(operation(id="another"))
    assert span.trace_id != other.trace_id
    assert span.span_id != other.span_id


def test_the_parent_is_the_span_that_made_the_call() -> None:
    span = made_span(FULL)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)


@pytest.mark.parametrize("field", ["tool", "duration_ms", "result_meta"])
def test_what_otlp_cannot_hold_raises(field: str) -> None:
    wrong = {"tool": "\ud800", "duration_ms": "1", "result_meta": ResultMeta(exit_code=2**64)}
    with pytest.raises((TypeError, ValueError)):
        made_span(operation(**{field: wrong[field]}))


def test_a_resource_has_the_attributes_that_were_given() -> None:
    made = mapping.resource({"service.name": "gateway", "deployment.environment.name": "tést"})
    assert plain_attributes(made.attributes) == {"service.name": "gateway", "deployment.environment.name": "tést"}
    assert mapping.scope("1.2").version == "1.2"


def test_the_how_to_has_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "opentelemetry.md").read_text()

    def place(entry: Attribute | Elsewhere | NotExported) -> str:
        if isinstance(entry, NotExported):
            return f"not exported: {entry.reason}"
        where = f"`{entry.name}`" if isinstance(entry, Attribute) else entry.place
        return f"{where} (payload)" if entry.payload else where

    table = [f"| `{path}` | {place(entry)} |" for path, entry in FIELDS.items()]
    assert "\n".join(table) in page
