"""What an HTTP server bounds, and what it counts."""

from __future__ import annotations

from typing import Any, Final

from attrs import Attribute, define, field, frozen

from trio_oplog._errors import ConfigError

MAX_HEAD: Final = 64 * 1024


def _positive(_: object, attribute: Attribute[Any], value: float) -> None:
    if not value > 0:
        raise ConfigError(attribute.name, "must be more than 0")


@frozen(kw_only=True)
class HTTPLimits:
    """What a client may take of an ``HTTPServer``.  Times are in seconds, sizes in bytes; all are more than 0.

    How long a body may be is for the app to say, and so is how long a response may take.

    Attributes:
        max_connections: Connections that may be open at once.  One more takes the place of one that is idle between two
            requests; when there is none, it is refused with 503.
        max_head: Longest request line and headers together; longer ones are refused with 431.
        max_headers: The most headers of a request; more are refused with 431.
        head_timeout: How long a client may take to send a head: from its first byte, and on a new connection from the beginning.
            One that has begun is answered with 408 then.
        idle_timeout: How long a connection may be idle between two requests.
        body_timeout: How long the server waits for the bytes of a body in all, on top of the time that ``min_body_rate`` allows
            for them.  Time that the app does not wait for the body does not count.  A body that is too slow is
            answered with 408, unless the app answers it in another way.
        min_body_rate: Bytes a second.
        send_timeout: How long a client may take to accept up to 64 KiB of a response; the connection is cut then.
    """

    max_connections: int = field(default=512, validator=_positive)
    max_head: int = field(default=MAX_HEAD, validator=_positive)
    max_headers: int = field(default=256, validator=_positive)
    head_timeout: float = field(default=10.0, validator=_positive)
    idle_timeout: float = field(default=60.0, validator=_positive)
    body_timeout: float = field(default=20.0, validator=_positive)
    min_body_rate: float = field(default=512.0, validator=_positive)
    send_timeout: float = field(default=300.0, validator=_positive)


@frozen(kw_only=True)
class HTTPServerStatistics:
    """What an ``HTTPServer`` has done so far.

    Attributes:
        open_connections: Connections that are open now.
        accepted: Connections that were served.
        refused: Connections that were refused with 503, because too many were open.
        requests: Requests that were handed to the app.
        malformed: Requests that were refused by the server, or whose body was no HTTP.
        timeouts: Connections that were ended because their client was too slow.
        app_failures: Requests at which the app raised an exception or broke the ASGI protocol.
        connection_failures: Connections that a defect of the server ended.
    """

    open_connections: int
    accepted: int
    refused: int
    requests: int
    malformed: int
    timeouts: int
    app_failures: int
    connection_failures: int


@define
class Counters:
    """What the connections of a server have counted together; see ``HTTPServerStatistics``."""

    accepted: int = 0
    refused: int = 0
    requests: int = 0
    malformed: int = 0
    timeouts: int = 0
    app_failures: int = 0
    connection_failures: int = 0
