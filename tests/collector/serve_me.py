"""An app as an ASGI server imports it: ``tests.collector.serve_me:app``, with its store in the environment."""

from __future__ import annotations

import os

from trio_oplog.collector import create_app, open_store

app = create_app(open_store(os.environ["TRIO_OPLOG_TEST_STORE"]), os.environ["TRIO_OPLOG_TEST_SECRET"])
