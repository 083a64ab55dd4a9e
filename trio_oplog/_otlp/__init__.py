"""Operations in OTLP, OpenTelemetry's protocol.

In: operations.  Out: spans and log records in protobuf, for ``_delivery`` to send.  (``_metrics`` sends metrics in the same way.)

    fields.py        the table: where each field of an Operation goes
    conventions.py   the attributes that depend on more than one field
    environment.py   the variables that OpenTelemetry's specification names
    mapping.py       an Operation -> a span or a log record
    encoding.py      the bodies of requests, and what answers say
    protocol.py      Otlp: what a Client speaks in place of the collector's JSON

What needs ``opentelemetry-proto`` is imported when it is used, so that the room itself needs no extra.
"""

from __future__ import annotations

from trio_oplog._otlp.conventions import metric_attributes
from trio_oplog._otlp.environment import check_headers, compression, metric_interval, parse_headers, resource_attributes
from trio_oplog._otlp.fields import FIELDS, Attribute, Elsewhere, NotExported
from trio_oplog._otlp.protocol import PROTOBUF, SERVICE, Otlp, load_encoding, signal_address, signal_of

__all__ = [
    "FIELDS",
    "PROTOBUF",
    "SERVICE",
    "Attribute",
    "Elsewhere",
    "NotExported",
    "Otlp",
    "check_headers",
    "compression",
    "load_encoding",
    "mapping",  # a module, which is imported by who needs it: it needs an extra
    "metric_attributes",
    "metric_interval",
    "parse_headers",
    "resource_attributes",
    "signal_address",
    "signal_of",
]
