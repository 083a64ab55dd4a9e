"""``--to otlp+http://...``: receivers of OpenTelemetry's protocol as destinations.

What the specification has programs read from the environment is read here, and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import click
import httpx

from trio_oplog._address import check_url
from trio_oplog._cli.headers import read_headers
from trio_oplog._cli.options import Recording
from trio_oplog._errors import ConfigError
from trio_oplog._otlp import (
    SERVICE,
    Otlp,
    check_headers,
    compression,
    load_encoding,
    parse_headers,
    resource_attributes,
    signal_address,
    signal_of,
)

SCHEME: Final = "otlp+"
HEADERS_VARIABLE: Final = "OTEL_EXPORTER_OTLP_HEADERS"


class Receiver(NamedTuple):
    """A receiver of OTLP.

    Attributes:
        url: The whole address of a signal.
        signal: ``traces``, ``logs`` or ``metrics``.
        headers: Sent with each request.
        resource: Who sends.
        protocol: For a Client, but of metrics.
    """

    url: httpx.URL
    signal: str
    headers: Mapping[str, str]
    resource: Mapping[str, str]
    protocol: Otlp | None


def resource() -> Mapping[str, str]:
    """Who sends, as the environment says it."""
    return {**SERVICE, **resource_attributes(os.environ)}


def read_receiver(dest: str, recording: Recording, kind: str) -> Receiver:
    """What ``--to otlp+http://...`` names.

    Args:
        dest: The option's value.  A path that ends in ``/v1/logs`` or ``/v1/metrics`` is for these; any other is for traces.
        recording: What the other options say.
        kind: The kind of spans.

    Raises:
        click.UsageError: It names nothing that can be sent to.
    """
    try:
        url = check_url(dest.removeprefix(SCHEME))
        signal = signal_of(url.path) or "traces"
        headers = _read_headers(recording.otlp_headers)
        protocol = None
        if signal == "metrics":
            load_encoding()
        else:
            protocol = Otlp(
                signal=signal,
                kind=kind,
                payloads=recording.otlp_payloads,
                headers=headers,
                compression=compression(os.environ),
                resource=resource(),
            )
        return Receiver(signal_address(url, signal), signal, headers, resource(), protocol)
    except ConfigError as error:
        raise click.UsageError(f"The destination {dest.partition('?')[0]}: {error}.") from None


def _read_headers(file: Path | None) -> Mapping[str, str]:
    try:
        if file is None:
            return parse_headers(os.environ.get(HEADERS_VARIABLE, ""))
        fields = read_headers(file, "--otlp-headers")
        return check_headers({name.decode("latin-1"): value.decode("latin-1") for name, value in fields})
    except ConfigError as error:
        where = f"variable {HEADERS_VARIABLE}" if file is None else f"file of headers {file}"
        raise click.UsageError(f"The {where} {error.problem}.") from None
