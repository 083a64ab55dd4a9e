"""A collector to be killed: ``collect.py PORT STORE SECRET``.  Says ``ready`` once it has its store."""

from __future__ import annotations

import sys

import trio

from trio_oplog.collector import HTTPServer, create_app, open_store


async def main(port: str, path: str, secret: str) -> None:
    async with open_store(f"sqlite:///{path}") as store:
        listeners = await trio.open_tcp_listeners(int(port), host="127.0.0.1")
        print("ready", flush=True)
        await HTTPServer(create_app(store, secret)).serve(listeners)


trio.run(main, *sys.argv[1:])
