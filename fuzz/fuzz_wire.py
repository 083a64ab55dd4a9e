"""Coverage-guided fuzzing of the reader of stored records: ``python fuzz/fuzz_wire.py CORPUS [libFuzzer options]``.

Whatever the bytes: an Operation that is written and read again the same, or a WireError.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["trio_oplog"]):
    from trio_oplog import WireError
    from trio_oplog._wire import decode, encode


def one_input(data: bytes) -> None:
    try:
        operation = decode(data)
    except WireError as error:
        assert str(error)
        return
    assert decode(encode(operation)) == operation


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
