"""The strategies of values: operations, ids, JSON."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st

from trio_oplog._operation import Approval, ArgumentsMeta, Context, DecidedBy, Operation, Outcome, ResultMeta
from trio_oplog.testing._choices import ChoiceSource

_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
_TEXTS: Final = ("a", "b", "tool/with.dots", "ünï😀", "\u2028", "x" * 1024, "\x00", '"\\', "%25&=")
_ARGUMENTS: Final = (
    None,
    b"{}",
    b'{"text":"hello"}',
    b'{ "b":1.0e1,\n "a":"\\ud800" }',
    '{"é":["😀"]}'.encode(),
    b"9007199254740993",
    b"false",
)
_DIGEST: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def request_ids() -> st.SearchStrategy[str | int | float]:
    """JSON-RPC ids that a call may have: strings and numbers, those that look alike among them.

    Shrinks towards 0 and the empty string.

    Returns:
        A strategy of values that ``json.dumps`` spells.
    """
    awkward = (0, 1, "1", "", -1, 2**53, 2**53 + 1, str(2**53), 2**64 + 1, 1.5, "1.5", "\ud800", "\x00", "null")
    return st.one_of(st.integers(min_value=0, max_value=9), st.sampled_from(awkward), st.integers(), st.text(max_size=8))


def json_values(*, max_leaves: int = 8, lone_surrogates: bool = False) -> st.SearchStrategy[Any]:
    """Any JSON value.

    Shrinks towards ``None``, and to few and small parts.

    Args:
        max_leaves: About how many scalars a value holds at most; at least 1.
        lone_surrogates: Whether texts may hold what has no UTF-8.

    Returns:
        A strategy of values that ``json.dumps`` spells as strict JSON.
    """
    texts = st.text(max_size=12)
    if lone_surrogates:
        texts = st.one_of(texts, st.text(st.characters(categories=("Cs", "Ll")), max_size=4).map(pairs_joined))
    numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
    scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
    return st.recursive(
        scalars,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
        max_leaves=max_leaves,
    )


def pairs_joined(text: str) -> str:
    """The text with a surrogate and its partner as the one character that they are in JSON; lone ones stay."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def operations(*, workspace_id: str | None = None) -> st.SearchStrategy[Operation]:
    """Operations as an interceptor makes them, with every field in every form.

    Shrinks to a call of the tool ``a`` without arguments or result, at the beginning of 2026.

    Args:
        workspace_id: Whose operations; ``None`` draws one of a few.

    Returns:
        A strategy of ``Operation``.
    """
    return _operations(workspace_id)


@st.composite
def _operations(draw: st.DrawFn, workspace_id: str | None) -> Operation:
    return make_operation(draw(st.binary(min_size=16, max_size=16)), draw(st.binary(min_size=32, max_size=32)), workspace_id)


def make_operation(identity: bytes, drawn: bytes, workspace_id: str | None = None) -> Operation:
    """The operation that these choices make; 16 bytes are its id."""
    choices = ChoiceSource(drawn)
    started_at = _EPOCH + timedelta(seconds=choices.number(256), microseconds=choices.pick((0, 1, 999_999, 500_000)))
    duration_ms = choices.pick((0, 1, 250, 2**31 - 1))
    optional = (None, *_TEXTS)
    arguments = choices.pick(_ARGUMENTS)
    meta = _some_meta(choices)
    return Operation(
        id=str(uuid.UUID(bytes=identity, version=4)),
        workspace_id=workspace_id or choices.pick(("ws-1", "ws-2", "ws-é")),
        source=choices.pick(("sdk", "llm", "tui")),
        env_id=choices.pick(("local", *_TEXTS)),
        tool=choices.pick(_TEXTS),
        is_error=choices.chance(2),
        started_at=started_at,
        completed_at=started_at + timedelta(milliseconds=min(duration_ms, 10_000)),
        duration_ms=duration_ms,
        user_id=choices.pick(optional),
        thread_id=choices.pick(optional),
        request_id=choices.pick((None, "", "1", *_TEXTS)),
        arguments=arguments,
        arguments_meta=ArgumentsMeta(size_bytes=70_000, sha256=_DIGEST) if arguments is None and choices.chance(3) else None,
        result_summary=choices.pick((None, "ok", "", "grün 😀\n", "y" * 4096)),
        result_meta=meta,
        context=choices.pick((None, Context(client=choices.pick(optional)), Context(server="s/1", transport="stdio"))),
        approval=_some_approval(choices),
    )


def sample(count: int) -> list[Operation]:
    """Different operations, the same in every run."""
    choices = (hashlib.sha256(b"%d" % number).digest() for number in range(count))
    return [make_operation(number.to_bytes(16, "big"), chosen) for number, chosen in enumerate(choices)]


def _some_meta(choices: ChoiceSource) -> ResultMeta | None:
    cut = choices.chance(3)
    return choices.pick(
        (
            None,
            ResultMeta(outcome=choices.pick(tuple(Outcome))),
            ResultMeta(truncated=True, total_bytes=5000, sha256=_DIGEST, duplicate_id=True if cut else None),
            ResultMeta(outcome=Outcome.RPC_ERROR, error_code=choices.pick((-32603, 0, 2**31))),
            ResultMeta(outcome=Outcome.FAILED, exit_code=3, reported_duration_ms=12),
            ResultMeta(content_types=("text", "image"), reported_duration_ms=0),
            ResultMeta(waited_ms=choices.pick((0, 7, 90_000)), rounds=2),
        )
    )


def _some_approval(choices: ChoiceSource) -> Approval | None:
    decided = Approval(decision=choices.pick(("accept", "decline", "x" * 1024)), by=DecidedBy.CLIENT, waited_ms=250, reason="why")
    return choices.pick((None, None, decided, Approval(by=DecidedBy.NONE, waited_ms=0, count=2)))
