"""What the environment says about OpenTelemetry: the variables of its specification, read by the programs only."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from trio_oplog._errors import ConfigError

_log: Final = logging.getLogger("trio_oplog")

SERVICE_NAME: Final = "OTEL_SERVICE_NAME"
RESOURCE_ATTRIBUTES: Final = "OTEL_RESOURCE_ATTRIBUTES"
HEADERS: Final = "OTEL_EXPORTER_OTLP_HEADERS"
COMPRESSION: Final = "OTEL_EXPORTER_OTLP_COMPRESSION"
_METRIC_INTERVAL: Final = "OTEL_METRIC_EXPORT_INTERVAL"
# RFC 9110, section 5.6.2
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)


def resource_attributes(environment: Mapping[str, str]) -> dict[str, str]:
    """The attributes of the resource, as ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME`` say them.

    Args:
        environment: The variables.

    Returns:
        Of a list that cannot be read nothing, as the specification wants it; that is logged.
    """
    try:
        attributes = dict(_pairs(environment.get(RESOURCE_ATTRIBUTES, "")))
    except ValueError:
        _log.warning("%s is no list key=value,key=value of percent-encoded UTF-8, and is passed over", RESOURCE_ATTRIBUTES)
        attributes = {}
    if name := environment.get(SERVICE_NAME):
        attributes["service.name"] = name
    return attributes


def parse_headers(text: str) -> dict[str, str]:
    """The headers of requests, from a list such as ``OTEL_EXPORTER_OTLP_HEADERS`` has.

    Args:
        text: ``name=value`` pairs with commas between them, the values percent-encoded.

    Raises:
        ConfigError: It is no such list, or a header cannot be sent.
    """
    try:
        found = dict(_pairs(text))
    except ValueError:
        raise ConfigError("headers", "must be a list name=value,name=value") from None
    return check_headers(found)


def compression(environment: Mapping[str, str]) -> str | None:
    """How bodies are compressed, as ``OTEL_EXPORTER_OTLP_COMPRESSION`` says; gzip where it says nothing.

    Raises:
        ConfigError: It says something else.
    """
    said = environment.get(COMPRESSION, "").strip()
    if said not in ("", "gzip", "none"):
        raise ConfigError(COMPRESSION, "must be gzip or none")
    return None if said == "none" else "gzip"


def metric_interval(environment: Mapping[str, str], default: float) -> float:
    """The time between two requests with metrics, as ``OTEL_METRIC_EXPORT_INTERVAL`` says, in seconds.

    Raises:
        ConfigError: It says no whole number of milliseconds above 0.
    """
    said = environment.get(_METRIC_INTERVAL, "").strip()
    if not said:
        return default
    if not (said.isascii() and said.isdecimal() and int(said[:16]) > 0):
        raise ConfigError(_METRIC_INTERVAL, "must be a whole number of milliseconds above 0")
    return int(said[:16]) / 1000


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Check that each of these can be sent.

    Raises:
        ConfigError: One cannot; the error names no value.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ConfigError("headers", "must have names that HTTP allows")
        if not isinstance(value, str) or not value.isascii() or not value.isprintable() or value != value.strip():
            raise ConfigError("headers", "must have values that an HTTP header can hold")
    return dict(headers)


def _pairs(text: str) -> list[tuple[str, str]]:
    """The pairs of a list in the form of W3C Baggage, of which OpenTelemetry takes keys and values."""
    pairs = []
    for entry in text.split(","):
        if not entry.strip():
            continue
        key, equals, value = entry.partition("=")
        key = unquote(key.strip(), errors="strict")
        if not equals or not key:
            raise ValueError(entry)
        pairs.append((key, unquote(value.strip(), errors="strict")))
    return pairs
