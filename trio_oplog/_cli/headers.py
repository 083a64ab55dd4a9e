"""A file of header fields: what the server behind a gateway, or a receiver of OTLP, gets in every request, such as a token."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What is printable, and blanks within (RFC 9110, 5.5).
_VALUE: Final = re.compile(r"[\x21-\x7e\x80-\xff](?:[\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")
# They say how long a body is, or are about one connection: none of the user's business.
_FORBIDDEN: Final = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


def read_headers(path: Path, option: str) -> list[tuple[bytes, bytes]]:
    """Read header fields, one a line: ``Name: value``.  Blank lines, and those that begin with ``#``, are passed over.

    Args:
        path: The file.
        option: Which option named it, for the error.

    Raises:
        click.BadParameter: It cannot be read, or something in it is no header field; the error names the file and the line, and
            not what stands there, which may be a secret.
    """
    try:
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read: {error.strerror}.", param_hint=option) from None
    headers = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        value = value.strip(" \t\r")
        if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise click.BadParameter(f"line {number} of {path} must be 'Name: value'.", param_hint=option)
        if name.lower() in _FORBIDDEN:
            raise click.BadParameter(f"line {number} of {path}: {name} is not for a file to say.", param_hint=option)
        headers.append((name.encode("latin-1"), value.encode("latin-1")))
    if not headers:
        raise click.BadParameter(f"{path} holds no header fields, such as 'Authorization: Bearer …'.", param_hint=option)
    return headers
