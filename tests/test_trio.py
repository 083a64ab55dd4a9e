"""Under another event loop than Trio's, what needs Trio says so before anything else happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from trio_oplog import Client, Config, ListClient, ListQuery, Submitter, TrioRequiredError
from trio_oplog.gateway import Anyone, ChildUpstream, Gateway, Identity, bridge, open_child
from trio_oplog.testing import RecordingSubmitter

ADDRESS = "http://127.0.0.1:9/operations"


async def enter(manager: Any) -> None:
    async with manager:
        raise AssertionError("it was entered")


def gateway() -> Gateway:
    submitter: Submitter = RecordingSubmitter()
    config = Config(source="sdk", workspace_id="ws-1")
    return Gateway(ChildUpstream(["cat"]), Anyone(Identity(workspace_id="ws-1")), submitter, config)


USES: dict[str, Callable[[Any], Awaitable[object]]] = {
    "Client": lambda _: enter(Client(ADDRESS, "s")),
    "ListClient": lambda _: ListClient(ADDRESS, "s").fetch(ListQuery(workspace_id="ws-1")),
    "Gateway": lambda _: gateway().serve([]),
    "open_child": lambda started: enter(open_child(["touch", str(started)])),
    "bridge": lambda _: bridge(None, None, None),  # type: ignore[arg-type]  # it does not come to look at them
}


@pytest.mark.parametrize("what", list(USES))
def test_what_needs_trio_says_so_under_asyncio_and_does_nothing(what: str, tmp_path: Path) -> None:
    async def use() -> None:
        await USES[what](tmp_path / "started")

    with pytest.raises(TrioRequiredError, match=rf'^{what} needs Trio: .*anyio\.run\(\.\.\., backend="trio"\)$') as caught:
        asyncio.run(use())
    assert caught.value.what == what
    assert not (tmp_path / "started").exists()
