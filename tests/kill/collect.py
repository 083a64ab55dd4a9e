"""A collector to be killed: ``collect.py PORT STORE SECRET``.  Says ``ready`` once it has its store."""

from __future__ import annotations

import sys

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from trio_oplog.collector import create_app, open_store


async def main(port: str, path: str, secret: str) -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.errorlog = None
    async with open_store(f"sqlite:///{path}") as store:
        print("ready", flush=True)
        await serve(create_app(store, secret), config)  # type: ignore[arg-type]


trio.run(main, *sys.argv[1:])
