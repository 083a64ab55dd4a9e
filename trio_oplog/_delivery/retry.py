"""Step 8: when a failed delivery is tried again, and who tries while the endpoint is down."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import trio
from attrs import Attribute, field, frozen

from trio_oplog._delivery.verdict import OUTAGES
from trio_oplog._errors import ConfigError


def positive(_: Any, attribute: Attribute[Any], value: object) -> None:
    """An attrs validator: a finite number of seconds greater than zero."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(attribute.name, "must be a positive number of seconds")


def _attempts(_: Any, attribute: Attribute[Any], value: object) -> None:
    if value is not None and (type(value) is not int or value < 1):
        raise ConfigError(attribute.name, "must be a whole number of at least 1, or None")


def _callable(_: Any, attribute: Attribute[Any], value: object) -> None:
    if not callable(value):
        raise ConfigError(attribute.name, "must be callable")


def _status_codes(_: Any, attribute: Attribute[Any], value: frozenset[object]) -> None:
    if not all(type(status) is int and 400 <= status <= 599 for status in value):
        raise ConfigError(attribute.name, "must be HTTP status codes from 400 to 599")


def _frozen_set(value: object) -> object:
    try:
        return frozenset(value)  # type: ignore[call-overload]
    except TypeError:
        raise ConfigError("statuses", "must be HTTP status codes from 400 to 599") from None


@frozen(kw_only=True)
class Retry:
    """How failed deliveries are tried again.

    Between attempts lies a random part of an exponentially growing delay ("full jitter").  While the endpoint is down, which is
    after ``open_after`` failures in a row, one request at a time goes out to see whether it is back.

    Attributes:
        attempts: The most requests that are made for one record; ``None`` for no limit but ``time_limit``.
        time_limit: How long one record is tried, in seconds from its first attempt.  A record in a spool is given up only when
            the endpoint took others in that time, between any two of its attempts: an outage never costs it.
        base_delay: The longest delay before the second attempt, in seconds; it doubles with each failure.
        max_delay: The longest delay of all, in seconds.
        max_retry_after: The longest ``Retry-After`` that is honoured, in seconds; a longer one is cut to it (RFC 9110, 10.2.3).
        statuses: The HTTP status codes that mean an outage, after which a record is tried again: 408, 425, 429 and every 5xx but
            501 and 505.  Of the others only 400, 413, 415 and 422 are a verdict on a record.
        open_after: How many failures in a row mean that the endpoint is down; at least 1.
        random: Yields a number from 0 to 1 to scale each delay with.
        clock: The time in seconds since the epoch, for a ``Retry-After`` that is a date.

    Raises:
        ConfigError: A value is wrong; the error names the field.
    """

    attempts: int | None = field(default=None, validator=_attempts)
    time_limit: float = field(default=300.0, validator=positive)
    base_delay: float = field(default=0.5, validator=positive)
    max_delay: float = field(default=30.0, validator=positive)
    max_retry_after: float = field(default=120.0, validator=positive)
    statuses: frozenset[int] = field(default=OUTAGES, converter=_frozen_set, validator=_status_codes)
    open_after: int = field(default=3)
    random: Callable[[], float] = field(default=random.random, validator=_callable, repr=False)
    clock: Callable[[], float] = field(default=time.time, validator=_callable, repr=False)

    @open_after.validator
    def _check_open_after(self, attribute: Attribute[Any], value: object) -> None:
        if type(value) is not int or value < 1:
            raise ConfigError(attribute.name, "must be a whole number of at least 1")

    def delay(self, failures: int) -> float:
        """How long to wait after that many failures, in seconds."""
        longest = min(self.max_delay, self.base_delay * 2.0 ** min(failures - 1, 64))
        return min(max(self.random(), 0.0), 1.0) * longest

    def pause(self, retry_after: str | None) -> float:
        """What a ``Retry-After`` header asks for, in seconds; 0 when it is missing, past or unreadable."""
        if retry_after is None:
            return 0.0
        text = retry_after.strip()
        if text.isascii() and text.isdecimal():
            # The cap comes before the number: thousands of digits are no reason to raise.
            return min(float(text[:16]), self.max_retry_after)
        try:
            moment = parsedate_to_datetime(text)
            at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError, TypeError):
            return 0.0
        return min(max(at - self.clock(), 0.0), self.max_retry_after)


class Breaker:
    """A circuit breaker: closed while the endpoint answers, open while it does not.

    Every request asks with ``admit()`` first and then tells how it went, from the same task, with exactly one of ``success()``,
    ``failure()`` and ``unknown()``.
    """

    def __init__(self, retry: Retry, endpoint: str, log: Callable[..., None]) -> None:
        self.is_open = False
        self.given_up = False
        self._retry = retry
        self._endpoint = endpoint
        self._log = log
        self._failures = 0
        self._told: set[str] = set()
        self._openings = 0
        self._until = -math.inf
        self._since = 0.0
        self._closed = trio.Event()
        # Trio's Lock hands over in order of arrival: a record that always fails cannot keep the probe to itself.
        self._probe = trio.Lock()

    @property
    def is_steady(self) -> bool:
        """Whether no request has failed since the endpoint last answered."""
        return self._failures == 0

    async def admit(self) -> bool:
        """Wait until a request may go out.

        Returns:
            Whether it is the probe: to be passed on to the method that tells how it went.
        """
        if not self.is_open:
            return False
        await self._probe.acquire()
        try:
            if self.is_open and not self.given_up:
                with trio.move_on_at(self._until):
                    await self._closed.wait()
        except BaseException:
            self._probe.release()
            raise
        if not self.is_open:
            self._probe.release()
        return self.is_open

    def success(self, *, probe: bool) -> None:
        """The endpoint answered, if only to refuse."""
        self._failures = 0
        if self.is_open:
            self.is_open = False
            self._openings = 0
            self._closed.set()
            self._log("%s answers again after %.1f seconds", self._endpoint, trio.current_time() - self._since)
        self.unknown(probe=probe)

    def failure(self, problem: str, pause: float, *, probe: bool) -> None:
        """The endpoint did not answer, or asked for a pause of so many seconds."""
        self._failures += 1
        if not self.is_open and (self._failures >= self._retry.open_after or pause > 0):
            self.is_open = True
            self._since = trio.current_time()
            self._closed = trio.Event()
            self._told = {problem}
            self._wait(pause)
            self._log("%s does not take operations (%s); trying one request at a time", self._endpoint, problem)
        elif probe and self.is_open:
            self._wait(pause)
            if problem not in self._told:
                # Once each: what ends one problem often shows the next, such as a server that is back with another secret.
                self._told.add(problem)
                self._log("%s still does not take operations (%s)", self._endpoint, problem)
        self.unknown(probe=probe)

    def give_up(self) -> None:
        """Let nobody wait for the endpoint any more."""
        self.given_up = True
        self._closed.set()

    def _wait(self, pause: float) -> None:
        self._openings += 1
        self._until = trio.current_time() + max(self._retry.delay(self._openings), pause)

    def unknown(self, *, probe: bool) -> None:
        """The request was cut off by us."""
        if probe:
            self._probe.release()
