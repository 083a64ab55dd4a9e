"""What puts the operation log between a client and a server over WebSocket or HTTP.

::

    _frames.py        one end of a connection, as frames
    _lines.py         frames over byte streams: a line each
    _websocket.py     frames over WebSocket
    _bridge.py        both ends, pumped both ways past an Interceptor
    _child.py         a server that is a child process
    _identity.py      who may connect, and as whom
    _server.py        the WebSocket front
    _http_gateway.py  the HTTP front.  A request passes, in this order: _http_front.py, who may send it; an HttpTap that is
                      shown it; _http_lists.py, operations/list; _http_proxy.py, the upstream

Needs the extra ``gateway``.
"""

from __future__ import annotations

from trio_oplog._tokens import new_token
from trio_oplog.gateway._bridge import BridgeReport, OperationsList, bridge
from trio_oplog.gateway._child import KILL_AFTER, Child, open_child
from trio_oplog.gateway._frames import GRACE, MAX_FRAME, Closed, Frame, FrameStream, Line
from trio_oplog.gateway._http_gateway import HTTPGateway, HTTPGatewayStatistics
from trio_oplog.gateway._identity import Anyone, Authenticator, Identity, TokenFile
from trio_oplog.gateway._lines import LineFrames
from trio_oplog.gateway._server import (
    HANDSHAKE_TIMEOUT,
    MAX_CONNECTIONS,
    ChildUpstream,
    Gateway,
    GatewayStatistics,
    Upstream,
    WebSocketUpstream,
)
from trio_oplog.gateway._websocket import GatewayClientConnection, GatewayServerConnection, WebSocketFrames

__all__ = [
    "GRACE",
    "HANDSHAKE_TIMEOUT",
    "KILL_AFTER",
    "MAX_CONNECTIONS",
    "MAX_FRAME",
    "Anyone",
    "Authenticator",
    "BridgeReport",
    "Child",
    "ChildUpstream",
    "Closed",
    "Frame",
    "FrameStream",
    "Gateway",
    "GatewayClientConnection",
    "GatewayServerConnection",
    "GatewayStatistics",
    "HTTPGateway",
    "HTTPGatewayStatistics",
    "Identity",
    "Line",
    "LineFrames",
    "OperationsList",
    "TokenFile",
    "Upstream",
    "WebSocketFrames",
    "WebSocketUpstream",
    "bridge",
    "new_token",
    "open_child",
]
