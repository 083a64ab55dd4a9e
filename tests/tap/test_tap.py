"""The loop of the tap, in this process: what a client, a server and a recorder can do to it, one thing at a time."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from trio_oplog._tap import CLIENT, END, SERVER, TAKEN, Entry, EntryReader, write_answer
from trio_oplog._tap.guard import Guard
from trio_oplog._tap.journal import LOADING_MAX, WAITING_MAX, Journal
from trio_oplog._tap.launch import _open_descriptors
from trio_oplog._tap.server import Server, start_server, stop_like
from trio_oplog._tap.tap import RECORDER_TIMEOUT, Tap, _Way, in_order

LIST = b'{"jsonrpc":"2.0","id":"mine","method":"operations/list","params":{}}'


class Bench:
    """A tap between pipes: the test is its client, its server and its recorder.

    Attributes:
        stdin: The client writes here.
        stdout: The client reads here.
        server_in: What the server reads; -1 for one that was started.
        server_out: The server writes here; -1 for one that was started.
        recorder: The recorder's end of the journal.
        stops: The signals by which the tap has stopped itself.
    """

    def __init__(self, command: list[str] | None, kill_after: float, grace: float | None, age: float) -> None:
        client_out, self.stdin = os.pipe()
        self.stdout, client_in = os.pipe()
        os.set_blocking(client_out, False)
        os.set_blocking(self.stdout, False)
        self.server_in, self.server_out = -1, -1
        if command is not None:
            self.server = start_server(command, ())
        else:
            self.server_in, into = os.pipe()
            out_of, self.server_out = os.pipe()
            os.set_blocking(out_of, False)
            self.server = Server(0, into, out_of)
        ours, self.recorder = socket.socketpair()
        guard, nobody = socket.socketpair()
        nobody.close()
        self.journal = Journal(ours, clock=lambda: time.monotonic() - age)
        self.stops: list[int] = []
        self.tap = Tap(
            self.server,
            Guard(guard),
            self.journal,
            kill_after=kill_after,
            grace=grace,
            stdin=client_out,
            stdout=client_in,
            stop=self._stop,
        )

    def _stop(self, signum: int) -> None:
        self.stops.append(signum)
        os.kill(self.server.pid, signal.SIGCONT)

    def received(self) -> bytes:
        """What the client can read now."""
        try:
            return os.read(self.stdout, 1_000_000)
        except BlockingIOError:
            return b""

    def entries(self) -> list[Entry]:
        """What the recorder can read now."""
        return EntryReader().feed(self.recorder.recv(1_000_000))


Make = Callable[..., Bench]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes benches; afterwards no descriptor is left open, and signals do what they did."""
    handlers = {signum: signal.getsignal(signum) for signum in signal.valid_signals()}
    before = set(os.listdir("/proc/self/fd"))
    made: list[Bench] = []

    def make(
        command: list[str] | None = None, *, kill_after: float = 60.0, grace: float | None = None, age: float = 0.0
    ) -> Bench:
        made.append(Bench(command, kill_after, grace, age))
        return made[-1]

    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    try:
        yield make
    finally:
        signal.set_wakeup_fd(wakeup)
        for signum, handler in handlers.items():
            if signum not in (signal.SIGKILL, signal.SIGSTOP) and handler is not None:
                signal.signal(signum, handler)
        for bench in made:
            bench.journal.close()
            bench.tap._guard.close()
            bench.recorder.close()
        made.clear()
        for fd in set(os.listdir("/proc/self/fd")) - before:
            try:
                os.close(int(fd))
            except OSError:  # the one that listed them
                continue


def run(bench: Bench) -> int:
    """Run the tap with a recorder that takes everything and leaves at the end."""

    def take() -> None:
        while bench.recorder.recv(1_000_000):
            pass
        bench.recorder.close()

    recorder = threading.Thread(target=take)
    recorder.start()
    status = bench.tap.run()
    recorder.join(60)
    return status


# What comes and goes


def test_a_source_that_breaks_has_ended_and_a_sink_that_takes_nothing_now_is_written_to_later() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    way = _Way(writing, writing)  # which cannot be read from
    assert way.read() == b""
    while select.select([], [writing], [], 0)[1]:
        os.write(writing, b"x" * 4_096)
    way.pending = b"more"
    way.write()
    assert way.pending == b"more"
    while way.pending:
        os.read(reading, 65_536)
        way.write()
    os.close(reading)
    way.pending = b"nobody reads this"
    way.write()
    assert way.sink is None


def test_who_has_said_nothing_yet_has_not_ended(make: Make) -> None:
    bench = make()
    bench.tap._pull_up()
    bench.tap._pull_down()
    assert bench.tap._upward.source is not None
    assert bench.tap._downward.source is not None
    os.close(bench.stdin)
    os.close(bench.server_out)
    bench.tap._pull_up()
    bench.tap._pull_down()
    assert bench.tap._upward.source is None
    assert bench.tap._downward.source is None


def test_what_a_server_has_left_in_its_pipe_is_taken_when_it_has_ended(make: Make) -> None:
    bench = make()
    os.write(bench.server_out, b"the last\n")
    bench.tap._drain()
    assert bench.tap._downward.source is not None  # somebody else holds it
    assert bench.tap._downward.pending == b"the last\n"
    os.write(bench.server_out, b"words")
    os.close(bench.server_out)
    bench.tap._drain()
    assert bench.tap._downward.source is None
    assert bench.tap._downward.pending == b"the last\nwords"
    assert [entry.data for entry in bench.entries()] == [b"the last\n", b"words"]


# Answers to operations/list


def ask(bench: Bench) -> int:
    """Ask for the list; the number under which the recorder is to answer."""
    os.write(bench.stdin, LIST + b"\n")
    bench.tap._pull_up()
    *_, client, taken = bench.entries()
    assert (client.kind, taken.kind) == (CLIENT, TAKEN)
    return taken.number


def test_an_answer_goes_between_two_messages_of_one_chunk(make: Make) -> None:
    bench = make()
    os.write(bench.server_out, b"begin")
    bench.tap._pull_down()
    bench.recorder.sendall(write_answer(ask(bench), b"answer"))
    bench.tap._hear_recorder(select.POLLIN)
    bench.tap._put_answers()
    assert bench.received() == b"begin"
    os.write(bench.server_out, b" and end\nnext")
    bench.tap._pull_down()
    assert bench.received() == b" and end\nanswer\nnext"
    os.write(bench.server_out, b"\n")
    bench.tap._pull_down()
    assert bench.received() == b"\n"


def test_an_answer_waits_for_the_end_of_a_message_and_no_longer_than_there_is_a_server(make: Make) -> None:
    bench = make()
    os.write(bench.server_out, b"begin")
    bench.tap._pull_down()
    bench.recorder.sendall(write_answer(ask(bench), b"answer"))
    bench.tap._hear_recorder(select.POLLIN | select.POLLOUT)
    bench.tap._put_answers()
    assert bench.received() == b"begin"
    os.close(bench.server_out)
    bench.tap._pull_down()
    bench.tap._put_answers()
    assert bench.received() == b"\nanswer\n"
    assert bench.received() == b""  # and then the end


# The recorder


def test_a_recorder_that_takes_nothing_is_given_up_and_the_traffic_goes_on(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    bench = make(age=LOADING_MAX + 1)
    number = 0
    os.write(bench.stdin, LIST + b"\n")
    bench.tap._pull_up()
    while not bench.journal.full:
        number += 1
        bench.journal.write(SERVER, b"x" * 1_000_000)
    assert number * 1_000_000 > WAITING_MAX
    patience = bench.tap._patience()
    assert patience is not None
    assert patience < 0
    bench.tap._keep_time()
    assert bench.journal.closed
    assert capfd.readouterr().err == "trio-oplog: the log does not keep up; the server runs, and nothing more is recorded\n"
    bench.tap._put_answers()
    assert b'"id":"mine"' in bench.received()
    os.write(bench.stdin, LIST)
    bench.tap._pull_up()
    assert os.read(bench.server_in, 1_000) == LIST


def test_a_recorder_that_leaves_while_there_is_something_for_it_is_noticed(make: Make) -> None:
    bench = make()
    while not bench.journal.waiting:
        bench.journal.write(SERVER, b"x" * 1_000_000)
    bench.recorder.close()
    assert bench.journal.handle(select.POLLIN | select.POLLOUT | select.POLLHUP) == []
    assert bench.journal.closed


def test_what_a_recorder_has_not_taken_when_we_leave_is_said(
    make: Make, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_oplog._tap.tap.RECORDER_TIMEOUT", 0.0)
    bench = make(["true"])
    while not bench.journal.waiting:
        bench.journal.write(SERVER, b"x" * 1_000_000)
    assert bench.tap.run() == 0
    assert capfd.readouterr().err == "trio-oplog: the log does not keep up; what crossed last is not recorded\n"


def test_when_the_server_has_ended_nothing_is_waited_for_without_end(make: Make) -> None:
    bench = make(["true"])
    assert bench.tap._patience() is None
    os.waitid(os.P_PID, bench.server.pid, os.WEXITED | os.WNOWAIT)
    bench.tap._look_after_server()
    patience = bench.tap._patience()
    assert patience is not None
    assert patience <= RECORDER_TIMEOUT


def test_what_waits_for_the_recorder_reaches_it_before_we_leave(make: Make) -> None:
    bench = make(["true"])
    sent = 0
    while not bench.journal.waiting:
        sent += 1
        bench.journal.write(SERVER, b"x" * 1_000_000)
    found: list[Entry] = []

    def take() -> None:
        reader = EntryReader()
        while data := bench.recorder.recv(1_000_000):
            found.extend(reader.feed(data))
        bench.recorder.close()

    recorder = threading.Thread(target=take)
    recorder.start()
    assert os.waitstatus_to_exitcode(bench.tap.run()) == 0
    recorder.join(60)
    assert [entry.kind for entry in found] == [SERVER] * sent + [END]


def test_a_recorder_that_fails_is_said_by_its_kind_of_error_alone() -> None:
    script = (
        "from trio_oplog._tap import launch, run_tap\n"
        "def fail(line): raise ValueError('a secret')\n"
        "run_tap(launch(['cat']), fail)"
    )
    done = subprocess.run([sys.executable, "-c", script], input=b"hello", capture_output=True, timeout=90, check=True)
    assert done.stdout == b"hello"
    assert done.stderr == b"trio-oplog: the log failed with ValueError; the server runs, and nothing more is recorded\n"


# Signals


def test_a_signal_that_was_for_us_is_for_the_server_and_one_after_its_end_for_nobody(make: Make) -> None:
    script = (
        "import os, signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "os.read(0, 1)\n"  # from here on there is somebody who hears signals
        "for _ in 'ab':\n"
        " os.kill(int(sys.argv[1]), signal.SIGTERM)\n"
        " os.write(1, b'%d ' % signal.sigwait([signal.SIGTERM]))\n"
    )
    bench = make([sys.executable, "-I", "-S", "-c", script, str(os.getpid())])
    os.write(bench.stdin, b"\n")
    assert os.waitstatus_to_exitcode(run(bench)) == 0
    assert bench.received() == b"15 15 "
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGCHLD)
    bench.tap._take_signals()  # the server's process is no more: a signal to it would raise


def test_a_server_that_stops_stops_us(make: Make) -> None:
    # In a group of its own: one that has lost its session's leader cannot be stopped by this signal.
    script = "import os, signal\nos.setpgid(0, 0)\nos.kill(os.getpid(), signal.SIGTSTP)\nos.write(1, b'went on')"
    bench = make([sys.executable, "-I", "-S", "-c", script])
    assert os.waitstatus_to_exitcode(run(bench)) == 0
    assert bench.stops == [signal.SIGTSTP]
    assert bench.received() == b"went on"


def test_a_server_that_is_stopped_for_good_does_not_stop_us(make: Make) -> None:
    # SIGSTOP went to the server alone, or we would be stopped already.
    bench = make(["cat"])
    os.kill(bench.server.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, bench.server.pid, os.WSTOPPED | os.WNOWAIT)
    bench.tap._look_after_server()
    assert bench.stops == []
    os.kill(bench.server.pid, signal.SIGCONT)
    os.close(bench.stdin)
    assert os.waitstatus_to_exitcode(run(bench)) == 0


def test_a_change_of_the_server_that_is_none_is_waited_out(make: Make) -> None:
    bench = make(["cat"])
    bench.tap._look_after_server()
    os.close(bench.stdin)
    assert os.waitstatus_to_exitcode(run(bench)) == 0


def test_a_server_that_nobody_listens_to_is_asked_to_leave_and_then_made_to(make: Make) -> None:
    bench = make(["sleep", "600"], kill_after=0.0, grace=0.0)
    os.close(bench.stdin)
    os.close(bench.stdout)
    assert os.WTERMSIG(run(bench)) in (signal.SIGTERM, signal.SIGKILL)


def test_a_stop_that_was_taken_back_is_none_and_the_servers_own_comes_last() -> None:
    stop, go_on, child, other = signal.SIGTSTP, signal.SIGCONT, signal.SIGCHLD, signal.SIGUSR1
    assert in_order(bytes([child, stop])) == [stop, child]
    assert in_order(bytes([child, stop, other, go_on])) == [other, go_on, child]
    assert in_order(bytes([stop, go_on, stop, other, other])) == [go_on, stop, other]


def test_we_stop_once_however_often_we_are_told_to() -> None:
    before = signal.getsignal(signal.SIGTSTP)
    seen: list[tuple[int, bool, object]] = []

    def kill(pid: int, signum: int) -> None:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        seen.append((signum, signum in blocked, signal.getsignal(signum)))

    stop_like(signal.SIGTSTP, kill)
    assert seen == [(signal.SIGTSTP, True, signal.SIG_DFL)]
    assert signal.SIGTSTP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.getsignal(signal.SIGTSTP) is before


# Descriptors


def test_the_first_three_are_open_whatever_we_were_started_with() -> None:
    kept = os.dup(0)
    inherited = os.dup(0)
    os.set_inheritable(inherited, True)
    try:
        os.close(0)
        found = _open_descriptors()
        assert os.get_inheritable(0)
        assert inherited in found
        assert kept not in found
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(inherited)
