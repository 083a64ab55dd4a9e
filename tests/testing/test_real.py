"""Our own implementations keep every law: with the budget of the checks, and ``nox -s laws`` gives them ten times as much."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.testing.budget import TIMES
from tests.testing.faulty.bridges import End, NaiveBridge, connection
from tests.testing.faulty.reference import Reference, ReferenceGateway
from tests.testing.faulty.stores import NaiveStore
from tests.testing.faulty.submitters import NaiveSubmitter
from trio_oplog import Client, Config, Interceptor, ListClient, Submitter
from trio_oplog.collector import open_store
from trio_oplog.gateway import Closed, OperationsList, bridge
from trio_oplog.testing import (
    _check_bridge,
    _check_interceptor,
    _check_store,
    _check_submitter,
    check_bridge,
    check_interceptor,
    check_store,
    check_submitter,
)

pytestmark = pytest.mark.once


class FrameEnd:
    """The inner end of a connection in memory, as the bridge of the gateway wants it."""

    def __init__(self, end: End) -> None:
        self.end = end

    async def send(self, frame: Any) -> None:
        await self.end.send(frame)

    async def receive(self) -> Any:
        frame = await self.end.receive()
        return Closed() if frame is None else frame

    async def send_closed(self, closed: Closed) -> None:
        await self.end.sends.aclose()

    async def aclose(self) -> None:
        await self.end.sends.aclose()
        await self.end.receives.aclose()


@asynccontextmanager
async def open_bridge(interceptor: Any, list_url: str | None) -> AsyncIterator[tuple[End, End]]:
    (client, inner_client), (server, inner_server) = connection(), connection()
    operations = OperationsList(list_client=ListClient(list_url, "secret"), workspace_id="ws-1") if list_url else None
    run = partial(bridge, FrameEnd(inner_client), FrameEnd(inner_server), interceptor, operations=operations)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield client, server
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_file_store() -> AsyncIterator[Any]:
    with tempfile.TemporaryDirectory() as folder:
        async with open_store(f"sqlite:///{Path(folder, 'operations.sqlite3')}") as store:
            yield store


class InterceptorGateway:
    """Interceptors that share one table of what waits for tasks and rounds."""

    def __init__(
        self, submitter: Submitter, config: Config, *, clock: Callable[[], datetime], monotonic: Callable[[], float]
    ) -> None:
        # Until the product has it: the tests of the kit must not fail to be collected for want of it.
        from trio_oplog import SuspendedCalls  # type: ignore[attr-defined]

        self.table = SuspendedCalls(max_calls=config.max_suspended, max_age=config.max_suspended_age, monotonic=monotonic)
        self.connect = partial(Interceptor, submitter, config, suspended=self.table, clock=clock, monotonic=monotonic)

    def close(self) -> None:
        self.table.close()


@pytest.mark.parametrize(
    ("factory", "gateway"), [(Interceptor, InterceptorGateway), (Reference, ReferenceGateway)], ids=["Interceptor", "Reference"]
)
def test_the_interceptor_keeps_the_laws(factory: Any, gateway: Any) -> None:
    times = TIMES if factory is Interceptor else 1
    check_interceptor(factory, gateway=gateway, max_examples=times * _check_interceptor.DEFAULT_EXAMPLES)


def test_an_interceptor_that_takes_no_clocks_keeps_the_laws_too() -> None:
    def gateway(submitter: Submitter, config: Config) -> ReferenceGateway:
        return ReferenceGateway(submitter, config)

    def factory(submitter: Submitter, config: Config) -> Reference:
        return Reference(submitter, config)

    check_interceptor(factory, gateway=gateway, max_examples=20)


@pytest.mark.parametrize("factory", [Client, NaiveSubmitter])
def test_the_client_keeps_the_laws(factory: Any) -> None:
    times = TIMES if factory is Client else 1
    check_submitter(factory, max_examples=times * _check_submitter.DEFAULT_EXAMPLES)


@pytest.mark.parametrize("open_pair", [open_bridge, NaiveBridge.open])
def test_the_bridge_keeps_the_laws(open_pair: Any) -> None:
    times = TIMES if open_pair is open_bridge else 1
    check_bridge(open_pair, max_examples=times * _check_bridge.DEFAULT_EXAMPLES)


@pytest.mark.parametrize("opener", [open_file_store, NaiveStore.open])
def test_the_store_keeps_the_laws(opener: Any) -> None:
    times = TIMES if opener is open_file_store else 1
    check_store(opener, max_examples=times * _check_store.DEFAULT_EXAMPLES)
