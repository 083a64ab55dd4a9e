"""What is known of an interceptor that takes no clocks, and what is not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from tests.testing.faulty.reference import Reference
from trio_oplog import Approval, Config, DecidedBy, Operation, ResultMeta
from trio_oplog.testing import Direction, Expected, Law, LawBroken, Session, SessionFrame, play
from trio_oplog.testing._replaying import takes_clocks

CONFIG = Config(source="sdk", workspace_id="ws-1")
CALL = '{"method":"tools/call","id":1,"params":{"name":"echo"}}'


def session(**expected: Any) -> Session:
    facts = {"workspace_id": "ws-1", "source": "sdk", "env_id": "local", "tool": "echo", "is_error": False, "request_id": "1"}
    due = Expected(**{**facts, **expected})
    frames = (
        SessionFrame(direction=Direction.CLIENT_TO_SERVER, data=CALL),
        SessionFrame(direction=Direction.SERVER_TO_CLIENT, data='{"id":1,"result":{}}', due=(due,)),
    )
    return Session(config=CONFIG, frames=frames)


def altered(**changes: Any) -> Any:
    class Altered(Reference):
        def __init__(self, submitter: Any, config: Any) -> None:  # without clocks
            super().__init__(submitter, config)

        def operation(self, *arguments: Any) -> Operation:
            return evolve(super().operation(*arguments), **changes)

    return Altered


def test_what_cannot_be_asked_for_its_parameters_takes_no_clocks() -> None:
    assert takes_clocks(Reference)
    assert not takes_clocks(altered())
    assert not takes_clocks(dict)


def test_a_wait_need_only_be_there_and_not_too_long() -> None:
    waited = session(result_meta=ResultMeta(waited_ms=5_000), approval=Approval(by=DecidedBy.CLIENT, waited_ms=5_000))
    play(waited, altered(result_meta=ResultMeta(waited_ms=0), approval=Approval(by=DecidedBy.CLIENT, waited_ms=0)))
    for meta, approval in ((None, 0), (0, 60_000), (60_000, 0), (-1, 0)):
        result_meta = None if meta is None else ResultMeta(waited_ms=meta)
        with pytest.raises(LawBroken) as broken:
            play(waited, altered(result_meta=result_meta, approval=Approval(by=DecidedBy.CLIENT, waited_ms=approval)))
        assert broken.value.law is Law.WAITS


@pytest.mark.parametrize("changes", [{"duration_ms": 60_000}, {"started_at": None}])
def test_times_of_another_day_are_seen(changes: dict[str, Any]) -> None:
    class Shifted(altered()):  # type: ignore[misc]
        def operation(self, *arguments: Any) -> Operation:
            made = super().operation(*arguments)
            if "started_at" in changes:
                return evolve(made, started_at=made.started_at - timedelta(days=1))
            return evolve(made, **changes)

    with pytest.raises(LawBroken) as broken:
        play(session(), Shifted)
    assert broken.value.law is Law.TIMES
