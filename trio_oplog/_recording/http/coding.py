"""Content codings: the bytes of a body as they cross -> the bytes that they stand for, with bounded memory.

Source: RFC 9110, section 8.4.1; RFC 1950 to 1952.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol, TypeAlias

_PIECE: Final = 65_536
_GZIP: Final = zlib.MAX_WBITS | 16
_ZLIB: Final = zlib.MAX_WBITS
_BARE: Final = -zlib.MAX_WBITS
_HEAD: Final = 2


class CodingError(Exception):
    """A body is not what its ``Content-Encoding`` says, or would take too long to decode."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, /, max_length: int) -> bytes: ...


Decode: TypeAlias = Callable[[bytes], Iterator[bytes]]


def as_it_is(data: bytes) -> Iterator[bytes]:
    """The identity."""
    yield data


class Inflater:
    """Decodes ``gzip`` or ``deflate``, a piece at a time.

    Args:
        coding: Which.
        max_piece: The most bytes that one piece of a body may stand for.  More are a bomb, or would hold up the traffic for too
            long.
    """

    def __init__(self, coding: bytes, max_piece: int) -> None:
        self._max_piece = max_piece
        self._wbits = _GZIP
        self._head: bytes | None = b"" if coding == b"deflate" else None  # what came of it before it was known what it is
        self._inflate: _Decompressor = zlib.decompressobj(_GZIP)

    def __call__(self, data: bytes) -> Iterator[bytes]:
        """Decode a piece of the body, into pieces of at most 64 KiB.

        Raises:
            CodingError: The body cannot be decoded; nothing more of it can.
        """
        if self._head is not None:
            data = self._head + data
            self._head = data if len(data) < _HEAD else None
            if self._head is not None:
                return
            self._wbits = _ZLIB if _is_zlib(data) else _BARE
            self._inflate = zlib.decompressobj(self._wbits)
        total = 0
        while True:
            piece = self._step(data)
            if piece:
                total += len(piece)
                if total > self._max_piece:
                    raise CodingError
                yield piece
            inflate = self._inflate
            if inflate.eof:  # there may be another member
                data = inflate.unused_data
                self._inflate = zlib.decompressobj(self._wbits)
            else:
                data = inflate.unconsumed_tail
            if not data and (len(piece) < _PIECE or inflate.eof):
                return

    def _step(self, data: bytes) -> bytes:
        try:
            return self._inflate.decompress(data, _PIECE)
        except zlib.error as error:
            raise CodingError from error


def _is_zlib(data: bytes) -> bool:
    """Whether a ``deflate`` body begins as it should; some send the bare format instead."""
    return data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:_HEAD]) % 31 == 0


def decoder(coding: bytes | None, max_piece: int) -> Decode | None:
    """What decodes a body with this ``Content-Encoding``; ``None`` for a coding that is not known here."""
    name = (coding or b"identity").strip().lower()
    if name in (b"identity", b""):
        return as_it_is
    if name in (b"gzip", b"x-gzip", b"deflate"):
        return Inflater(name, max_piece)
    return None
