"""When a failed delivery is tried again."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from trio_oplog import ConfigError, Retry
from trio_oplog._delivery.retry import Breaker


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_delay_lies_between_zero_and_the_exponential_up_to_the_longest(failures, scale):
    retry = Retry(base_delay=0.5, max_delay=30, random=lambda: scale)
    assert 0 <= retry.delay(failures) <= min(30, 0.5 * 2 ** min(failures - 1, 60))


def test_delays_double_until_the_longest():
    retry = Retry(base_delay=1, max_delay=10, random=lambda: 1.0)
    assert [retry.delay(failures) for failures in range(1, 7)] == [1, 2, 4, 8, 10, 10]


def test_a_source_of_chance_that_is_out_of_bounds_is_cut_to_them():
    assert Retry(random=lambda: 7.0).delay(1) == 0.5
    assert Retry(random=lambda: -7.0).delay(1) == 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("100000", 120),
        ("9" * 5000, 120),
        ("-7", 0),
        ("1.5", 0),
        ("\u0667", 0),
        ("soon", 0),
        ("", 0),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10),
        ("Sunday, 06-Nov-94 08:49:47 GMT", 10),
        ("Sun Nov  6 08:49:47 1994", 10),
        ("Sun, 06 Nov 1994 08:49:47 -0000", 10),
        ("Sun, 06 Nov 1994 08:49:27 GMT", 0),
        ("Sun, 06 Nov 2094 08:49:27 GMT", 120),
        ("Sun, 06 Nov 99999 08:49:27 GMT", 0),
        ("Sun, 99 Nov 1994 08:49:27 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_capped(header, seconds):
    assert Retry(clock=lambda: 784111777.0).pause(header) == seconds


@given(st.text())
def test_no_retry_after_raises(header):
    assert 0 <= Retry().pause(header) <= 120


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("attempts", [0, -1, True, 1.5]),
        ("time_limit", [0, -1, float("inf"), float("nan"), "1", True]),
        ("base_delay", [0]),
        ("max_delay", [0]),
        ("max_retry_after", [0]),
        ("statuses", [5, [200], ["500"], [600]]),
        ("open_after", [0, True]),
        ("random", [5]),
        ("clock", [5]),
    ],
)
def test_a_wrong_value_is_refused_by_name(field, values):
    for value in values:
        with pytest.raises(ConfigError) as caught:
            Retry(**{field: value})
        assert caught.value.field == field


@pytest.fixture
def lines():
    return []


@pytest.fixture
def breaker(lines):
    retry = Retry(base_delay=1, max_delay=8, open_after=2, random=lambda: 1.0)
    return Breaker(retry, "http://x/", lambda line, *values: lines.append(line % values))


async def test_a_breaker_opens_after_failures_in_a_row_and_says_so_once(breaker, autojump_clock, lines):
    for _ in range(3):
        assert not await breaker.admit()
    breaker.failure("no", 0, probe=False)
    breaker.success(probe=False)
    breaker.failure("no", 0, probe=False)
    assert not breaker.is_open
    breaker.failure("no", 0, probe=False)
    assert breaker.is_open
    breaker.failure("no", 0, probe=False)  # one that was under way
    assert await breaker.admit()
    assert trio.current_time() == 1
    breaker.failure("no", 0, probe=True)
    assert await breaker.admit()
    assert trio.current_time() == 3
    breaker.success(probe=True)
    assert not await breaker.admit()
    assert lines == [
        "http://x/ does not take operations (no); trying one request at a time",
        "http://x/ answers again after 3.0 seconds",
    ]


async def test_a_pause_that_was_asked_for_opens_it_at_once(breaker, autojump_clock):
    breaker.failure("no", 5, probe=False)
    assert await breaker.admit()
    assert trio.current_time() == 5
    breaker.unknown(probe=True)


async def test_those_who_wait_take_turns_at_probing(breaker, autojump_clock):
    probes = []

    async def send(name):
        for _ in range(2):
            probe = await breaker.admit()
            assert probe
            probes.append(name)
            breaker.failure("no", 0, probe=probe)

    breaker.failure("no", 1, probe=False)
    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(send, name)
            await trio.testing.wait_all_tasks_blocked()
    assert probes == list("abcabc")


async def test_all_go_once_one_is_through(breaker, autojump_clock):
    async def send():
        probe = await breaker.admit()
        probes.append(probe)
        if probe:
            breaker.success(probe=probe)

    probes = []
    breaker.failure("no", 1, probe=False)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(send)
    assert sorted(probes) == [False] * 4 + [True]
    assert trio.current_time() == 1


async def test_a_straggler_that_succeeds_ends_the_wait_of_the_probe(breaker, autojump_clock):
    breaker.failure("no", 5, probe=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.admit)
        await trio.sleep(1)
        breaker.success(probe=False)
    assert trio.current_time() == 1


async def test_a_probe_that_is_cancelled_before_it_goes_lets_the_next_one(breaker, autojump_clock):
    breaker.failure("no", 5, probe=False)
    with trio.move_on_after(1):
        await breaker.admit()
    assert await breaker.admit()
    breaker.unknown(probe=True)
