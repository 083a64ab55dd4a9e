"""The tap: moves bytes between a client and a server, and shows them to the recorder first."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from trio_oplog._tap.guard import Guard, let_go_of_all_but
from trio_oplog._tap.journal import CLIENT, END, SERVER, TAKEN, Journal
from trio_oplog._tap.launch import Launched
from trio_oplog._tap.lists import HOLD, ListRequest, ListSieve
from trio_oplog._tap.messages import Assembler
from trio_oplog._tap.server import Server, leave_like, stop_like

CHUNK: Final = 65_536
KILL_AFTER: Final = 1.5
RECORDER_TIMEOUT: Final = 10.0
"""How long the recorder may take to deliver what is left when the server has ended, in seconds."""

# The largest pipe that who is not root can make.
_PIPE_MAX: Final = 1024 * 1024
_NEVER: Final = float("inf")
_BROKEN: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL
# Those of a fault of our own, of the server's end, and of a terminal that we may not use now, which must stop us as they do.
_NOT_PASSED_ON: Final = {
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGCHLD,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGXCPU,
    signal.SIGTTIN,
    signal.SIGTTOU,
}
_STOPS: Final = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
_UNAVAILABLE: Final = '{"jsonrpc":"2.0","id":%s,"error":{"code":-32603,"message":"The operation log is not available"}}'

_Recorder = Callable[[socket.socket], object]


def run_tap(launched: Launched, record: _Recorder, *, kill_after: float = KILL_AFTER, grace: float | None = None) -> int:
    """Put ourselves between a server and our standard input and output, so that nobody can tell that we are there.

    To be called while there is one thread only: it forks.  It ends as the server ends, by a signal if that was one.

    Args:
        launched: The server.
        record: What the recorder does, in a process of its own: called with its end of the journal.
            Every signal is blocked there.
        kill_after: How long the server may go on after SIGTERM, in seconds.  Then it is killed.
        grace: How long it may go on when its input has ended and nobody reads its output, in seconds; then it gets SIGTERM.
            ``None`` for as long as it likes.

    Returns:
        The exit status to leave with.
    """
    journal = Journal(_start_recorder(record))
    for fd in launched.inherited:
        os.close(fd)
    return leave_like(Tap(launched.server, launched.guard, journal, kill_after=kill_after, grace=grace).run())


def _start_recorder(record: _Recorder) -> socket.socket:
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        _be_recorder(record, theirs)
    theirs.close()
    return ours


def _be_recorder(record: _Recorder, line: socket.socket) -> NoReturn:
    try:
        let_go_of_all_but(2, line.fileno())
        record(line)
    except BaseException as error:  # noqa: BLE001 - its text may quote a payload, so that only its type is shown
        say(f"the log failed with {type(error).__name__}; the server runs, and nothing more is recorded")
    finally:
        os._exit(0)


class _Way:
    """One direction: where bytes come from, where they go, and what is on its way."""

    def __init__(self, source: int, sink: int) -> None:
        self.source: int | None = source
        self.sink: int | None = sink
        self.pending = b""
        self._own_sink, self._at_once = _own(sink)

    @property
    def out(self) -> int:
        """The descriptor to write to."""
        return self._own_sink

    def read(self) -> bytes | None:
        """The next bytes; none at the end; ``None`` if there are none yet."""
        assert self.source is not None  # noqa: S101 -- for the type checker
        try:
            return os.read(self.source, CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def write(self) -> None:
        """Write what is taken at once."""
        try:
            self.pending = self.pending[os.write(self._own_sink, self.pending[: self._at_once]) :]
        except BlockingIOError:
            return
        except OSError:
            self.close_sink()

    def close_source(self) -> None:
        """Read nothing more; who writes there notices."""
        if self.source is not None:
            _give_up(self.source)
            self.source = None

    def close_sink(self) -> None:
        """Write nothing more; who reads there notices."""
        if self.sink is not None:
            if self._own_sink != self.sink:
                os.close(self._own_sink)
            _give_up(self.sink)
            self.sink = None
            self.pending = b""


class Tap:
    """The loop.

    Args:
        server: What was started.
        guard: See ``guard.py``.
        journal: The way to the recorder.
        kill_after: See ``run_tap``.
        grace: See ``run_tap``.
        stdin: Where the client's bytes come from.
        stdout: Where the server's bytes go to.
        stop: Stops this process as the server was stopped, by this signal.
    """

    def __init__(
        self,
        server: Server,
        guard: Guard,
        journal: Journal,
        *,
        kill_after: float,
        grace: float | None,
        stdin: int = 0,
        stdout: int = 1,
        stop: Callable[[int], object] = stop_like,
    ) -> None:
        self._server = server
        self._guard = guard
        self._journal = journal
        self._kill_after = kill_after
        self._grace = grace
        self._stop = stop
        self._upward = _Way(stdin, server.stdin)
        self._downward = _Way(server.stdout, stdout)
        self._sieve = ListSieve()
        self._downward_messages = Assembler(0)
        self._held_until: float | None = None
        self._taken: dict[int, ListRequest] = {}
        self._number = 0
        self._answers: list[bytes] = []
        self._term_at: float | None = None
        self._kill_at: float | None = None
        self._status: int | None = None
        self._leave_at = _NEVER
        self._poll = select.poll()
        self._polled: dict[int, int] = {}
        self._signals = -1

    def run(self) -> int:
        """Move bytes until the server has ended and what it wrote has been passed on.

        Returns:
            What ``os.waitpid`` said of the server.
        """
        self._hear_signals()
        self._look_after_server()  # who has ended already may have been told of before anybody listened
        while not self._step():
            pass
        assert self._status is not None  # noqa: S101 -- for the type checker
        self._hand_over()
        self._end_journal()
        return self._status

    # Signals

    def _hear_signals(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        self._signals = reading
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for signum in signal.valid_signals() - _NOT_PASSED_ON | {signal.SIGCHLD}:
            signal.signal(signum, _nothing)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _take_signals(self) -> None:
        for signum in in_order(os.read(self._signals, 4_096)):
            if signum == signal.SIGCHLD:
                self._look_after_server()
            elif self._status is None:
                self._pass_on(signum)

    def _pass_on(self, signum: int) -> None:
        # The server has had it if it went to the group that the server is still in.
        if not self._guard.saw(signum) or os.getpgid(self._server.pid) != os.getpgrp():
            os.kill(self._server.pid, signum)
        if signum == signal.SIGTERM and self._kill_at is None:
            self._kill_at = time.monotonic() + self._kill_after

    def _look_after_server(self) -> None:
        while self._status is None:
            pid, status = os.waitpid(self._server.pid, os.WNOHANG | os.WUNTRACED)
            if not pid:
                return
            if not os.WIFSTOPPED(status):
                self._status = status
                self._guard.keep(0)
                self._leave_at = time.monotonic() + RECORDER_TIMEOUT
                self._drain()
            elif (signum := os.WSTOPSIG(status)) in _STOPS:
                self._stop(signum)  # who waits for us must see that the server has stopped

    # Moving bytes

    def _step(self) -> bool:
        """Wait for something and do it; whether that was all."""
        exited = self._status is not None
        ready = dict(self._wait(0.0 if exited and not self._owes_answers() else self._patience()))
        moved = self._move(ready)
        if self._journal.fileno() in ready:
            self._hear_recorder(ready[self._journal.fileno()])
        if self._signals in ready:
            self._take_signals()
        self._put_answers()
        self._keep_time()
        return exited and not moved and not self._owes_answers()

    def _owes_answers(self) -> bool:
        return bool(self._taken) and self._downward.sink is not None and time.monotonic() < self._leave_at

    def _wait(self, patience: float | None) -> list[tuple[int, int]]:
        wanted = {self._signals: select.POLLIN}
        if not self._journal.closed:
            wanted[self._journal.fileno()] = self._journal.events()
        for way in (self._upward, self._downward):
            if way.source is not None and not way.pending and not self._journal.full and self._status is None:
                wanted[way.source] = select.POLLIN
            if way.sink is not None:
                wanted[way.out] = select.POLLOUT if way.pending else 0
        if wanted != self._polled:
            for fd in self._polled.keys() - wanted.keys():
                self._poll.unregister(fd)
            for fd, events in wanted.items():
                if self._polled.get(fd) != events:
                    self._poll.register(fd, events)
            self._polled = wanted
        return self._poll.poll(None if patience is None else max(0.0, patience) * 1_000)

    def _move(self, ready: dict[int, int]) -> bool:
        moved = False
        for way, pull in ((self._downward, self._pull_down), (self._upward, self._pull_up)):
            if way.sink is not None and way.out in ready:
                if ready[way.out] & _BROKEN:
                    way.close_sink()
                else:
                    way.write()
                moved = True
            if way.sink is None:
                way.close_source()
            elif way.source is not None and way.source in ready:
                pull()
                moved = True
            self._close_finished(way)
        return moved

    def _close_finished(self, way: _Way) -> None:
        """Pass on the end of what a source had to say."""
        if way.source is None and not way.pending and (way is self._upward or not (self._taken or self._answers)):
            way.close_sink()

    def _pull_up(self) -> None:
        data = self._upward.read()
        if data is None:
            return
        taken: list[ListRequest] = []
        if data:
            self._journal.write(CLIENT, data)
            if not self._journal.closed:
                data, taken = self._sieve.feed(data)
            else:
                data = self._sieve.release() + data
        else:
            data, taken = self._sieve.finish()
            self._upward.close_source()
        self._held_until = time.monotonic() + HOLD if self._sieve.held else None
        for request in taken:
            self._number += 1
            self._taken[self._number] = request
            self._journal.write(TAKEN, request.data, self._number)
        self._push(self._upward, data)

    def _pull_down(self) -> None:
        data = self._downward.read()
        if data:
            self._journal.write(SERVER, data)
            ends = self._downward_messages.feed(data)
            if self._answers and ends and not self._downward_messages.at_boundary:
                data = data[: ends[-1].end] + self._take_answers() + data[ends[-1].end :]
            self._push(self._downward, data)
        elif data is not None:
            self._downward.close_source()

    def _drain(self) -> None:
        """Take what the server has left in its pipe; what comes later is of somebody else who holds it."""
        size = 0
        while self._downward.source is not None and size < _PIPE_MAX and (data := self._downward.read()) is not None:
            size += len(data)
            if data:
                self._journal.write(SERVER, data)
                self._downward_messages.feed(data)
                self._downward.pending += data
            else:
                self._downward.close_source()

    def _push(self, way: _Way, data: bytes) -> None:
        """Write what is taken at once."""
        if data:
            way.pending += data
            way.write()

    # Answers to operations/list

    def _hear_recorder(self, events: int) -> None:
        for number, answer in self._journal.handle(events):
            self._answer(self._taken.pop(number), answer)

    def _answer(self, request: ListRequest, answer: bytes) -> None:
        head = b"Content-Length: %d\r\n\r\n" % len(answer) if request.framed else b""
        self._answers.append(head + answer + (b"" if request.framed else b"\n"))

    def _put_answers(self) -> None:
        """Between two messages of the server, never into one."""
        if self._journal.closed:
            for request in self._taken.values():
                self._answer(request, (_UNAVAILABLE % request.id).encode())
            self._taken.clear()
        way = self._downward
        if self._answers and way.sink is not None and not way.pending:
            if self._downward_messages.at_boundary:
                self._push(way, self._take_answers())
            elif way.source is None:
                self._push(way, b"\n" + self._take_answers())
        self._close_finished(way)

    def _take_answers(self) -> bytes:
        answers = b"".join(self._answers)
        self._answers.clear()
        return answers

    # Time

    def _patience(self) -> float | None:
        times = [when for when in (self._held_until, self._term_at, self._kill_at) if when is not None and when < _NEVER]
        if self._journal.full:
            times.append(self._journal.stuck_at)
        if self._status is not None:
            times.append(self._leave_at)
        return min(times) - time.monotonic() if times else None

    def _keep_time(self) -> None:
        now = time.monotonic()
        if self._held_until is not None and now >= self._held_until:
            self._held_until = None
            self._push(self._upward, self._sieve.release())
        if self._journal.full and now >= self._journal.stuck_at:
            self._journal.close()
            say("the log does not keep up; the server runs, and nothing more is recorded")
        if self._grace is not None and self._term_at is None and self._upward.source is None and self._downward.sink is None:
            self._term_at = now + self._grace
        if self._status is None and self._term_at is not None and now >= self._term_at:
            self._term_at = _NEVER
            os.kill(self._server.pid, signal.SIGTERM)
            self._kill_at = self._kill_at or now + self._kill_after
        if self._status is None and self._kill_at is not None and now >= self._kill_at:
            self._kill_at = _NEVER
            os.kill(self._server.pid, signal.SIGKILL)

    # The end

    def _hand_over(self) -> None:
        """What others than the server still say to each other goes on without us; what nobody has read yet is not lost."""
        for way in (self._downward, self._upward):
            if way.sink is not None and (way.source is not None or way.pending):
                source = way.source if way.source is not None else os.open(os.devnull, os.O_RDONLY)
                self._guard.hand_over(source, way.out, way.pending)
            way.close_sink()
            way.close_source()
        self._guard.close()

    def _end_journal(self) -> None:
        """Wait until the recorder has delivered what there is."""
        self._journal.write(END, b"")
        ended = False
        while not self._journal.closed and time.monotonic() < self._leave_at:
            if not self._journal.waiting and not ended:
                ended = True
                self._journal.end()
                continue
            poll = select.poll()
            poll.register(self._journal.fileno(), self._journal.events())
            for _, events in poll.poll(max(0.0, self._leave_at - time.monotonic()) * 1_000):
                self._journal.handle(events)
        # What it has been given it goes on with, without us.
        if not self._journal.closed and self._journal.waiting:
            say("the log does not keep up; what crossed last is not recorded")


def in_order(received: bytes) -> list[int]:
    """The signals to see to, each once.

    SIGCONT takes back a stop before it, as in the kernel: when both went to the group, the guard knows of the second one only.
    The server's own stop comes last: we stop then, and what came before must have been seen to.

    Args:
        received: The signals as they came.
    """
    found: dict[int, None] = {}
    for signum in received:
        if signum == signal.SIGCONT:
            for stopping in _STOPS:
                found.pop(stopping, None)
        found[signum] = None
    return sorted(found, key=lambda signum: signum == signal.SIGCHLD)


def _own(sink: int) -> tuple[int, int]:
    """Where to write to a descriptor without ever blocking, and how much at once.

    ``O_NONBLOCK`` belongs to the open file description, which an inherited descriptor shares with others: nothing here sets it.
    A pipe is opened anew, which makes a description of our own.  What is no pipe, or cannot be opened anew, takes so many bytes
    without blocking when it says that it takes some.
    """
    kind = os.fstat(sink).st_mode
    if not os.get_blocking(sink) or stat.S_ISREG(kind):
        return sink, CHUNK
    if stat.S_ISFIFO(kind):
        with suppress(OSError):  # no /proc here, a pipe of another user, or nobody at its other end
            return os.open(f"/proc/self/fd/{sink}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC), CHUNK
    return sink, select.PIPE_BUF


def _give_up(fd: int) -> None:
    """Close a descriptor; of the first three the number stays taken."""
    if fd > 2:
        os.close(fd)
        return
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, fd)
    os.close(null)


def say(problem: str) -> None:
    """Say on standard error, in one line, what is not recorded."""
    with suppress(OSError):
        os.write(2, f"trio-oplog: {problem}\n".encode())


def _nothing(*_: object) -> None:
    """What a signal does here: it wakes the loop."""
