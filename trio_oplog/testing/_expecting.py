"""What must come of a call and its end: the rules of every field, written down once more, for the oracle alone."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from attrs import evolve, frozen

from trio_oplog._operation import Approval, ArgumentsMeta, Config, Context, Outcome, ResultMeta
from trio_oplog.testing._facts import Arguments, CallFacts, Ending, OpenCall, Question
from trio_oplog.testing._json_text import clean, cut
from trio_oplog.testing._laws import Law
from trio_oplog.testing._session import Expected, Feature

NAME_MAX_BYTES: Final = 1024

_NO_ERROR: Final = (None, Outcome.INPUT_REQUIRED, Outcome.UNFETCHED)


@frozen(kw_only=True)
class Peers:
    """What a connection's handshake has said so far, each as "name/version".

    Attributes:
        client: Who the client is.
        server: Who the server is.
        protocol: The version that they agreed on.
        server_name: The name that an MCP server gave, for ``env_id``.
    """

    client: str | None = None
    server: str | None = None
    protocol: str | None = None
    server_name: str | None = None


def expect(
    config: Config, call: OpenCall, ending: Ending, facts: CallFacts, peers: Peers, now: float
) -> tuple[Expected, set[Feature]]:
    """The operation that must come of a call, and what it shows."""
    ended_at = now if ending.at is None else ending.at
    features: set[Feature] = set()
    approval, refused = _approval(call, ended_at, features)
    if refused:
        ending = evolve(ending, outcome=Outcome.DECLINED, laws=(Law.REFUSED, *ending.laws))
        features.add(Feature.REFUSAL)
    arguments, meta = _kept_arguments(config, facts.arguments, features)
    summary, result = _kept_result(config, call, ending, ended_at, features)
    server = ending.server or facts.server or (peers.server_name if call.dialect is Feature.MCP else None)
    made = Expected(
        workspace_id=config.workspace_id,
        source=facts.source,
        env_id=_name(facts.arguments.environment_id or server or config.default_env_id),
        tool=_name(facts.tool),
        is_error=ending.outcome not in _NO_ERROR,
        user_id=config.user_id or _optional_name(facts.user_id),
        thread_id=_optional_name(facts.thread_id),
        request_id=_name(facts.request_id),
        arguments=arguments,
        arguments_meta=meta,
        result_summary=summary,
        result_meta=result,
        context=_context(config, facts, ending, peers, features),
        approval=approval,
        composed=facts.arguments.composed,
        execution=ending.execution,
        began=call.began,
        began_at=call.began_at,
        ended_at=ended_at,
        laws=_at_stake(call, ending, facts, meta, result),
    )
    return made, features


def _context(config: Config, facts: CallFacts, ending: Ending, peers: Peers, features: set[Feature]) -> Context | None:
    said = identity(ending.server, ending.server_version) if ending.server else None
    context = Context(
        client=facts.client or peers.client,
        server=said or peers.server,
        protocol=facts.protocol or peers.protocol,
        session=facts.session,
        transport=config.transport,
        trace_id=facts.trace_id,
        parent_span_id=facts.parent_span_id,
    )
    if context.client or context.server:
        features.add(Feature.CONTEXT)
    if context.trace_id:
        features.add(Feature.TRACE)
    return None if context == Context() else context


def identity(name: str, version: str | None) -> str:
    """How ``context`` says a name and a version."""
    return f"{name}/{version}" if version else name


def _approval(call: OpenCall, ended_at: float, features: set[Feature]) -> tuple[Approval | None, bool]:
    judgements = call.judgements()
    if not judgements:
        return None, False
    features.add(Feature.APPROVAL)
    last = judgements[-1]
    return Approval(
        decision=last.decision,
        by=last.by,
        waited_ms=milliseconds(_end(last, ended_at) - last.asked_at),
        reason=_optional_name(last.reason),
        risk=_optional_name(last.risk),
        count=len(judgements) if len(judgements) > 1 else None,
    ), next((each.refuses for each in reversed(judgements) if each.decision is not None), False)


def milliseconds(seconds: float) -> int:
    """Whole milliseconds; the virtual clocks stand at multiples of 1/8 second, so that no digit is lost."""
    return int(max(seconds, 0.0) * 1000)


def _end(question: Question, ended_at: float) -> float:
    return max(question.asked_at, min(ended_at, ended_at if question.decided_at is None else question.decided_at))


def _waited_ms(call: OpenCall, ended_at: float, features: set[Feature]) -> int | None:
    spans = sorted((each.asked_at, _end(each, ended_at)) for each in call.questions if each.waits)
    if not spans:
        return None
    features.add(Feature.WAIT)
    total, covered = 0.0, 0.0
    for start, end in spans:
        total += max(end - max(start, covered), 0.0)
        covered = max(covered, end)
    return milliseconds(total)


def _kept_arguments(config: Config, arguments: Arguments, features: set[Feature]) -> tuple[bytes | None, ArgumentsMeta | None]:
    if arguments.raw is not None:
        return None, _digest(arguments.raw)
    if arguments.text is None:
        return None, None
    data = arguments.text.encode()
    if len(data) <= config.args_max_bytes and arguments.strict:
        return data, None
    features.add(Feature.BIG_ARGUMENTS if arguments.strict else Feature.ODD_SPELLING)
    return None, _digest(data)


def _digest(data: bytes) -> ArgumentsMeta:
    return ArgumentsMeta(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def _kept_result(
    config: Config, call: OpenCall, ending: Ending, ended_at: float, features: set[Feature]
) -> tuple[str | None, ResultMeta | None]:
    text = clean(ending.text)
    data = text.encode()
    known: dict[str, Any] = {
        "outcome": ending.outcome,
        "error_code": ending.error_code,
        "exit_code": ending.exit_code,
        "content_types": ending.content_types,
        "reported_duration_ms": ending.reported_duration_ms,
        "duplicate_id": True if call.duplicate else None,
        "waited_ms": _waited_ms(call, ended_at, features),
        "rounds": call.rounds if call.rounds > 1 else None,
        "task_id": call.task_id,
        "title": call.said.title,
        "id_respelled": call.respelled or None,
        "replaced": ending.replaced or None,
    }
    if ending.content_types:
        features.add(Feature.NON_TEXT_RESULT)
    if len(data) > config.result_max_bytes:
        features.add(Feature.BIG_RESULT)
        text = cut(text, config.result_max_bytes)
        known.update(truncated=True, total_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    meta = ResultMeta(**known)
    # Text of which nothing fits is not the same as no text.
    return text if data else None, None if meta == ResultMeta() else meta


def _name(text: str) -> str:
    return cut(clean(text), NAME_MAX_BYTES)


def _optional_name(text: str | None) -> str | None:
    return None if text is None else _name(text)


def _at_stake(
    call: OpenCall, ending: Ending, facts: CallFacts, meta: ArgumentsMeta | None, result: ResultMeta | None
) -> tuple[Law, ...]:
    laws = [*ending.laws]
    if call.alike:
        laws.append(Law.EXACT_IDS)
    if call.duplicate:
        laws.append(Law.DUPLICATE_IDS)
    laws += facts.laws
    if call.rounds > 1:
        laws.append(Law.ROUNDS)
    if call.task_id is not None:
        laws.append(Law.TASKS)
    if meta is not None:
        laws.append(Law.ARGUMENTS_LIMIT)
    if result is not None and result.truncated:
        laws.append(Law.RESULT_CUT)
    if len(facts.tool.encode("utf-8", "surrogatepass")) > NAME_MAX_BYTES or clean(facts.tool) != facts.tool:
        laws.append(Law.NAMES)
    return tuple(laws)
