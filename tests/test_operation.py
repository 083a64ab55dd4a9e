"""The product and its configuration."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Any

import attrs
import pytest

from tests.watching import BEGAN, operation
from trio_oplog import Config, ConfigError, Interceptor, OplogError, Outcome
from trio_oplog._operation import Approval, ArgumentsMeta, Context, DecidedBy, Operation, ResultMeta, shrink
from trio_oplog.testing import RecordingSubmitter


def config(**fields: Any) -> Config:
    return Config(**{"source": "sdk", "workspace_id": "ws-1"} | fields)


def test_a_config_has_the_defaults_of_the_predecessor() -> None:
    assert attrs.asdict(config()) == {
        "source": "sdk",
        "workspace_id": "ws-1",
        "args_max_bytes": 65_536,
        "result_max_bytes": 4_096,
        "user_id": None,
        "default_env_id": "local",
        "max_pending": 1_024,
        "record_items": True,
        "redact": None,
        "transport": None,
        "max_suspended": 1_024,
        "max_suspended_age": 3_600.0,
    }


def test_a_limit_of_zero_is_its_default() -> None:
    assert config(args_max_bytes=0, result_max_bytes=0) == config()
    limits = config(args_max_bytes=1, result_max_bytes=2)
    assert (limits.args_max_bytes, limits.result_max_bytes) == (1, 2)


def test_a_config_takes_every_value_in_its_bounds() -> None:
    made = config(user_id="u", default_env_id="e", max_pending=1, record_items=False, source="\U0001f600")
    assert (made.user_id, made.default_env_id, made.max_pending, made.record_items) == ("u", "e", 1, False)


NO_TEXT = ["", 5, b"x", ["x"], True]
NO_SIZE = [-1, 1.0, 0.0, "5", True, False, None]


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        *[
            (field, value, "must be a non-empty string")
            for field in ("source", "workspace_id", "default_env_id")
            for value in [*NO_TEXT, None]
        ],
        *[("user_id", value, "must be a non-empty string") for value in NO_TEXT],
        *[
            (field, "a\ud800", "must be text that UTF-8 can hold")
            for field in ("source", "workspace_id", "default_env_id", "user_id")
        ],
        ("source", "\udfff", "must be text that UTF-8 can hold"),
        *[
            (field, value, "must be a whole number of at least 0")
            for field in ("args_max_bytes", "result_max_bytes")
            for value in NO_SIZE
        ],
        *[("max_pending", value, "must be a whole number of at least 1") for value in [*NO_SIZE, 0]],
        *[("record_items", value, "must be True or False") for value in (0, 1, None, "yes")],
        *[("max_suspended", value, "must be a whole number of at least 1") for value in [*NO_SIZE, 0]],
        *[
            ("max_suspended_age", value, "must be a number of seconds above 0")
            for value in (0, -1.0, True, "60", None, float("nan"))
        ],
        *[("transport", value, "must be one of stdio, websocket, http, sse, or None") for value in ("", "tcp", 5, True)],
        *[("redact", value, "must be a function, or None") for value in (0, "yes", False)],
    ],
)
def test_a_wrong_value_is_refused_naming_its_field(field: str, value: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**{field: value})
    assert (caught.value.field, caught.value.problem) == (field, problem)
    assert str(caught.value) == f"{field} {problem}"
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, OplogError)


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config().source = "x"  # type: ignore[misc]


def test_an_operation_needs_what_every_record_has_and_leaves_out_the_rest() -> None:
    made = Operation("id-1", "ws-1", "sdk", "local", "unknown", False, BEGAN, BEGAN, 0)
    assert made == operation()
    rest = [field.name for field in attrs.fields(Operation) if field.default is None]
    assert rest == [
        "user_id", "thread_id", "request_id", "arguments", "arguments_meta", "result_summary", "result_meta",
        "context", "approval",
    ]  # fmt: skip


def test_a_repr_shows_nothing_that_a_peer_wrote() -> None:
    secret = "hunter2"
    texts = ["workspace_id", "source", "env_id", "tool", "user_id", "thread_id", "request_id", "result_summary"]
    made = operation(
        **dict.fromkeys(texts, secret),
        arguments=secret.encode(),
        arguments_meta=ArgumentsMeta(size_bytes=1, sha256=secret),
        result_meta=ResultMeta(content_types=(secret,), title=secret),
        context=Context(client=secret),
        approval=Approval(by=DecidedBy.CLIENT, waited_ms=1, reason=secret),
    )
    assert secret not in repr(made)
    assert secret not in repr(made.context)
    assert secret not in repr(made.approval)
    assert repr(made) == (f"Operation(id='id-1', is_error=False, started_at={BEGAN!r}, completed_at={BEGAN!r}, duration_ms=0)")


def test_the_outcomes_are_the_words_of_the_wire() -> None:
    assert [str(outcome) for outcome in Outcome] == [
        "rpc_error", "tool_error", "failed", "declined", "interrupted", "cancelled", "unanswered", "evicted", "input_required",
        "unfetched",
    ]  # fmt: skip


def test_to_shrink_leaves_size_and_digest_of_the_payload_and_nothing_that_quotes_it() -> None:
    approval = Approval(decision="accept", by=DecidedBy.CLIENT, waited_ms=1, reason="rm -rf", risk="high")
    whole = operation(
        arguments=b'"rm"',
        result_summary="gone",
        result_meta=ResultMeta(title="rm -rf", exit_code=3),
        approval=approval,
    )
    assert shrink(whole) == operation(
        arguments_meta=ArgumentsMeta(size_bytes=4, sha256=sha256(b'"rm"').hexdigest()),
        result_meta=ResultMeta(exit_code=3, truncated=True, total_bytes=4, sha256=sha256(b"gone").hexdigest()),
        approval=Approval(decision="accept", by=DecidedBy.CLIENT, waited_ms=1, risk="high"),
    )


def test_to_shrink_leaves_no_empty_meta() -> None:
    assert shrink(operation(result_meta=ResultMeta(title="rm -rf"))) == operation()


def test_to_shrink_keeps_the_better_digest_of_a_text_that_was_cut() -> None:
    cut = ResultMeta(truncated=True, total_bytes=9, sha256="f" * 64)
    assert shrink(operation(result_summary="cut", result_meta=cut)) == operation(result_meta=cut)


def test_to_shrink_what_has_no_payload_gives_the_same_object() -> None:
    for bare in (operation(), operation(result_meta=ResultMeta(exit_code=0), approval=Approval(by=DecidedBy.NONE, waited_ms=0))):
        assert shrink(bare) is bare


def test_a_summary_with_half_a_character_is_shrunk() -> None:
    shrunk = shrink(operation(result_summary="\ud800"))
    assert shrunk.result_meta == ResultMeta(truncated=True, total_bytes=1, sha256=sha256(b"?").hexdigest())


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        *[
            (field, value, "must be a string")
            for field in ("id", "workspace_id", "source", "env_id", "tool")
            for value in (None, 5, b"x")
        ],
        *[(field, 5, "must be a string, or None") for field in ("user_id", "thread_id", "request_id", "result_summary")],
        ("is_error", 1, "must be True or False"),
        *[(field, "now", "must be a datetime") for field in ("started_at", "completed_at")],
        *[
            (field, datetime(2026, 11, 22), "must be a datetime that knows its offset from UTC")  # noqa: DTZ001 -- that is the point
            for field in ("started_at", "completed_at")
        ],
        *[("duration_ms", value, "must be a whole number of milliseconds, not negative") for value in (-1, 1.0, True, None)],
        ("arguments", "{}", "must be bytes, or None"),
        ("arguments_meta", {}, "must be an ArgumentsMeta, or None"),
        ("result_meta", {}, "must be a ResultMeta, or None"),
        ("context", {}, "must be a Context, or None"),
        ("approval", {}, "must be an Approval, or None"),
    ],
)
def test_an_operation_made_by_hand_of_wrong_values_is_refused_by_name(field: str, value: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        attrs.evolve(operation(), **{field: value})
    assert (caught.value.field, caught.value.problem) == (field, problem)


def test_an_interceptor_without_a_submitter_or_a_config_is_refused_by_name() -> None:
    with pytest.raises(ConfigError) as caught:
        Interceptor(None, config())  # type: ignore[arg-type]
    assert caught.value.field == "submitter"
    with pytest.raises(ConfigError) as caught:
        Interceptor(RecordingSubmitter(), None)  # type: ignore[arg-type]
    assert caught.value.field == "config"
