"""A line of a recorded session, as ``trio-oplog --capture`` and ``trio_oplog.testing.capture`` write it.

``trio_oplog._cli.capture`` reads both kinds of lines.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
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


def write_exchange_line(number: int, event: str, seconds: float, **content: Any) -> str:
    r"""One event of an HTTP exchange as one JSON object, with its ``\n``.

    Args:
        number: Which exchange.
        event: What crossed, or how the exchange ended.
        seconds: When, since the session began.
        content: What the event has besides.  ``data`` are bytes, and become text where they are UTF-8; ``headers`` are pairs of
            bytes.
    """
    if "data" in content:
        content["data"] = _text(bytes(content["data"]))
    if "headers" in content:
        headers: Iterable[tuple[bytes, bytes]] = content["headers"]
        content["headers"] = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]
    return json.dumps({"x": number, "t": round(seconds, 6), "ev": event, **content}) + "\n"


def _text(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(data).decode()}
