"""Bodies with a content coding."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_oplog._recording.http.coding import CodingError, decoder

LIMIT = 1 << 20


def deflate(data: bytes, wbits: int) -> bytes:
    made = zlib.compressobj(wbits=wbits)
    return made.compress(data) + made.flush()


CODINGS = {
    b"gzip": gzip.compress,
    b"X-GZip ": gzip.compress,
    b"deflate": zlib.compress,
    b"DEFLATE": lambda data: deflate(data, -15),
    b"identity": bytes,
    b"": bytes,
    None: bytes,
}


def decoded(coding: bytes | None, data: bytes, size: int = LIMIT, limit: int = LIMIT) -> list[bytes]:
    decode = decoder(coding, limit)
    assert decode is not None
    return [piece for at in range(0, len(data), size) for piece in decode(data[at : at + size])]


@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_in_any_pieces_is_what_was_encoded(coding: bytes | None) -> None:
    @given(st.binary(max_size=300), st.integers(1, 400))
    @example(b"", 1)
    @example(200_000 * b"a", 400)
    @example(bytes(range(256)) * 600, 1_000_000)
    def check(data: bytes, size: int) -> None:
        encoded = CODINGS[coding](data)
        pieces = decoded(coding, encoded, size)
        assert b"".join(pieces) == data
        assert all(len(piece) <= 65_536 for piece in pieces) or encoded == data

    check()


def test_output_that_fills_a_piece_exactly_is_not_the_end() -> None:
    for length in range(65_530, 65_800):
        data = length * b"a"
        assert len(b"".join(decoded(b"gzip", gzip.compress(data, 9)))) == length


def test_members_of_gzip_follow_one_another() -> None:
    encoded = gzip.compress(b"one,") + gzip.compress(b"two")
    for size in (1, 5, 100):
        assert b"".join(decoded(b"gzip", encoded, size)) == b"one,two"


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip, br", b"aes"])
def test_other_codings_are_not_known(coding: bytes) -> None:
    assert decoder(coding, LIMIT) is None


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
def test_what_is_not_what_it_says_cannot_be_decoded(coding: bytes) -> None:
    with pytest.raises(CodingError):
        decoded(coding, b"{nothing of the sort}")


def test_a_bomb_is_given_up() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    assert len(bomb) < 70_000
    with pytest.raises(CodingError):
        decoded(b"gzip", bomb)
    assert sum(map(len, decoded(b"gzip", bomb, size=500, limit=LIMIT))) == 64 << 20
