"""``trio-oplog replay``: run recorded sessions through the real path.

Frames go to an Interceptor and HTTP exchanges to an HttpTap, in their order and at their recorded times; operations go through
a Client over HTTP to the endpoint, and what is shown came back through ``operations/list``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import trio
from attrs import define, frozen
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trio_oplog._cli import capture
from trio_oplog._cli.account import counted, lost
from trio_oplog._cli.destination import Destination, open_destination
from trio_oplog._cli.options import ca_file_option, secret_option, to_option, utc_option, workspace_option
from trio_oplog._cli.output import make_console
from trio_oplog._cli.player import Player
from trio_oplog._cli.table import Shown, print_operations, read_reply
from trio_oplog._delivery import Client, Statistics
from trio_oplog._errors import ListError
from trio_oplog._json import ABSENT, Reader
from trio_oplog._listing import LIMIT_MAX, METHOD, ListClient, ListQuery, try_handle_operations_list
from trio_oplog._operation import Config, Operation
from trio_oplog._recording import HttpTap, Interceptor

SOURCE: Final = "replay"

# Fixed for ever: that a session replayed again is stored once rests on it.
_NAMESPACE: Final = uuid.UUID("0d7d4c5c-9a86-4a39-8a6b-3a5f3f6f7c11")
_DRAIN_TIMEOUT: Final = 60.0
_LONG: Final = 2_000
"""From so many frames on it takes long enough to want to see it move."""
_READ_AT_ONCE: Final = 100


_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("replay")
@click.argument("captures", metavar="CAPTURE...", nargs=-1, required=True, type=_FILE)
@to_option
@workspace_option
@secret_option
@ca_file_option
@utc_option
def command(
    *, captures: tuple[Path, ...], dest: str | None, workspace: str, secret_file: Path | None, ca_file: Path | None, utc: bool
) -> None:
    """Run recorded sessions through the real path and show the operations that came back from the store.

    A CAPTURE has one JSON object a line: {"dir": "c2s" or "s2c", "t": seconds since the start, "frame": the text}, or what
    crossed in HTTP exchanges, as the documentation says.
    Replaying a session again changes nothing: its operations have the same ids each time.
    """
    outcome = trio.run(_replay, captures, dest, workspace, secret_file, ca_file)
    if outcome.shown:
        print_operations(outcome.shown, make_console(), utc=utc)
    click.echo(outcome.summary, err=True)
    if outcome.lost:
        raise click.ClickException(outcome.lost)


@frozen(kw_only=True)
class _Outcome:
    shown: Sequence[Shown]
    summary: str
    lost: str


@define
class _Tape:
    """The clocks and ids of a session that is replayed: they show what they showed when it was recorded."""

    session: capture.Capture
    workspace: str
    now: float = 0.0
    ids: int = 0

    def clock(self) -> datetime:
        return datetime.fromtimestamp(self.session.began_at + self.now, UTC)

    def monotonic(self) -> float:
        return self.now

    def new_id(self) -> str:
        self.ids += 1
        return str(uuid.uuid5(_NAMESPACE, f"{self.workspace}\n{self.session.digest}\n{self.ids}"))


class _Tray:
    """Takes what one frame ends, until the Client has room for it."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def submit(self, operation: Operation, /) -> None:
        self.operations.append(operation)


async def _replay(
    paths: Sequence[Path], dest: str | None, workspace: str, secret_file: Path | None, ca_file: Path | None
) -> _Outcome:
    sessions = [capture.survey(path) for path in paths]
    frames = sum(session.frames for session in sessions)
    recorded: dict[str, datetime] = {}
    async with open_destination(dest, secret_file, ca_file) as destination:
        list_client = destination.list_client()
        # A wrong address or secret is better known before than after.
        await list_client.fetch(ListQuery(workspace_id=workspace, limit=1))
        async with _open_client(destination) as client:
            with _progress(frames) as advance:
                for session in sessions:
                    await _play(session, workspace, client, recorded, advance)
        shown = await _list(list_client, workspace, recorded)
    account = client.statistics()
    return _Outcome(
        shown=shown,
        summary=_summary(len(sessions), frames, len(recorded), account, len(shown)),
        lost=lost(client),
    )


def _open_client(destination: Destination) -> Client:
    http, ca_file = destination.http, destination.ca_file
    return Client(destination.url, destination.secret, http=http, ca_file=ca_file, drain_timeout=_DRAIN_TIMEOUT)


async def _play(
    session: capture.Capture, workspace: str, client: Client, recorded: dict[str, datetime], advance: Callable[[], None]
) -> None:
    tape, tray = _Tape(session, workspace), _Tray()

    async def deliver() -> None:
        for operation in tray.operations:
            recorded.setdefault(operation.id, operation.started_at)
            await client.wait_submit(operation)
        tray.operations.clear()

    config = Config(source=SOURCE, workspace_id=workspace)
    player = Player(
        Interceptor(tray, config, clock=tape.clock, monotonic=tape.monotonic, new_id=tape.new_id),
        HttpTap(tray, config, clock=tape.clock, monotonic=tape.monotonic, new_id=tape.new_id),
    )
    for number, line in enumerate(capture.read(session.path)):
        tape.now = line.t
        player.show(line)
        await deliver()
        advance()
        if number % _READ_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
    player.close()
    await deliver()


async def _list(list_client: ListClient, workspace: str, recorded: dict[str, datetime]) -> list[Shown]:
    """What the store says of the operations, the newest first; at most ``LIMIT_MAX`` of them."""
    if not recorded:
        return []
    since = min(recorded.values()).astimezone(UTC).isoformat().replace("+00:00", "Z")
    page = await _ask(list_client, workspace, {"since": since, "limit": LIMIT_MAX})
    found = [operation for operation in page if operation.id in recorded]
    # Younger operations of others may have filled the page.
    newest_first = sorted(recorded, key=lambda name: recorded[name], reverse=True)
    for name in set(newest_first[:LIMIT_MAX]) - {operation.id for operation in found}:
        found += await _ask(list_client, workspace, {"id": name})
    # The sort keeps the store's order where the times are equal.
    return sorted(found, key=lambda operation: recorded[operation.id], reverse=True)[:LIMIT_MAX]


class _Answer(msgspec.Struct):
    result: msgspec.Raw = ABSENT


_answer = Reader(_Answer)


async def _ask(list_client: ListClient, workspace: str, params: dict[str, Any]) -> list[Shown]:
    request = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": METHOD, "params": params})
    answer = await try_handle_operations_list(list_client, workspace, request)
    assert answer is not None  # noqa: S101 -- it is such a request
    result = _answer.read(answer)
    if result is None or not len(result.result):
        raise ListError("the operations are stored, but cannot be listed")
    return read_reply(result.result)


@contextmanager
def _progress(frames: int) -> Iterator[Callable[[], None]]:
    """A bar on the terminal, when there is one and it takes long."""
    console = Console(stderr=True)
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=frames < _LONG or not console.is_terminal) as progress:
        task = progress.add_task("replaying", total=frames)
        yield lambda: progress.advance(task)


def _summary(sessions: int, frames: int, recorded: int, account: Statistics, shown: int) -> str:
    parts = [
        counted(sessions, "session"),
        counted(frames, "frame"),
        counted(recorded, "operation"),
        f"{account.delivered} delivered",
        f"{sum(account.dropped.values())} dropped",
    ]
    if shown < account.delivered:
        parts.append(f"{shown} shown")
    return ", ".join(parts)
