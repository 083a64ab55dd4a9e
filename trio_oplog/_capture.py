"""A line of a recorded session, as ``trio-oplog --capture`` and ``trio_oplog.testing.capture`` write it."""

from __future__ import annotations

import base64
import json
from typing import Any, Literal


def write_line(direction: Literal["c2s", "s2c"], seconds: float, frame: str | bytes | bytearray | memoryview) -> str:
    r"""One frame as one JSON object, with its ``\n``.

    A frame that is no UTF-8 has its text with U+FFFD for the bytes that are wrong, and its bytes in ``b64``.

    Args:
        direction: From the client to the server, or back.
        seconds: When, since the session began.
        frame: What crossed.
    """
    line: dict[str, Any] = {"dir": direction, "t": round(seconds, 6)}
    if isinstance(frame, str):
        line["frame"] = frame
    else:
        data = bytes(frame)
        try:
            line["frame"] = data.decode()
        except UnicodeDecodeError:
            line |= {"frame": data.decode("utf-8", "replace"), "b64": base64.b64encode(data).decode()}
    return json.dumps(line) + "\n"
