"""``check_bridge``: holds what stands between a client and a server to letting the traffic alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, TypeAlias

import trio
from hypothesis import given
from hypothesis import strategies as st

from trio_oplog._recording import FrameObserver
from trio_oplog._tap import json_texts
from trio_oplog.testing._check_interceptor import search
from trio_oplog.testing._check_submitter import run
from trio_oplog.testing._endpoint import FaultyEndpoint, Hang, Respond
from trio_oplog.testing._laws import Law, LawBroken
from trio_oplog.testing._replaying import AnyFrame
from trio_oplog.testing._session import Direction, FrameData
from trio_oplog.testing._sessions import frames as any_frames

DEFAULT_EXAMPLES: Final = 20

# What any transport carries: with an end of line, for those that need one.
_LINES: Final[list[FrameData]] = [
    b'{"id" : 1,"method":"ping"}\n',
    b'{"id":"\\u00e9","params":{"n":1.0}}\n',
    b"no json\n",
    b"\n",
    b'{"id":1}\n{"id":\n2}\n',
]

_PATIENCE: Final = 60.0
_FRAME_BYTES: Final = 65_536
_FRAMES_WITHOUT_READER: Final = 1_024
_UPSTREAM_BODY: Final = "upstream-says-too-much"


class Peer(Protocol):
    """One outer end of a bridge under test: what a client or a server has in its hand."""

    async def send(self, frame: Any, /) -> object:
        """Send a frame into the bridge."""

    async def receive(self) -> object:
        """The next frame out of the bridge; anything but ``bytes`` and ``str`` when there is none any more."""

    async def aclose(self) -> object:
        """End this side."""


BridgeOpener: TypeAlias = Callable[[FrameObserver, "str | None"], AbstractAsyncContextManager[tuple[Peer, Peer]]]
_Frames: TypeAlias = list[FrameData]


def check_bridge(
    open_pair: BridgeOpener,
    *,
    frames: st.SearchStrategy[FrameData] | None = None,
    max_examples: int = DEFAULT_EXAMPLES,
    seed: int | None = None,
) -> None:
    """Hold a bridge to its promises: it forwards what it is given, and its log is a guest.

    Runs Trio itself, on a clock that jumps over waiting: call it from a plain test.

    Args:
        open_pair: Called with an interceptor and the URL of an endpoint for ``operations/list`` (``None``: it is not
            answered); makes an async context manager that runs a bridge and yields its outer ends, the client's first.
        frames: What the transport can carry; ``None`` for any text and any bytes.
        max_examples: How many random exchanges are tried; at least 1.
        seed: Makes them repeatable.

    Raises:
        LawBroken: It breaks a promise; the error names it.
    """
    carried = frames if frames is not None else any_frames().filter(_is_plain)
    for fails in (False, True):
        run(lambda fails=fails: _exchange(open_pair, _LINES[:1], _LINES[:1], fails=fails))  # type: ignore[misc]
        run(lambda fails=fails: _exchange(open_pair, _LINES, _LINES[::-1], fails=fails))  # type: ignore[misc]
    for ending in (0, 1):
        run(lambda ending=ending: _ends(open_pair, ending))  # type: ignore[misc]
    run(lambda: _holds_back(open_pair, 0))
    run(lambda: _holds_back(open_pair, 1))
    run(lambda: _answers_lists(open_pair))
    search(_traffic_holds(open_pair, carried), max_examples=max_examples, seed=seed, shrinks=False)


def _is_plain(frame: FrameData) -> bool:
    # What has no UTF-8 cannot be text on any transport.
    return isinstance(frame, bytes) or not any("\ud800" <= character <= "\udfff" for character in frame)


class _Witness:
    """An interceptor that remembers what it saw, and may fail at it."""

    def __init__(self, *, fails: bool = False) -> None:
        self.seen: dict[Direction, list[FrameData]] = {Direction.CLIENT_TO_SERVER: [], Direction.SERVER_TO_CLIENT: []}
        self.closed = 0
        self._fails = fails

    def on_client_frame(self, frame: AnyFrame, /) -> None:
        self._see(Direction.CLIENT_TO_SERVER, frame)

    def on_server_frame(self, frame: AnyFrame, /) -> None:
        self._see(Direction.SERVER_TO_CLIENT, frame)

    def close(self) -> None:
        self.closed += 1
        self._fail()

    def _see(self, direction: Direction, frame: AnyFrame) -> None:
        self.seen[direction].append(frame if isinstance(frame, str) else bytes(frame))
        self._fail()

    def _fail(self) -> None:
        if self._fails:
            raise RuntimeError("this log is broken")


def _traffic_holds(open_pair: BridgeOpener, frames: st.SearchStrategy[FrameData]) -> Callable[[], None]:
    some = st.lists(frames, max_size=8)

    @given(upward=some, downward=some, fails=st.booleans())
    def holds(upward: _Frames, downward: _Frames, fails: bool) -> None:  # noqa: FBT001
        run(lambda: _exchange(open_pair, upward, downward, fails=fails))

    return holds


async def _exchange(open_pair: BridgeOpener, upward: _Frames, downward: _Frames, *, fails: bool) -> None:
    witness = _Witness(fails=fails)
    broken = Law.BRIDGE_LOG_INVISIBLE if fails else None
    try:
        async with open_pair(witness, None) as (client, server), trio.open_nursery() as nursery:
            nursery.start_soon(_send, client, upward)
            nursery.start_soon(_send, server, downward)
            nursery.start_soon(_expect, server, upward, witness, Direction.CLIENT_TO_SERVER, broken)
            nursery.start_soon(_expect, client, downward, witness, Direction.SERVER_TO_CLIENT, broken)
    except BaseExceptionGroup as group:
        raise _leaf(group, broken) from None
    if witness.closed != 1:
        raise LawBroken(Law.BRIDGE_END, f"the interceptor was closed {witness.closed} times")


def _leaf(group: BaseExceptionGroup[BaseException], broken: Law | None) -> BaseException:
    """The law that was broken, or what came out of the bridge as one."""
    laws, others = group.split(LawBroken)
    found: BaseException | None = laws if laws is not None else others
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    if isinstance(found, LawBroken) or not isinstance(found, Exception):
        return found or group
    return LawBroken(broken or Law.BRIDGE_BYTES, f"{found!r} came out of the bridge")


async def _send(peer: Peer, frames: _Frames) -> None:
    for frame in frames:
        await peer.send(frame)


async def _expect(peer: Peer, frames: _Frames, witness: _Witness, direction: Direction, broken: Law | None) -> None:
    seen = witness.seen[direction]
    for number, frame in enumerate(frames):
        got: object = None
        with trio.move_on_after(_PATIENCE) as patience:
            got = await peer.receive()
        if patience.cancelled_caught or not isinstance(got, bytes | str):
            raise LawBroken(broken or Law.BRIDGE_ORDER, f"frame {number} of {len(frames)}, {direction.arrow}, never arrived")
        if got != frame or isinstance(got, str) is not isinstance(frame, str):
            law = Law.BRIDGE_ORDER if got in frames else Law.BRIDGE_BYTES
            raise LawBroken(broken or law, f"frame {number}, {direction.arrow}, is {got!r} and was {frame!r}")
        if not _were_shown(frames[: number + 1], seen):
            raise LawBroken(
                Law.BRIDGE_SHOWS, f"frame {number}, {direction.arrow}, arrived, and the interceptor saw {seen[-1:]!r}"
            )


def _were_shown(frames: _Frames, seen: _Frames) -> bool:
    """Whether the interceptor saw these frames first, each as it is or one JSON text at a time."""
    at = 0
    for frame in frames:
        texts: _Frames = [*json_texts(frame)] if isinstance(frame, str) else [*json_texts(frame)]  # noqa: RUF034 -- a T each
        if seen[at : at + 1] == [frame]:
            at += 1
        elif seen[at : at + len(texts)] == texts:
            at += len(texts)
        else:
            return False
    return True


async def _ends(open_pair: BridgeOpener, ending: int) -> None:
    """One side ends; what it sent last still arrives, and then the end does."""
    witness = _Witness()
    side = ("client", "server")[ending]
    async with open_pair(witness, None) as pair:
        leaving, staying = pair[ending], pair[1 - ending]
        last = b'{"method":"last"}\n'
        got: list[object] = []
        with trio.move_on_after(_PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_receive_all, staying, got)
                await leaving.send(last)
                await leaving.aclose()
    if got[:1] != [last] or isinstance(got[-1], bytes | str) or witness.closed != 1:
        detail = f"the {side} sent a frame and ended; the other side got {got!r}"
        raise LawBroken(Law.BRIDGE_END, f"{detail}, the interceptor was closed {witness.closed} times")


async def _receive_all(peer: Peer, got: list[object]) -> None:
    while isinstance(frame := await peer.receive(), bytes | str):
        got.append(frame)
    got.append(None)


async def _holds_back(open_pair: BridgeOpener, writing: int) -> None:
    """Nobody reads on one side; then the other one must not be able to write for ever."""
    taken = 0
    async with open_pair(_Witness(), None) as pair:
        writer = pair[writing]
        with trio.move_on_after(_PATIENCE):
            for _ in range(_FRAMES_WITHOUT_READER):
                await writer.send(b"x" * (_FRAME_BYTES - 1) + b"\n")
                taken += 1
    if taken == _FRAMES_WITHOUT_READER:
        raise LawBroken(Law.BRIDGE_MEMORY, f"{taken} frames of {_FRAME_BYTES} bytes were taken, and nobody read one")


_LIST: Final = '{"jsonrpc":"2.0","id":7,"method":"operations/list","params":{}}'
_PING: Final = '{"jsonrpc":"2.0","id":8,"method":"ping"}'


async def _answers_lists(open_pair: BridgeOpener) -> None:
    """Only where the bridge answers ``operations/list`` at all; else the request reaches the server, and that is well."""
    async with FaultyEndpoint() as endpoint:
        for behaviour in (
            Hang(),
            Respond(status=200, body=_UPSTREAM_BODY.encode()),
            Respond(status=500, body=_UPSTREAM_BODY.encode()),
        ):
            endpoint.behaviour = behaviour
            async with open_pair(_Witness(), endpoint.url) as (client, server):
                await client.send(_frame_like(_LIST))
                await _ping(client, server)
                answer: object = None
                with trio.move_on_after(_PATIENCE):
                    answer = await client.receive()
                _check_answer(answer)


def _frame_like(text: str) -> bytes:
    return text.encode() + b"\n"


async def _ping(client: Peer, server: Peer) -> None:
    """A request and its answer pass while the list is being fetched."""
    got: list[object] = []
    with trio.move_on_after(1.0):
        await client.send(_frame_like(_PING))
        got.append(await server.receive())
    if not got or not isinstance(got[0], bytes | str) or json.loads(got[0]) != json.loads(_PING):
        raise LawBroken(Law.BRIDGE_LIST_GOES_ON, f"a second after operations/list a ping has not passed: the server got {got!r}")


def _check_answer(answer: object) -> None:
    try:
        read = json.loads(answer)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        read = None
    valid = isinstance(read, dict) and read.get("id") == 7 and ("result" in read) != ("error" in read)
    if not valid or _UPSTREAM_BODY in str(read):
        raise LawBroken(Law.BRIDGE_LIST_ANSWERS, f"operations/list was answered with {answer!r}")
