"""The line between the tap and the recorder, the guard, and the ends of the loop."""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from trio_oplog._tap import CLIENT, SERVER, TAKEN, Entry, EntryReader, write_answer
from trio_oplog._tap.guard import Guard, pass_on, watch
from trio_oplog._tap.journal import LOADING_MAX, READY, STUCK_AFTER, WAITING_MAX, Journal
from trio_oplog._tap.server import leave_like, start_server
from trio_oplog._tap.tap import _own


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


Line = tuple[socket.socket, socket.socket]


def test_entries_arrive_with_the_time_at_which_they_were_written_however_they_are_cut(line: Line) -> None:
    now = 5.0
    journal = Journal(line[0], clock=lambda: now)
    journal.write(CLIENT, b"one")
    now = 6.0
    journal.write(SERVER, b"")
    journal.write(TAKEN, b"request", 7)
    reader = EntryReader()
    data = line[1].recv(1_000)
    found = [entry for at in range(len(data)) for entry in reader.feed(data[at : at + 1])]
    assert found == [Entry(CLIENT, 5.0, 0, b"one"), Entry(SERVER, 6.0, 0, b""), Entry(TAKEN, 6.0, 7, b"request")]
    assert EntryReader().feed(data) == found


def test_what_the_recorder_does_not_take_waits_and_is_sent_later(line: Line) -> None:
    now = 1.0
    journal = Journal(line[0], clock=lambda: now)
    sent = [bytes([number % 256]) * 65_536 for number in range(300)]
    for data in sent:
        journal.write(CLIENT, data)
    assert journal.waiting
    assert journal.full
    assert journal.stuck_at == 1.0 + LOADING_MAX
    line[1].sendall(write_answer(READY, b""))
    assert journal.read() == []
    assert journal.stuck_at == 1.0 + STUCK_AFTER
    now = 9.0
    reader, found = EntryReader(), []
    while len(found) < len(sent):
        found += [entry.data for entry in reader.feed(line[1].recv(1_000_000))]
        journal.flush()
    assert found == sent
    assert not journal.waiting
    assert journal.stuck_at == 9.0 + STUCK_AFTER
    assert sum(map(len, sent)) > WAITING_MAX


def test_answers_arrive_however_they_are_cut(line: Line) -> None:
    journal = Journal(line[0])
    assert journal.read() == []
    data = write_answer(1, b"one") + write_answer(2, b"")
    line[1].sendall(data[:5])
    assert journal.read() == []
    line[1].sendall(data[5:9])
    assert journal.read() == []
    line[1].sendall(data[9:])
    assert journal.read() == [(1, b"one"), (2, b"")]


def test_a_recorder_that_has_gone_costs_nothing(line: Line) -> None:
    journal = Journal(line[0])
    line[1].close()
    journal.write(CLIENT, b"one")
    assert journal.closed
    journal.write(CLIENT, b"two")
    journal.end()
    assert not journal.waiting


def test_the_end_of_the_recorder_is_noticed(line: Line) -> None:
    journal = Journal(line[0])
    line[1].close()
    assert journal.read() == []
    assert journal.closed


def test_a_recorder_that_breaks_the_line_is_noticed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    journal = Journal(ours)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close() resets the connection
    theirs.close()
    assert journal.read() == []
    assert journal.closed


def test_an_end_that_cannot_be_said_is_none(line: Line) -> None:
    journal = Journal(line[0])
    line[0].detach()
    os.close(os.dup(line[1].fileno()))
    journal.end()
    assert journal.closed


# The guard


class Watched:
    """The guard, in a thread with every signal blocked."""

    def __init__(self, line: Line) -> None:
        self.killed: list[tuple[int, int]] = []
        self.guard = Guard(line[0])
        self.thread = threading.Thread(target=self._run, args=[line[1]])
        self.ready = threading.Event()
        self.thread.start()
        self.ready.wait()

    def _run(self, theirs: socket.socket) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        self.ready.set()
        watch(theirs, lambda pid, signum: self.killed.append((pid, signum)))

    def end(self) -> list[tuple[int, int]]:
        self.guard.close()
        self.thread.join(60)
        return self.killed


def test_the_guard_kills_what_it_keeps_when_the_tap_has_gone(line: Line) -> None:
    watched = Watched(line)
    watched.guard.keep(1234)
    assert watched.guard.fileno() == line[0].fileno()
    assert watched.end() == [(1234, signal.SIGKILL)]


def test_the_guard_kills_nothing_that_has_ended(line: Line) -> None:
    watched = Watched(line)
    watched.guard.keep(1234)
    watched.guard.keep(0)
    assert watched.end() == []


def test_the_guard_says_once_that_it_has_seen_a_signal(line: Line) -> None:
    watched = Watched(line)
    assert not watched.guard.saw(signal.SIGUSR1)
    signal.pthread_kill(watched.thread.ident or 0, signal.SIGUSR1)
    assert watched.guard.saw(signal.SIGUSR1)
    assert not watched.guard.saw(signal.SIGUSR1)
    watched.end()


def test_an_answer_of_the_guard_that_comes_too_late_is_not_taken_for_the_next_one(line: Line) -> None:
    guard = Guard(line[0])
    line[0].settimeout(0.01)
    assert not guard.saw(signal.SIGUSR1)  # the guard has had no time
    line[0].settimeout(60)
    line[1].sendall(b"\1\0")
    assert not guard.saw(signal.SIGUSR2)
    line[1].sendall(b"\1")
    assert guard.saw(signal.SIGUSR1)


def test_a_guard_that_was_killed_has_seen_nothing(line: Line) -> None:
    line[1].close()
    guard = Guard(line[0])
    assert not guard.saw(signal.SIGUSR1)
    guard.keep(1)
    guard.hand_over(0, 1, b"")


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # the guard has one thread only
def test_a_rest_is_passed_on_until_it_ends(line: Line) -> None:
    watched = Watched(line)
    source, into = os.pipe()
    out_of, sink = os.pipe()
    watched.guard.hand_over(source, sink, b"x" * 100_000)
    os.close(source)
    os.close(sink)
    os.write(into, b"the end")
    os.close(into)
    received = b""
    while piece := os.read(out_of, 65_536):
        received += piece
    assert received == b"x" * 100_000 + b"the end"
    os.close(out_of)
    watched.end()


def test_a_rest_that_nobody_reads_ends() -> None:
    source, into = os.pipe()
    out_of, sink = os.pipe()
    os.close(out_of)
    pass_on(source, sink, b"")
    pass_on(source, sink, b"pending")
    for fd in (source, into, sink):
        os.close(fd)


# Leaving, and what cannot be opened anew


def test_we_leave_as_the_server_has() -> None:
    killed: list[int] = []
    before = signal.getsignal(signal.SIGUSR1)
    try:
        assert leave_like(3 << 8) == 3
        assert leave_like(int(signal.SIGUSR1), lambda _, signum: killed.append(signum)) == 128 + signal.SIGUSR1
        assert leave_like(int(signal.SIGKILL), lambda _, signum: killed.append(signum)) == 128 + signal.SIGKILL
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert killed == [signal.SIGUSR1, signal.SIGKILL]


def test_what_cannot_be_opened_anew_is_written_to_in_small_pieces(line: Line) -> None:
    line[0].setblocking(True)
    assert _own(line[0].fileno()) == (line[0].fileno(), 4_096)
    reading, writing = os.pipe()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (writing, hard))
    try:
        assert _own(writing) == (writing, 4_096)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    os.close(reading)
    os.close(writing)


def test_a_command_that_cannot_be_started_leaves_no_descriptor_behind() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        start_server(["no-such-command-anywhere"], ())
    assert set(os.listdir("/proc/self/fd")) == before
