"""The address of an endpoint: its URL, and the secret that opens it."""

from __future__ import annotations

from typing import Final

import httpx

from trio_oplog._errors import ConfigError

DEFAULT_PATH: Final = "/internal/operations"
"""Where a collector's endpoint is, unless it is told otherwise."""


def check_url(url: object) -> httpx.URL:
    """Read the URL of an endpoint.

    Raises:
        ConfigError: It is none, or not of HTTP.
    """
    try:
        parsed = httpx.URL(url) if isinstance(url, str) else None
    except httpx.InvalidURL:
        parsed = None
    if parsed is None or parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError("url", "must be an http or https URL with a host")
    return parsed


def check_secret(secret: object) -> str:
    """Check that a secret can be sent in a header, and that there is one.

    Raises:
        ConfigError: It cannot, or there is none.
    """
    if not isinstance(secret, str) or not secret or not secret.isascii() or not secret.isprintable() or secret != secret.strip():
        raise ConfigError("secret", "must be non-empty text that an HTTP header can hold")
    return secret
