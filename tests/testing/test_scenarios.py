"""Each scenario alone, with choices that are the same in every run: what is covered does not depend on what Hypothesis draws."""

from __future__ import annotations

from random import Random

import pytest

from trio_oplog import Config, Interceptor
from trio_oplog.testing import _sessions
from trio_oplog.testing._builder import SessionBuilder
from trio_oplog.testing._call_scenarios import Scenario, answered_call
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._replaying import play

TIMES = 60


def by_name(scenario: Scenario) -> str:
    return scenario.__name__


# All of them on one connection; what needs several has tests of its own.
SCENARIOS = sorted({*_sessions._FRIENDLY, *_sessions._HOSTILE}, key=by_name)


def play_alone(scenario: Scenario, config: Config, *, hostile: bool) -> None:
    random = Random(scenario.__name__)
    for _ in range(TIMES):
        session = SessionBuilder(config, ChoiceSource(random.randbytes(8)), hostile=hostile)
        for _ in scenario(session, ChoiceSource(random.randbytes(64))):
            pass
        play(session.finish(), Interceptor)


@pytest.mark.parametrize("record_items", [True, False])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=by_name)
def test_the_interceptor_records_what_the_oracle_says_of_each_scenario(scenario: Scenario, *, record_items: bool) -> None:
    play_alone(scenario, Config(source="sdk", workspace_id="ws-1", record_items=record_items), hostile=True)


@pytest.mark.parametrize("scenario", sorted(set(_sessions._FRIENDLY), key=by_name), ids=by_name)
def test_the_interceptor_records_what_friends_say(scenario: Scenario) -> None:
    play_alone(scenario, Config(source="sdk", workspace_id="ws-1"), hostile=False)


def test_a_session_of_two_connections_cannot_be_played_to_one_interceptor() -> None:
    session = SessionBuilder(Config(source="sdk", workspace_id="ws-1"), ChoiceSource(b""), hostile=False, connections=2)
    session.connection = 1
    for _ in answered_call(session, ChoiceSource(b"")):
        pass
    with pytest.raises(TypeError, match="a gateway is needed to play a session of 2 connections"):
        play(session.finish(), Interceptor)
