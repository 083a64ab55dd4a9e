"""The page for people, in Chromium, before ``trio-oplog ui``: what it takes to paint, to filter and to follow.

``TRIO_OPLOG_RECORDS`` says how many records there are (100 000; the goals are for 1 000 000), ``TRIO_OPLOG_STORE`` names another
database than a new SQLite file; one that has records is taken as it is.  ``TRIO_OPLOG_MINUTES`` says for how long 5 000 records a
minute arrive (1; the goal is for 10).

A filter takes from the input to the rows on the screen, and is measured in the page.  The baseline is a page, or a file, of a few
bytes, loaded in turn: what the browser and the machine take whatever is asked for.  ``TRIO_OPLOG_COLLECT=1`` has ``trio-oplog
collect`` serve, to which the records are sent; else they come from another process than the one that serves, as from ``wrap``.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Self

import attrs
import httpx
import psutil
import trio

from benchmarks.measure import Row, show
from benchmarks.records import RARE_TOOL, records
from trio_oplog import ListQuery, Operation
from trio_oplog._wire import encode
from trio_oplog.collector import DEFAULT_PATH, StatisticsQuery, open_store

RECORDS = int(os.environ.get("TRIO_OPLOG_RECORDS", "100000"))
MINUTES = float(os.environ.get("TRIO_OPLOG_MINUTES", "1"))
COLLECTS = bool(os.environ.get("TRIO_OPLOG_COLLECT"))
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
WORKSPACE = "team"
PAINT_MS, FILTER_MS, LIVE_MS = 1_000, 300, 1_000
TURNS = 5
PER_MINUTE = 5_000
BATCHES_PER_SECOND = 4
HEAP_GROWTH = 1.5
MEBIBYTE = 2**20

FILTERS = {
    "a usual tool": ("tool", "read_files"),
    "a rare tool": ("tool", RARE_TOOL),
    "a user": ("user_id", "user-7"),
    "errors only": ("is_error", "true"),
    "an outcome": ("outcome", "failed"),
    "an environment": ("env_id", "mail"),
    "a client": ("client", "codex/0.171.0"),
    "an approval": ("approval", "decline"),
    "a search": ("q", "quick brown"),
    "a tool that is not there": ("tool", "no-such-tool"),
    "a user that is not there": ("user_id", "nobody"),
    "a thread that is not there": ("thread_id", "no-such-thread"),
}

# What is done in the page.  A frame that was drawn is told by what comes after the one that draws it.
TOOLS_OF_THE_PAGE = """
window.drawn = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
window.settled = async () => {
  const list = () => document.querySelector(".list");
  while (!list() || list().hasAttribute("aria-busy")) await new Promise((done) => setTimeout(done, 1));
  await drawn();
};
window.timed = async (act) => {
  const began = performance.now();
  await act();
  return performance.now() - began;
};
window.ask = (name, value) => timed(async () => {
  if (name === "is_error") document.querySelector(".toggle").click();
  else if (name === "q") {
    document.getElementById("search").value = value;
    document.querySelector("form[role=search]").requestSubmit();
  } else {
    document.getElementById("filter-name").value = name;
    document.getElementById("filter-value").value = value;
    document.querySelector(".adder form").requestSubmit();
  }
  await settled();
});
window.arrivals = [];
window.watch = () => new MutationObserver((changes) => {
  const now = Date.now();
  for (const change of changes) for (const row of change.addedNodes) if (row.dataset?.id) arrivals.push([row.dataset.id, now]);
}).observe(document.querySelector(".calls tbody"), { childList: true });
window.longest = 0;
new PerformanceObserver((entries) => {
  for (const entry of entries.getEntries()) window.longest = Math.max(window.longest, entry.duration);
}).observe({ type: "longtask" });
"""


class Server(NamedTuple):
    """What serves the page.

    Attributes:
        url: Where.
        token: What signs in.
        process: It.
    """

    url: str
    token: str
    process: psutil.Process

    def cpu(self) -> float:
        """How long it has computed, in milliseconds."""
        times = self.process.cpu_times()
        return float(times.user + times.system) * 1e3


async def fill(url: str) -> int:
    """See to it that there are records, and say how many."""
    async with open_store(url) as store:
        if not await store.find(ListQuery(workspace_id=WORKSPACE, limit=1)):
            made = records(RECORDS, 30 * RECORDS / 1_000_000)
            while batch := list(itertools.islice(made, 2_000)):
                await store.add(batch)
        found = 0
        for name in await store.workspaces():
            counted = await store.statistics(StatisticsQuery(workspace_id=name, by="outcome"))
            found += sum(each.count for each in counted.groups)
        return found


@contextmanager
def serving(url: str) -> Iterator[Server]:
    """The page, served by a process of its own that ends with the block."""
    token = secrets.token_urlsafe()
    program = [sys.executable, "-m", "trio_oplog"]
    ways = {
        True: [*program, "collect", "--listen", "127.0.0.1:0", "--store", url],
        False: [*program, "ui", "--no-browser", "--store", url],
    }
    env = {**os.environ, "TRIO_OPLOG_SECRET": token}
    with subprocess.Popen(ways[COLLECTS], stderr=subprocess.PIPE, text=True, env=env) as process:  # noqa: S603
        assert process.stderr is not None
        said = process.stderr.readline()
        try:
            if COLLECTS:
                base = said.split()[2].removesuffix(DEFAULT_PATH)
            else:
                base, _, code = process.stderr.readline().split()[-1].partition("/#code=")
                token = httpx.post(f"{base}/exchange", headers={"Authorization": f"Bearer {code}"}, trust_env=False).text
            yield Server(base, token, psutil.Process(process.pid))
        finally:
            process.terminate()


class Tab:
    """A tab that shows the page."""

    def __init__(self, browser: Any, server: Server) -> None:
        self._server = server
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        context.add_init_script(f"sessionStorage.setItem('trio-oplog-token', {server.token!r});{TOOLS_OF_THE_PAGE}")
        self.page = context.new_page()
        self.page.set_default_timeout(120_000)
        self._devtools = context.new_cdp_session(self.page)
        # By what the page computes, and not by the clock.
        self._devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
        self._devtools.send("HeapProfiler.enable")

    def open(self, query: str = f"?workspace={WORKSPACE}") -> tuple[float, float]:
        """Load the page: milliseconds to the first paint, and to the rows."""
        self.page.goto(f"{self._server.url}/{query}", wait_until="commit")
        rows = self.page.evaluate("settled().then(() => performance.now())")
        return float(self.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")), float(rows)

    def _metrics(self) -> dict[str, float]:
        return {each["name"]: each["value"] for each in self._devtools.send("Performance.getMetrics")["metrics"]}

    def size(self) -> tuple[float, int]:
        """The heap after a collection, in MiB, and how many nodes there are, in the document or not."""
        self._devtools.send("HeapProfiler.collectGarbage")
        metrics = self._metrics()
        return metrics["JSHeapUsedSize"] / MEBIBYTE, int(metrics["Nodes"])

    def cpu(self) -> float:
        """How long its main thread has computed, in milliseconds."""
        return 1e3 * self._metrics()["TaskDuration"]

    def close(self) -> None:
        """Close it."""
        self.page.context.close()


def trivial(browser: Any, server: Server) -> float:
    """Milliseconds to the first paint of a picture of some hundred bytes from the same server, which is no page at all."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server.url}/page/icon.svg")
    took = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    context.close()
    return float(took)


def within(name: str, took: list[float], baseline: list[float], allowed: float | None, more: str = "") -> Row:
    """A row of medians, beside the best and the baseline's median."""
    told = f"best {min(took):,.0f}, trivial {median(baseline):,.0f} ms{more}"
    if allowed is None:
        return Row(name, f"{median(took):,.0f} ms", told, None)
    return Row(name, f"{median(took):,.0f} ms", told, median(took) / allowed, "<= 1")


def painting(browser: Any, server: Server) -> list[Row]:
    """How long it takes to see something, and to see what one came for."""
    first, rows, overview, baseline = [], [], [], []
    used = [0.0] * 4
    for _ in range(TURNS):
        baseline.append(trivial(browser, server))
        tab = Tab(browser, server)
        at = [server.cpu()]
        paint, full = tab.open()
        at += [server.cpu(), tab.cpu()]
        first.append(paint)
        rows.append(full)
        overview.append(
            tab.page.evaluate(
                """timed(async () => {
                  document.querySelector('nav a[href*="view=overview"]').click();
                  do await drawn(); while (document.querySelector(".loading") || !document.querySelector(".chart svg"));
                })"""
            )
        )
        at += [server.cpu(), tab.cpu()]
        spent = (at[1] - at[0], at[2], at[3] - at[1], at[4] - at[2])
        used = [sum(both) for both in zip(used, spent, strict=True)]
        tab.close()
    told = [f"; CPU {used[at] / TURNS:,.0f} + {used[at + 1] / TURNS:,.0f} ms" for at in (0, 2)]
    return [
        within("first paint", first, baseline, PAINT_MS),
        within("the newest calls are there", rows, baseline, PAINT_MS, told[0]),
        within("the whole overview, from its link", overview, baseline, None, told[1]),
    ]


def filtering(browser: Any, server: Server) -> list[Row]:
    """How long each filter takes, from the input to the rows."""
    tab = Tab(browser, server)
    tab.open()
    rows = []
    for name, (key, value) in FILTERS.items():
        took, baseline, served, drawn = [], [], 0.0, 0.0
        for _ in range(TURNS):
            baseline.append(tab.page.evaluate("timed(() => fetch('page/icon.svg').then((file) => file.text()).then(drawn))"))
            before = server.cpu(), tab.cpu()
            took.append(tab.page.evaluate("([name, value]) => ask(name, value)", [key, value]))
            served += (server.cpu() - before[0]) / TURNS
            drawn += (tab.cpu() - before[1]) / TURNS
            tab.page.evaluate("document.querySelector('.chips .quiet, .toggle[aria-pressed=true]').click(), settled()")
        rows.append(within(name, took, baseline, FILTER_MS, f"; CPU {served:,.0f} + {drawn:,.0f} ms"))
    tab.close()
    return rows


class Stream:
    """Records that arrive, five thousand a minute, from a thread of their own.

    Attributes:
        stored: When each was stored, by id, in milliseconds since 1970.
    """

    def __init__(self, url: str, server: Server) -> None:
        self.stored: dict[str, float] = {}
        self._url, self._server = url, server
        self._templates = list(records(1_000, 1))
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    async def _run(self) -> None:
        """Store some, four times a second, however long each takes."""
        headers = {"X-Internal-Secret": self._server.token, "Content-Type": "application/x-ndjson"}
        async with open_store(self._url) as store, httpx.AsyncClient(trust_env=False, headers=headers, timeout=60) as http:
            began, sent = time.monotonic(), 0
            while not self._is_over.is_set():
                due = int((time.monotonic() - began) * PER_MINUTE / 60)
                batch = [self._make(number) for number in range(sent, due)]
                if COLLECTS:
                    body = b"\n".join(map(encode, batch))
                    (await http.post(self._server.url + DEFAULT_PATH, content=body)).raise_for_status()
                else:
                    await store.add(batch)
                now = time.time() * 1e3
                self.stored.update((operation.id, now) for operation in batch)
                sent = due
                await trio.sleep(1 / BATCHES_PER_SECOND)

    def _make(self, number: int) -> Operation:
        like, now = self._templates[number % len(self._templates)], datetime.now(UTC)
        ended = now + timedelta(milliseconds=like.duration_ms)
        return attrs.evolve(like, id=str(uuid.uuid4()), workspace_id=WORKSPACE, started_at=now, completed_at=ended)


def following(browser: Any, server: Server, url: str) -> list[Row]:
    """How soon what arrives is seen, and what it does to the page, for minutes: at the top, and where somebody reads."""
    tabs = {name: Tab(browser, server) for name in ("follows", "reads", "filters")}
    for tab in tabs.values():
        tab.open()
        tab.page.wait_for_selector("button.live:not(:disabled)")
    tabs["follows"].page.evaluate("watch() && undefined")
    tabs["reads"].page.evaluate("document.querySelector('.scroll').scrollTo(0, 500)")
    seen: dict[str, float] = {}
    sizes: list[list[tuple[float, int]]] = []
    filtered: list[float] = []
    resident: list[float] = []
    before = server.cpu()
    with Stream(url, server) as stream:
        end = time.monotonic() + 60 * MINUTES
        while time.monotonic() < end:
            for _ in range(5):
                tabs["follows"].page.wait_for_timeout(1_000)
                seen.update(tabs["follows"].page.evaluate("arrivals.splice(0)"))
            filtered.append(tabs["filters"].page.evaluate("ask('tool', 'read_files')"))
            tabs["filters"].page.evaluate("document.querySelector('.chips .quiet').click(), settled()")
            sizes.append([tabs[name].size() for name in ("follows", "reads")])
            resident.append(server.process.memory_info().rss / MEBIBYTE)
        computed = server.cpu() - before
    tabs["follows"].page.wait_for_timeout(2_000)
    seen.update(tabs["follows"].page.evaluate("arrivals.splice(0)"))
    late = sorted(seen[each] - at for each, at in stream.stored.items() if each in seen)
    longest = [tab.page.evaluate("longest") for tab in tabs.values()]
    for tab in tabs.values():
        tab.close()
    rows = [
        Row("arrived and were seen", f"{len(late):,}", f"of {len(stream.stored):,}", len(late) / max(len(stream.stored), 1)),
        within("seen after it was stored, median", [median(late)], [0], LIVE_MS),
        within("seen after it was stored, 99th percentile", [late[int(0.99 * (len(late) - 1))]], [0], LIVE_MS),
        within("a filter meanwhile", filtered, [0], FILTER_MS),
        Row("the longest task of a tab", f"{max(longest):,.0f} ms", "nothing is drawn meanwhile", None),
        Row(
            "the server's CPU",
            f"{computed / 600 / MINUTES:,.0f} %",
            f"memory {resident[0]:,.0f} to {resident[-1]:,.0f} MiB",
            None,
        ),
    ]
    for number, name in enumerate(("at the top", "where somebody reads")):
        heaps, nodes = zip(*(each[number] for each in sizes), strict=True)
        settled = max(heaps[: len(heaps) // 5 + 1])
        grown = f"{min(nodes):,} to {max(nodes):,} nodes, first {settled:,.1f} MiB"
        rows.append(Row(f"heap at most, {name}", f"{max(heaps):,.1f} MiB", grown, max(heaps) / settled, f"<= {HEAP_GROWTH}"))
    return rows


def run() -> bool:
    """Print the tables; or why there are none."""
    program = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if program is None or importlib.util.find_spec("playwright") is None:
        print("\n(i) The page: not measured, for it takes Chromium and playwright (the group browser)")
        return True
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 -- may not be there

    # Root cannot have the sandbox.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as folder:
        url = os.environ.get("TRIO_OPLOG_STORE") or f"sqlite:///{Path(folder) / 'operations.sqlite3'}"
        count = trio.run(fill, url)
        with serving(url) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=arguments)
            kept = [
                show(f"(i) The page before {count:,} records", painting(browser, server)),
                show("(i) A filter, from the input to the rows; CPU of the server and of the page", filtering(browser, server)),
                show(f"(i) {PER_MINUTE:,} records a minute for {MINUTES:g} minutes", following(browser, server, url)),
            ]
            browser.close()
    return all(kept)
