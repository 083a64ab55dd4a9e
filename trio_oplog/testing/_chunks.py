"""The strategy that cuts streams of bytes anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import strategies as st


def chunked(frames: Iterable[bytes], /, *, end: bytes = b"\n", max_cuts: int = 16) -> st.SearchStrategy[list[bytes]]:
    """A byte stream of frames, cut where no frame ends: what a pipe or a TCP connection hands over, read by read.

    Shrinks to one chunk.

    Args:
        frames: The frames; joined in order.
        end: What ends each of them.
        max_cuts: How often the stream is cut at most; 0 or more.

    Returns:
        A strategy of non-empty chunks that joined are the stream.
    """
    stream = b"".join(frame + end for frame in frames)
    if len(stream) < 2:
        return st.just([stream] if stream else [])
    cuts = st.sets(st.integers(min_value=1, max_value=len(stream) - 1), max_size=max_cuts)
    return cuts.map(lambda places: [stream[start:stop] for start, stop in pairwise([0, *sorted(places), len(stream)])])
