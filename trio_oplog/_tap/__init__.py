r"""What stands between a client and a stdio server: a small process that passes bytes on, and nothing else.

In: the bytes of a client and of the server that it starts for it.  Out: the same bytes, at once; and a copy of them for the log.

::

    client  <->  tap  <->  server        launch.py starts the server, tap.py moves the bytes, server.py knows the environment
                  |   \
                  |    guard             guard.py: a process that sees to what the tap cannot: its own death
                  |
               recorder                  a process with everything heavy in it; journal.py is the line between the two

    messages.py    bytes -> messages, beside the traffic: lines, and Content-Length framing
    lists.py       takes requests for ``operations/list`` out of what the client sends
    texts.py       one message of a transport -> the JSON texts in it

Only the standard library is imported here, and little of it: the server starts before anything heavy is loaded, and whatever
the recorder does (import, parse, wait for a disk, crash), the bytes do not wait for it.
"""

from __future__ import annotations

from trio_oplog._tap.journal import CLIENT, END, READY, SERVER, TAKEN, Entry, EntryReader, write_answer
from trio_oplog._tap.launch import Launched, launch, launch_early
from trio_oplog._tap.messages import MAX_FRAME, Assembler, Message
from trio_oplog._tap.server import environment
from trio_oplog._tap.tap import KILL_AFTER, run_tap, say
from trio_oplog._tap.texts import json_texts

__all__ = [
    "CLIENT",
    "END",
    "KILL_AFTER",
    "MAX_FRAME",
    "READY",
    "SERVER",
    "TAKEN",
    "Assembler",
    "Entry",
    "EntryReader",
    "Launched",
    "Message",
    "environment",
    "json_texts",
    "launch",
    "launch_early",
    "run_tap",
    "say",
    "write_answer",
]
