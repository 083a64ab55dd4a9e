"""The program on a pseudo-terminal: in this process, which is quick, and in one of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import FileIO, TextIOWrapper
from pathlib import Path
from threading import Thread
from unittest.mock import patch

import pytest

from trio_oplog._cli import main

KIND = {"TERM": "xterm-256color", "COLORTERM": ""}


def on_a_terminal(words: list[str], width: int, **environment: str) -> tuple[str, int]:
    """What the program writes to a pseudo-terminal that is its standard output and its standard error, and its status."""
    with (
        _reading() as (follower, written),
        TextIOWrapper(FileIO(follower, "w"), write_through=True) as terminal,
        patch.dict(os.environ, {**KIND, "COLUMNS": str(width), **environment}),
        redirect_stdout(terminal),
        redirect_stderr(terminal),
        pytest.raises(SystemExit) as end,
    ):
        main(words)
    return written.decode().replace("\r\n", "\n"), int(end.value.code or 0)


def on_a_terminal_of_its_own(words: list[str], width: int, until: bytes | None = None) -> tuple[str, int]:
    """The same of a process that finds out itself how wide the terminal is; interrupted once it has written a text."""
    with _reading(until) as (follower, written):
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
        env = {name: text for name, text in {**os.environ, **KIND}.items() if name != "COLUMNS"}
        program = [sys.executable, "-m", "trio_oplog", *words]
        process = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower, env=env)
        os.close(follower)
        written.process = process
    return written.decode().replace("\r\n", "\n"), process.wait()


class _Written(bytearray):
    process: subprocess.Popen[bytes]


@contextmanager
def _reading(until: bytes | None = None) -> Iterator[tuple[int, _Written]]:
    """The end of a terminal that is written to, and what is read at the other end until nobody writes any more."""
    leader, follower = pty.openpty()
    written = _Written()

    def read() -> None:
        nonlocal until
        try:
            while chunk := os.read(leader, 65_536):
                written.extend(chunk)
                if until is not None and until in written:
                    written.process.send_signal(signal.SIGINT)
                    until = None
        except OSError:  # Linux's way to say that nobody writes any more
            pass

    reader = Thread(target=read)
    reader.start()
    yield follower, written
    reader.join()
    os.close(leader)


def folder() -> Path:
    """Where the golden files are."""
    return Path(__file__).with_name("golden")
