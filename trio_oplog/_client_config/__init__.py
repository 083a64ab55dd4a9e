"""The configuration files of MCP clients: found, and changed so that every server in them is on record.

In: a file.  Out: the same file with ``trio-oplog wrap`` in front of each command, or with what it held before.

::

    clients.py     which clients there are, and where their files lie
    files.py       a file -> bytes, and bytes into its place
    document.py    bytes -> a value -> bytes, and a second look at them; in the formats of jsonc.py and toml.py
    servers.py     a value -> what to change, as changes.py has it
    backups.py     what a file held
    adoption.py    one file through all of these

``servers.py``, ``document.py`` and the formats do no I/O.  A format changes nothing of a text but what it is told to.
"""

from __future__ import annotations

from trio_oplog._client_config.adoption import Done, adopt_file, undo_file
from trio_oplog._client_config.backups import Backups
from trio_oplog._client_config.clients import CLIENTS, Client, Place, place_of, places
from trio_oplog._client_config.errors import UnusableError
from trio_oplog._client_config.servers import PROGRAM_NAME, Fate, Server, read_origin

__all__ = [
    "CLIENTS",
    "PROGRAM_NAME",
    "Backups",
    "Client",
    "Done",
    "Fate",
    "Place",
    "Server",
    "UnusableError",
    "adopt_file",
    "place_of",
    "places",
    "read_origin",
    "undo_file",
]
