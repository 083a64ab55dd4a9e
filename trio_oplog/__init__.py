"""The operation log for JSON-RPC gateways written with Trio.

A frame becomes a stored operation in this order, one folder a step::

    _recording/    frames -> one Operation for each tool call, however many messages it takes.  Sans-IO.
    _operation.py  the product: Operation and its parts; _wire.py is its JSON
    _delivery/     operations -> the endpoint, over HTTP, with an account of every one
    collector/     the endpoint: a store and its HTTP interface
    _listing/      operations/list: the way back, answered inside the gateway
    gateway/       bridges that show both directions of a connection to the recorder
    testing/       the laws of all of this, as checks for any implementation

Beside that way::

    _otlp/           OpenTelemetry's protocol, in which _delivery can speak instead
    _metrics/        durations, open calls and accounts as metrics, for Prometheus or OTLP
    _serving/        the HTTP server of the collector and of gateways
    _tap/            the processes of ``trio-oplog wrap``, through which the bytes pass
    _client_config/  the configuration files of MCP clients, for ``trio-oplog adopt``
    _cli/            the commands of ``trio-oplog``
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trio_oplog._asgi import RecordedApp, record_http
    from trio_oplog._delivery import Client, DrainReport, DropReason, Retry, Spool, SpoolFolder, Statistics, Tee, tee
    from trio_oplog._errors import (
        ClientStateError,
        ConfigError,
        ListError,
        OplogError,
        QueryError,
        SpoolError,
        SpoolInUseError,
        StoreError,
        StoreVersionError,
        TokenFileError,
        TrioRequiredError,
        WireError,
    )
    from trio_oplog._listing import ListClient, ListQuery, try_handle_operations_list
    from trio_oplog._operation import (
        Approval,
        ArgumentsMeta,
        Config,
        Context,
        DecidedBy,
        Operation,
        Outcome,
        ResultMeta,
        Submitter,
    )
    from trio_oplog._otlp import Otlp
    from trio_oplog._recording import (
        FrameObserver,
        HttpExchange,
        HttpTap,
        HttpTapStatistics,
        Interceptor,
        InterceptorStatistics,
        Payload,
        SuspendedCalls,
        redact_keys,
        redact_secrets,
    )

__version__ = "0.1.0"

__all__ = [
    "Approval",
    "ArgumentsMeta",
    "Client",
    "ClientStateError",
    "Config",
    "ConfigError",
    "Context",
    "DecidedBy",
    "DrainReport",
    "DropReason",
    "FrameObserver",
    "HttpExchange",
    "HttpTap",
    "HttpTapStatistics",
    "Interceptor",
    "InterceptorStatistics",
    "ListClient",
    "ListError",
    "ListQuery",
    "Operation",
    "OplogError",
    "Otlp",
    "Outcome",
    "Payload",
    "QueryError",
    "RecordedApp",
    "ResultMeta",
    "Retry",
    "Spool",
    "SpoolError",
    "SpoolFolder",
    "SpoolInUseError",
    "Statistics",
    "StoreError",
    "StoreVersionError",
    "Submitter",
    "SuspendedCalls",
    "Tee",
    "TokenFileError",
    "TrioRequiredError",
    "WireError",
    "record_http",
    "redact_keys",
    "redact_secrets",
    "tee",
    "try_handle_operations_list",
]

# A name is imported when it is asked for: ``trio-oplog wrap`` starts a server before anything heavy is loaded.
_HOMES = {
    "trio_oplog._asgi": ("RecordedApp", "record_http"),
    "trio_oplog._delivery": ("Client", "DrainReport", "DropReason", "Retry", "Spool", "SpoolFolder", "Statistics", "Tee", "tee"),
    "trio_oplog._errors": (
        *("ClientStateError", "ConfigError", "ListError", "OplogError", "QueryError", "SpoolError", "SpoolInUseError"),
        *("StoreError", "StoreVersionError", "TokenFileError", "TrioRequiredError", "WireError"),
    ),
    "trio_oplog._listing": ("ListClient", "ListQuery", "try_handle_operations_list"),
    "trio_oplog._operation": (
        *("Approval", "ArgumentsMeta", "Config", "Context", "DecidedBy", "Operation", "Outcome", "ResultMeta", "Submitter"),
    ),
    "trio_oplog._otlp": ("Otlp",),
    "trio_oplog._recording": (
        *("FrameObserver", "HttpExchange", "HttpTap", "HttpTapStatistics", "Interceptor", "InterceptorStatistics"),
        *("Payload", "SuspendedCalls", "redact_keys", "redact_secrets"),
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
