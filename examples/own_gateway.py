"""A gateway of one's own: WebSocket clients in front, a child process for each behind.

``python examples/own_gateway.py 8086 python examples/mcp_server.py`` records to the collector of ``trio-oplog collect``.
"""

from __future__ import annotations

import os
import sys
from functools import partial

import trio
from websockets.trio.server import Server, ServerConnection, serve

from trio_oplog import Client, Config, Interceptor, Submitter
from trio_oplog.gateway import GatewayServerConnection, WebSocketFrames, bridge, open_child


async def put_through(log: Submitter, command: list[str], connection: ServerConnection) -> None:
    user = connection.request.headers.get("X-User", "somebody")  # verify it: this is where a gateway knows who calls
    config = Config(source="own-gateway", workspace_id="ws-1", user_id=user)
    async with open_child(command) as server:
        report = await bridge(WebSocketFrames(connection), server, Interceptor(log, config))
    print(f"{user}: {report.client_frames} frames to the server, {report.server_frames} back")


async def main(
    url: str, secret: str, port: int, command: list[str], task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED
) -> None:
    async with Client(url, secret) as log:
        handler = partial(put_through, log, command)
        limits = {"compression": None, "max_size": 64 * 2**20, "create_connection": GatewayServerConnection}
        await serve(handler, port, host="127.0.0.1", task_status=task_status, **limits)


if __name__ == "__main__":
    trio.run(main, "http://127.0.0.1:8088/internal/operations", os.environ["TRIO_OPLOG_SECRET"], int(sys.argv[1]), sys.argv[2:])
