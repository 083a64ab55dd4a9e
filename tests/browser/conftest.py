"""The page in Debian's Chromium, by Playwright, before a collector that runs in a process of its own.

These tests are run by ``nox -s browser`` (``pytest tests/browser``); a plain ``pytest`` leaves them out, for they need Chromium
and npm.  Playwright brings an event loop of its own, so nothing here runs under Trio.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.browser.records import hostile, week
from tests.npm import install
from trio_oplog import Operation, _wire
from trio_oplog.collector import DEFAULT_PATH, Role, open_store

AXE = "axe-core@4.14.1"
SECRET = "swordfish"
AUDIT = "audit"
SIGN_IN = """if (!sessionStorage.getItem("test-%(token)s")) {
  sessionStorage.setItem("test-%(token)s", "signed in");
  sessionStorage.setItem("trio-oplog-token", "%(token)s");
}"""
ROWS_LOOKED_AT = 12
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    asked_for = any("browser" in argument for argument in config.args)
    return None if asked_for else True


@pytest.fixture(scope="session")
def axe(pytestconfig: pytest.Config) -> str:
    """The source of axe-core, from npm, kept in pytest's cache."""
    modules = install(pytestconfig, "axe", AXE, options=("--ignore-scripts",))
    return (modules / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the tests of the page need playwright")
    program = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if program is None:
        pytest.fail("the tests of the page need Chromium: apt-get install chromium")
    # Root, as which CI runs, cannot have the sandbox.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


class Collector:
    """A collector that runs: where, and how to store something in it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(
            headers={"X-Internal-Secret": SECRET}, trust_env=False, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        )

    def store(self, *operations: Operation) -> None:
        """Store operations as a gateway does."""
        lines = b"\n".join(map(_wire.encode, operations))
        reply = self._http.post(self.url + DEFAULT_PATH, content=lines, headers={"Content-Type": "application/x-ndjson"})
        assert len(reply.json()["stored"]) == len(operations), reply.text

    def count(self, workspace: str) -> int:
        """How many of its records there are, a thousand at most."""
        reply = self._http.get(self.url + DEFAULT_PATH, params={"workspace_id": workspace, "limit": "1000", "payloads": "false"})
        return len(reply.json()["operations"])

    def close(self) -> None:
        self._http.close()


def tokens() -> str:
    """The file of tokens: one of each role for all workspaces, with its name as the token."""
    tables = []
    for role in Role:
        digest = sha256(role.value.encode()).hexdigest()
        tables.append(f'[[token]]\nsha256 = "{digest}"\nname = "{role}er"\nrole = "{role}"\nworkspaces = "*"\n')
    digest = sha256(b"nothing").hexdigest()
    tables.append(f'[[token]]\nsha256 = "{digest}"\nname = "newcomer"\nrole = "audit"\nworkspaces = ["nothing-yet"]\n')
    return "\n".join(tables)


@pytest.fixture(scope="session")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A collector with a week of a team, and what is made to do harm."""
    folder = tmp_path_factory.mktemp("collector")
    url = f"sqlite:///{folder / 'operations.sqlite3'}"

    async def fill() -> None:
        now = datetime.now(UTC)
        async with open_store(url) as store:
            await store.add(list(week(now)))
            await store.add(list(week(now, workspace="staging", count=140, seed=9)))
            for operation in hostile(now):
                await store.add([operation])

    trio.run(fill)
    (folder / "tokens.toml").write_text(tokens())
    command = [sys.executable, "-m", "trio_oplog", "collect", "--listen", "127.0.0.1:0", "--store", url]
    command += ["--tokens", str(folder / "tokens.toml")]
    env = {**os.environ, "TRIO_OPLOG_SECRET": SECRET}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert said.startswith("collecting on "), said
        running = Collector(said.split()[2].removesuffix(DEFAULT_PATH))
        try:
            yield running
        finally:
            running.close()
            process.terminate()
            assert process.wait(30) == 0


class Visit:
    """A tab of the page, and what went wrong in it.

    Attributes:
        page: Playwright's page.
        expected: Parts of error messages that the test means to cause.
    """

    def __init__(self, page: Any, base: str, axe: str) -> None:
        self.page = page
        self.expected: list[str] = []
        self._base = base
        self._axe = axe
        self._problems: list[str] = []
        page.set_default_timeout(30_000)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self._problems.append(f"exception: {error}"))
        page.on("request", self._watch)

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self._problems.append(f"console: {message.text}")

    def _watch(self, request: Any) -> None:
        if not request.url.startswith((self._base, f"blob:{self._base}")):
            self._problems.append(f"request to {request.url[:80]}")

    def open(self, query: str = "", *, token: str | None = AUDIT) -> None:
        """Load the page, signed in unless there is no token."""
        if token is not None:
            # Once, so that who signs out stays out.
            self.page.add_init_script(SIGN_IN % {"token": token})
        self.page.goto(f"{self._base}/{query}")

    def wait(self, selector: str, **options: Any) -> Any:
        """The first element of a kind, once it is there."""
        found = self.page.locator(selector).first
        found.wait_for(**options)
        return found

    def until(self, expression: str) -> None:
        """Wait until an expression is true; Playwright's own way needs a policy that lets the page evaluate text."""
        for _ in range(1500):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(20)
        pytest.fail(f"never true: {expression}")

    def rows(self) -> list[str]:
        """What the list shows, by tool."""
        found = self.page.evaluate("[...document.querySelectorAll('.calls tbody td.tool')].map((cell) => cell.textContent)")
        return [text.strip() for text in found]

    def settle(self) -> None:
        """Wait until the list has what was asked for, and follows."""
        self.until("document.querySelector('.list') && !document.querySelector('.list').hasAttribute('aria-busy')")
        self.page.wait_for_selector(".loading", state="detached")

    def check_layout(self) -> None:
        """Nothing is wider than the window."""
        wide = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], f"the page is {wide[0]} wide in a window of {wide[1]}"

    def check_accessibility(self, part: str = ":root") -> None:
        """axe-core finds no violation in a part of the page; of the rows of a list, which are made alike, it looks at some."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(self._axe)
        where = {"include": [[part]], "exclude": [[f".calls tbody tr:nth-child(n + {ROWS_LOOKED_AT + 1})"]]}
        options = {"resultTypes": ["violations"], "preload": False}
        found = self.page.evaluate(
            "([where, options]) => axe.run(where, options).then((result) => result.violations)", [where, options]
        )
        told = [(each["id"], each["help"], [node["html"][:200] for node in each["nodes"][:3]]) for each in found]
        assert not told, json.dumps(told, indent=1)

    def check(self) -> None:
        """Nothing went wrong that the test did not mean to cause."""
        left = [problem for problem in self._problems if not any(part in problem for part in self.expected)]
        assert not left, left


@pytest.fixture
def visit(chromium: Any, collector: Collector, axe: str) -> Iterator[Callable[..., Visit]]:
    """Opens tabs, each in a browser of its own unless it is told a context, and looks at the end what went wrong in them."""
    visits: list[Visit] = []
    contexts: list[Any] = []

    def make(
        width: int = 1280, height: int = 800, scheme: str = "light", *, context: Any = None, base: str | None = None
    ) -> Visit:
        if context is None:
            context = chromium.new_context(
                viewport={"width": width, "height": height},
                color_scheme=scheme,
                locale="en-GB",
                timezone_id="Asia/Kolkata",
                reduced_motion="reduce",
            )
            contexts.append(context)
        made = Visit(context.new_page(), base or collector.url, axe)
        visits.append(made)
        return made

    yield make
    for each in visits:
        each.check()
    for context in contexts:
        context.close()
