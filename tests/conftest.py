"""What holds for every test."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, settings

from tests.unchecked import unchecked
from trio_oplog import Operation
from trio_oplog.testing._time import ThreadsHoldTime

PAYLOAD = "payload-to-be-seen-nowhere"

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The complete check (nox) says the same of the same code.  What is found anew is found where somebody is who mends it.
settings.register_profile("repeatable", settings.get_profile("tests"), derandomize=True)
settings.load_profile("tests")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started with & by a script, which ignores it for us: tests of Ctrl-C, and the programs that tests start, need it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _folders_of_no_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test starts neither reads the configuration of whoever runs it nor leaves anything in that user's folders."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        yield


@pytest.fixture
def make_operation() -> Callable[..., Operation]:
    """Makes operations with ids 0, 1, 2, ..."""
    numbers: Iterator[int] = itertools.count()

    def make(**changes: Any) -> Operation:
        began = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
        values: dict[str, Any] = {
            "id": str(next(numbers)),
            "workspace_id": "ws-1",
            "source": "sdk",
            "env_id": "local",
            "tool": "shell",
            "is_error": False,
            "started_at": began,
            "completed_at": began + timedelta(milliseconds=5),
            "duration_ms": 5,
            "arguments": b'{"text":"%s"}' % PAYLOAD.encode(),
            "result_summary": PAYLOAD,
        }
        return unchecked(Operation(**values), **changes)

    return make


@pytest.fixture(scope="session", autouse=True)
def _state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The programs keep their spools in the user's state folder: not in that of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
async def disk_time(autojump_clock: trio.testing.MockClock) -> None:
    """Virtual time stands still while a thread works, so that it does not matter how fast the disk is."""
    trio.lowlevel.add_instrument(ThreadsHoldTime(autojump_clock, 0))
