"""The page does what it is for, in every size and colour, with whatever was recorded."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Collector, Visit
from tests.browser.records import HOSTILE_MARKUP, hostile
from trio_oplog import Operation

MakeVisit = Callable[..., Visit]
SIZES = [(360, 740), (1280, 800), (2560, 1440)]
SCHEMES = ["light", "dark"]
OPEN = "id => [...document.querySelectorAll('.calls tr')].find((row) => row.dataset.id === id).querySelector('a').click()"
EVERYWHERE = pytest.mark.parametrize(("width", "height", "scheme"), [(*size, scheme) for size in SIZES for scheme in SCHEMES])


def fresh_workspace() -> str:
    return f"own-{uuid.uuid4()}"


def operation(workspace: str, tool: str = "echo", *, ago: float = 0.0, **changes: Any) -> Operation:
    began = datetime.now(UTC) - timedelta(seconds=ago)
    values: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "workspace_id": workspace,
        "source": "sdk",
        "env_id": "local",
        "tool": tool,
        "is_error": False,
        "started_at": began,
        "completed_at": began,
        "duration_ms": 0,
    }
    return Operation(**(values | changes))


@EVERYWHERE
def test_every_view_fits_and_is_accessible(visit: MakeVisit, tmp_path: Path, width: int, height: int, scheme: str) -> None:
    shown = visit(width, height, scheme)
    shown.open("?workspace=team")
    shown.wait(".calls tbody tr")
    shown.settle()
    dark = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(16, 20, 27)") == (scheme == "dark")
    pictures = Path(os.environ.get("TRIO_OPLOG_PICTURES") or tmp_path)

    def look(name: str) -> None:
        shown.check_layout()
        shown.check_accessibility()
        shown.page.screenshot(path=pictures / f"{name}-{scheme}-{width}.png")

    look("calls")
    shown.page.locator(".calls tbody tr", has_text="commandExecution").first.locator("a").click()
    shown.wait(".side .timeline li")
    shown.settle()
    look("call")
    shown.page.goto(shown.page.url.split("?")[0] + "?workspace=team&view=overview&range=7d")
    shown.wait(".chart svg")
    shown.page.wait_for_selector(".loading", state="detached")
    look("overview")
    shown.page.locator(".cards").evaluate("element => element.scrollTo(0, element.scrollHeight)")
    look("overview-end")
    shown.page.get_by_role("link", name="Workspaces").click()
    shown.until("![...document.querySelectorAll('.plain td')].some((cell) => cell.textContent === '…')")
    look("workspaces")
    shown.page.get_by_role("button", name="Sign out").click()
    shown.wait("#token")
    look("sign-in")


def test_the_list_has_its_columns_and_local_times_with_utc_on_hover(visit: MakeVisit, collector: Collector) -> None:
    workspace = fresh_workspace()
    collector.store(operation(workspace, started_at=datetime(2026, 1, 31, 20, 0, 0, 123456, tzinfo=UTC)))
    shown = visit()
    shown.open(f"?workspace={workspace}")
    shown.wait(".calls tbody tr")
    titles = shown.page.locator(".calls thead th").all_inner_texts()
    assert titles == ["Time", "Who", "Client", "Tool", "Env", "Outcome", "Took", "Waited"]
    time = shown.wait(".calls tbody time")
    assert re.fullmatch(r"01 Feb( 2026)? 01:30:00", time.inner_text())
    assert time.get_attribute("title") == "2026-01-31 20:00:00.123456 UTC"


def test_what_arrives_is_on_top_and_waits_while_somebody_reads(visit: MakeVisit, collector: Collector) -> None:
    workspace = fresh_workspace()
    collector.store(*(operation(workspace, f"old-{number}", ago=60 + number) for number in range(80)))
    shown = visit()
    shown.open(f"?workspace={workspace}")
    shown.wait("button.live.live:not(:disabled)")
    shown.settle()
    collector.store(operation(workspace, "first"))
    shown.wait(".calls tbody tr:first-child:has-text('first')")
    # Who scrolls reads.
    shown.page.locator(".scroll").evaluate("element => element.scrollTo(0, 300)")
    collector.store(operation(workspace, "second"), operation(workspace, "third"))
    fresh = shown.wait(".fresh")
    shown.until("document.querySelector('.fresh').textContent === '2 new'")
    assert shown.rows()[0] == "first"
    shown.check_accessibility()
    fresh.click()
    shown.wait(".calls tbody tr:first-child:has-text('third')")
    assert shown.page.locator(".scroll").evaluate("element => element.scrollTop") == 0
    # So does who says so.
    shown.page.get_by_role("button", name="Live. Pause").click()
    collector.store(operation(workspace, "fourth"))
    shown.until("document.querySelector('.fresh').textContent === '1 new'")
    assert shown.rows()[0] == "third"
    shown.page.get_by_role("button", name="Paused. Follow again").click()
    shown.wait(".calls tbody tr:first-child:has-text('fourth')")


def test_what_was_missed_while_the_connection_was_gone_is_shown(visit: MakeVisit, collector: Collector) -> None:
    workspace = fresh_workspace()
    collector.store(operation(workspace, "before", ago=9))
    shown = visit()
    shown.expected = ["ERR_INTERNET_DISCONNECTED"]
    shown.open(f"?workspace={workspace}")
    shown.wait("button.live.live:not(:disabled)")
    collector.store(operation(workspace, "seen", ago=5))
    shown.wait(".calls tbody tr:first-child:has-text('seen')")
    shown.page.context.set_offline(True)
    shown.page.evaluate("window.dispatchEvent(new Event('offline'))")
    collector.store(operation(workspace, "missed"))
    shown.page.context.set_offline(False)
    shown.wait(".calls tbody tr:first-child:has-text('missed')")


def test_a_list_that_could_not_be_reached_comes_when_the_collector_is_back(visit: MakeVisit, collector: Collector) -> None:
    workspace = fresh_workspace()
    collector.store(operation(workspace, "failing", is_error=True), operation(workspace, "working"))
    shown = visit()
    shown.expected = ["ERR_INTERNET_DISCONNECTED"]
    shown.open(f"?workspace={workspace}")
    shown.wait(".calls tbody tr")
    shown.settle()
    shown.page.context.set_offline(True)
    shown.page.get_by_role("button", name="Errors only").click()
    shown.wait("text=The collector cannot be reached")
    shown.page.context.set_offline(False)
    shown.wait(".calls tbody tr")
    shown.settle()
    assert shown.rows() == ["failing"]
    assert shown.page.get_by_text("The collector cannot be reached").count() == 0


def test_the_list_is_bounded_whatever_arrives_and_however_far_one_goes_back(visit: MakeVisit, collector: Collector) -> None:
    workspace = fresh_workspace()
    collector.store(*(operation(workspace, f"t{number}", ago=2000 + number) for number in range(100)))
    shown = visit()
    shown.open(f"?workspace={workspace}")
    shown.wait("button.live.live:not(:disabled)")
    shown.settle()
    for _ in range(11):
        collector.store(*(operation(workspace, "burst") for _ in range(100)))
    collector.store(operation(workspace, "the last"))
    shown.wait(".calls tbody tr:first-child:has-text('the last'), .fresh:not([hidden])")
    assert len(shown.rows()) <= 600
    shown.page.reload()
    shown.wait(".calls tbody tr:first-child:has-text('the last')")
    for _ in range(30):
        shown.settle()
        shown.page.locator(".scroll").evaluate("element => element.scrollTo(0, element.scrollHeight)")
        rows = shown.rows()
        assert len(rows) <= 600
        if rows[-1] == "t99":
            break
    assert shown.rows()[-1] == "t99"
    shown.wait(".foot:has-text('where the log begins')")
    shown.page.get_by_role("button", name="Back to the newest").click()
    shown.wait(".calls tbody tr:first-child:has-text('the last')")


def test_filters_and_search_are_chips_and_in_the_url(visit: MakeVisit) -> None:
    shown = visit()
    shown.open("?workspace=team")
    shown.wait(".calls tbody tr")
    shown.settle()
    # A filter by its name and value.
    shown.page.get_by_text("Add filter").click()
    shown.page.get_by_label("Filter by").select_option("tool")
    shown.page.get_by_label("Value").fill("query")
    shown.page.get_by_role("button", name="Add", exact=True).click()
    shown.wait(".chip:has-text('query')")
    shown.until("[...document.querySelectorAll('.calls td.tool')].every((cell) => cell.textContent === 'query')")
    assert "tool=query" in shown.page.url
    # A search, which looks into arguments.
    search = shown.page.get_by_role("searchbox")
    search.fill("FROM users")
    search.press("Enter")
    shown.wait(".chip:has-text('FROM users')")
    assert "q=FROM+users" in shown.page.url
    shown.page.get_by_role("button", name="Errors only").click()
    shown.page.wait_for_url("**is_error=true**")
    shown.page.get_by_label("Time").select_option("30d")
    shown.page.wait_for_url("**range=30d**")
    # Back and forward.
    shown.page.go_back()
    shown.page.go_back()
    assert "is_error" not in shown.page.url
    shown.settle()
    assert set(shown.rows()) == {"query"}
    shown.page.go_forward()
    shown.page.wait_for_url("**is_error=true**")
    # The same from a link, and away with them.
    again = shown.page.url
    shown.page.goto(again)
    shown.wait(".chip:has-text('query')")
    shown.page.get_by_role("button", name="Remove the filter tool query").click()
    shown.until("!location.search.includes('tool=')")
    shown.page.get_by_role("button", name="Clear all").click()
    shown.until("location.search === '?workspace=team'")


def test_a_search_that_finds_nothing_says_what_to_do(visit: MakeVisit) -> None:
    shown = visit()
    shown.open("?workspace=team&q=no+such+text+anywhere")
    shown.wait("text=No call fits")
    shown.check_accessibility()
    shown.page.get_by_role("button", name="Clear all filters").click()
    shown.wait(".calls tbody tr")


def test_a_long_filter_is_cut_and_its_name_is_not(visit: MakeVisit) -> None:
    shown = visit(*SIZES[0])
    shown.open(f"?workspace=team&outcome={'x' * 90}")
    shown.wait("text=No call fits")
    shown.check_layout()
    assert shown.page.evaluate("document.querySelector('.chip-name').getClientRects().length") == 1
    assert shown.page.evaluate("document.querySelector('.chip').clientHeight") < 40


def test_a_filter_that_cannot_be_says_so(visit: MakeVisit) -> None:
    shown = visit()
    shown.expected = ["status of 400"]
    shown.open("?workspace=team&since=yesterday")
    shown.wait("text=The filter “from” cannot be used")
    shown.page.get_by_role("button", name="Remove this filter").click()
    shown.wait(".calls tbody tr")
    assert "since" not in shown.page.url


def test_one_call_in_full(visit: MakeVisit, collector: Collector) -> None:
    workspace = fresh_workspace()
    from trio_oplog import Approval, Context, DecidedBy, ResultMeta

    main = operation(
        workspace,
        "write_file",
        ago=5,
        user_id="ada",
        thread_id="t-1",
        request_id="17",
        duration_ms=2500,
        arguments=b'{ "n" : 9007199254740993, "s": "\\u0041\\n" }',
        result_summary="written\nwith two lines",
        result_meta=ResultMeta(waited_ms=2100),
        context=Context(client="desk/1.2", server="files/3.4", protocol="2026-07-28", transport="stdio", trace_id="0af7" * 8),
        approval=Approval(decision="accept", by=DecidedBy.CLIENT, waited_ms=2100, reason="Write notes.txt?", risk="low"),
    )
    collector.store(
        main, operation(workspace, "read_file", ago=9, thread_id="t-1"), operation(workspace, "else", thread_id="t-2")
    )
    shown = visit()
    shown.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown.open(f"?workspace={workspace}")
    shown.page.locator(".calls tbody tr", has_text="write_file").locator("a").click()
    shown.wait(".side .timeline li")
    side = shown.page.locator(".side")
    assert side.get_by_role("region", name="Arguments").inner_text() == '{\n  "n": 9007199254740993,\n  "s": "\\u0041\\n"\n}'
    assert side.get_by_role("region", name="Result").inner_text() == "written\nwith two lines"
    side.get_by_role("button", name="Copy the arguments").click()
    shown.wait("button:has-text('Copied')")
    assert shown.page.evaluate("navigator.clipboard.readText()") == main.arguments.decode()  # type: ignore[union-attr]
    text = side.inner_text()
    for part in (
        "accept",
        "the client",
        "Write notes.txt?",
        "low",
        "2.10 s",
        "2.50 s",
        "desk/1.2",
        "files/3.4",
        "2026-07-28",
        "stdio",
        "17",
    ):
        assert part in text, part
    assert side.locator(".timeline .name").all_inner_texts() == ["read_file", "write_file"]
    assert main.id in shown.page.url
    # Along the thread, and back.
    side.locator(".timeline a").first.click()
    shown.until("document.querySelector('.side h2').textContent === 'read_file'")
    shown.page.go_back()
    shown.until("document.querySelector('.side h2').textContent === 'write_file'")
    side.get_by_role("link", name="only these: calls with this thread").click()
    shown.wait(".chip:has-text('t-1')")
    shown.settle()
    assert shown.rows() == ["write_file", "read_file"]


def test_a_call_that_is_gone_says_so(visit: MakeVisit) -> None:
    shown = visit()
    shown.open("?workspace=team&call=no-such-id")
    shown.wait("text=This workspace has no such call")
    shown.page.get_by_role("link", name="Back to the list").click()
    shown.until("!location.search.includes('call=')")


def test_the_overview_says_where_it_does_not_count_everything(visit: MakeVisit, collector: Collector) -> None:
    few, many = fresh_workspace(), fresh_workspace()
    collector.store(operation(few), *(operation(many, f"tool-{number}") for number in range(1_001)))
    for workspace, is_said in ((few, False), (many, True)):
        shown = visit()
        shown.open(f"?workspace={workspace}&view=overview")
        shown.wait(".chart svg")
        shown.page.wait_for_selector(".loading", state="detached")
        assert shown.page.get_by_text("the most frequent 1,000 count").is_visible() == is_said


def test_the_overview_counts_and_leads_to_the_calls(visit: MakeVisit) -> None:
    shown = visit()
    shown.open("?workspace=team")
    shown.page.get_by_role("link", name="Overview").click()
    shown.wait(".chart svg")
    shown.page.wait_for_selector(".loading", state="detached")
    assert "range=7d" in shown.page.url
    figures = shown.page.locator(".figure b").all_inner_texts()
    assert int(figures[0].replace(",", "")) >= 1400
    tools = shown.page.get_by_role("region", name="Tools").first
    for title in ("p50", "p95", "p99", "Errors"):
        assert tools.get_by_role("columnheader", name=title).count() == 1
    assert tools.get_by_role("link", name="read_file").count() == 1
    approvals = shown.page.get_by_role("region", name="Approvals")
    assert {"accept", "decline", "acceptForSession"} <= set(approvals.get_by_role("link").all_inner_texts())
    assert approvals.get_by_role("group", name="Last decisions").get_by_role("row").count() == 11
    slowest = shown.page.get_by_role("region", name="Slowest calls").first.locator("tbody tr")
    assert slowest.count() == 10
    shown.page.get_by_text("As a table").click()
    table = shown.page.get_by_role("region", name="Calls over time, as a table")
    assert table.get_by_role("row").count() == table.get_by_role("link").count() + 1 > 20
    assert "since=" in table.get_by_role("link").last.get_attribute("href")
    shown.check_accessibility()
    # A bar leads to its calls.
    shown.page.locator("g.bar").nth(-3).click(force=True)
    shown.wait(".calls tbody tr")
    assert "since=" in shown.page.url
    assert "until=" in shown.page.url
    shown.page.go_back()
    shown.wait(".chart svg")
    shown.page.get_by_role("region", name="Tools").first.get_by_role("link", name="query").click()
    shown.wait(".chip:has-text('query')")


def test_an_overview_that_could_not_be_reached_says_so_once_and_comes_when_the_collector_is_back(visit: MakeVisit) -> None:
    shown = visit()
    shown.expected = ["ERR_INTERNET_DISCONNECTED"]
    shown.open("?workspace=team&view=overview&range=7d")
    shown.wait(".chart svg")
    shown.page.wait_for_selector(".loading", state="detached")
    shown.page.context.set_offline(True)
    shown.page.get_by_role("button", name="Errors only").click()
    shown.wait("text=The collector cannot be reached")
    assert shown.page.locator(".notice").count() == 1
    shown.page.context.set_offline(False)
    shown.wait(".chart svg")
    shown.page.wait_for_selector(".loading", state="detached")
    assert shown.page.locator(".notice").count() == 0


def test_the_slowest_calls_are_those_of_the_whole_time(visit: MakeVisit, collector: Collector) -> None:
    workspace = fresh_workspace()
    slow = operation(workspace, "slow", ago=3 * 86_400, duration_ms=7_000)
    collector.store(slow, *(operation(workspace, "quick", ago=60, duration_ms=number % 50) for number in range(1001)))
    shown = visit()
    shown.open(f"?workspace={workspace}&view=overview")
    card = shown.page.get_by_role("region", name="Slowest calls")
    card.get_by_role("link", name="slow").wait_for()
    assert card.locator("tbody th").all_inner_texts() == ["slow", *["quick"] * 9]
    assert "7.00 s" in card.locator("tbody tr").first.inner_text()
    assert "newest" not in card.inner_text()
    assert "slower ones" not in card.inner_text()

    def cut_short(route: Any) -> None:
        reply = route.fetch().json()
        route.fulfill(json={**reply, "incomplete": True})

    shown.page.route("**/slowest?*", cut_short)
    shown.page.reload()
    shown.wait("text=there may be slower ones")
    assert shown.page.get_by_role("region", name="Slowest calls").locator("tbody tr").count() == 10


def test_the_workspaces_are_there_and_one_is_chosen(visit: MakeVisit, collector: Collector) -> None:
    shown = visit()
    shown.open("?workspace=team&tool=query")
    shown.wait(".calls tbody tr")
    later = fresh_workspace()
    collector.store(operation(later))
    shown.page.get_by_label("Workspace").select_option("staging")
    shown.until("location.search === '?workspace=staging'")
    shown.page.get_by_role("link", name="Workspaces").click()
    names = shown.page.locator("tbody th")
    names.first.wait_for()
    # Who went there with the keyboard is still there.
    assert shown.page.evaluate("document.activeElement.textContent") == "Workspaces"
    assert {"team", "staging", "hostile", later} <= set(names.all_inner_texts())
    shown.page.locator("tbody th a", has_text="team").click()
    shown.wait(".calls tbody tr")
    assert "workspace=team" in shown.page.url


@pytest.mark.parametrize("format_", ["CSV", "NDJSON"])
def test_what_is_shown_is_exported(visit: MakeVisit, format_: str) -> None:
    shown = visit()
    shown.open("?workspace=staging&tool=query")
    shown.wait(".calls tbody tr")
    shown.settle()
    shown.page.get_by_text("Export", exact=True).click()
    with shown.page.expect_download() as download:
        shown.page.get_by_role("button", name=re.compile(f"^{format_}")).click()
    text = Path(download.value.path()).read_text()
    assert download.value.suggested_filename == f"operations.{format_.lower()}"
    if format_ == "NDJSON":
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["tool"] for line in lines] == shown.rows()
        assert "SELECT" in lines[0]["arguments"]["sql"]
    else:
        assert text.startswith("id,workspace_id,")
        assert len(text.splitlines()) == len(shown.rows()) + 1


def test_an_export_that_fails_is_said_where_one_sees_it_and_not_begun_again(visit: MakeVisit) -> None:
    shown = visit()
    shown.expected = ["ERR_FAILED"]
    shown.page.clock.install()
    shown.open("?workspace=team")
    shown.wait(".calls tbody tr")
    shown.settle()
    begun: list[str] = []

    def break_off(route: Any) -> None:
        begun.append(route.request.url)
        shown.until("document.querySelector('.export summary').textContent === 'Exporting…'")
        route.abort()

    shown.page.route("**/export?*", break_off)
    shown.page.get_by_text("Export", exact=True).click()
    shown.page.get_by_role("button", name="CSV").click()
    notice = shown.wait(".notice:has-text('cannot be reached')")
    assert notice.evaluate("element => element.getBoundingClientRect().bottom") <= 800
    shown.check_accessibility()
    assert "goes on" not in notice.inner_text()
    assert shown.page.locator(".export summary").inner_text() == "Export"
    shown.page.clock.fast_forward(60_000)
    assert len(begun) == 1
    notice.get_by_role("button", name="Try again").click()
    shown.wait(".notice:has-text('cannot be reached')")
    assert len(begun) == 2


def test_signing_in_with_a_token_and_out(visit: MakeVisit) -> None:
    shown = visit()
    shown.expected = ["status of 401", "status of 403"]
    shown.open(token=None)
    field = shown.page.get_by_label("Token")
    field.fill("wrong")
    field.press("Enter")
    shown.wait("text=does not know this token")
    # One that may only store.
    shown.page.get_by_label("Token").fill("write")
    shown.page.get_by_role("button", name="Sign in").click()
    shown.wait("text=This token may not look")
    shown.page.get_by_label("Token").fill("audit")
    shown.page.get_by_role("button", name="Sign in").click()
    shown.wait(".calls tbody tr")
    assert "audit" in shown.page.locator(".account").inner_text()
    assert shown.page.context.cookies() == []
    # Another tab of the same browser is signed in, too, and one in another browser is not.
    other = visit(context=shown.page.context)
    other.open("?workspace=team", token=None)
    other.wait(".calls tbody tr")
    other.page.close()
    shown.page.get_by_role("button", name="Sign out").click()
    shown.wait("#token")
    shown.page.reload()
    shown.wait("#token")
    assert shown.page.evaluate("sessionStorage.length + localStorage.length") == 0


def test_a_token_to_read_sees_no_payloads_and_the_page_says_so(visit: MakeVisit) -> None:
    shown = visit()
    shown.open("?workspace=team", token="read")
    shown.wait("text=arguments and results are hidden, and a search finds tools only")
    shown.wait(".calls tbody tr a").click()
    shown.wait(".side .blind")
    assert shown.page.locator(".side pre").count() == 0
    assert "Copy" not in shown.page.locator(".side").inner_text()
    shown.check_accessibility()


def test_looking_the_list_over_is_no_read_of_payloads_and_opening_a_call_is(visit: MakeVisit, collector: Collector) -> None:
    shown = visit()
    shown.open("?workspace=staging")
    shown.wait(".calls tbody tr")
    shown.settle()
    before = collector.count("trio-oplog")
    shown.page.reload()
    shown.wait(".calls tbody tr")
    shown.settle()
    assert collector.count("trio-oplog") == before
    shown.wait(".calls tbody tr a").click()
    shown.wait(".side pre")
    assert collector.count("trio-oplog") == before + 1


def test_an_empty_workspace_says_what_to_do(visit: MakeVisit, collector: Collector) -> None:
    shown = visit()
    shown.open("?workspace=nothing-yet")
    shown.wait("text=Nothing was recorded here yet")
    shown.check_accessibility()
    shown.open("", token="nothing")
    shown.wait("text=Nothing was recorded yet")
    assert shown.page.get_by_label("Workspace", exact=True).count() == 0
    shown.check_accessibility()
    # The first call comes by itself.
    collector.store(operation("nothing-yet", "first"))
    shown.wait(".calls tbody tr:has-text('first')")


def test_everything_is_done_with_the_keyboard(visit: MakeVisit) -> None:
    shown = visit()
    shown.open("?workspace=team")
    shown.wait(".calls tbody tr")
    shown.settle()
    focused = "document.activeElement.closest('tr')?.rowIndex"
    press = shown.page.keyboard.press
    press("/")
    assert shown.page.evaluate("document.activeElement.id") == "search"
    press("Escape")
    press("ArrowDown")
    press("ArrowDown")
    press("ArrowDown")
    press("ArrowUp")
    assert shown.page.evaluate(focused) == 2
    opened = shown.page.evaluate("document.activeElement.closest('tr').dataset.id")
    press("Enter")
    shown.wait(".side .summary")
    shown.until("document.activeElement.tagName === 'H2'")
    assert opened in shown.page.url
    press("Escape")
    shown.until("document.querySelector('.side').hidden")
    assert shown.page.evaluate("document.activeElement.closest('tr').dataset.id") == opened
    press("End")
    assert shown.page.evaluate(focused) >= 100
    press("Home")
    assert shown.page.evaluate(focused) == 1
    press("Escape")
    assert shown.page.evaluate("document.activeElement === document.body")
    # What opened below a button closes by Escape, and by a click elsewhere.
    for button in ("Add filter", "Export"):
        shown.page.get_by_text(button, exact=True).click()
        shown.wait("details[open]")
        press("Tab")
        press("Escape")
        assert shown.page.evaluate("document.activeElement.textContent") == button
        shown.page.get_by_text(button, exact=True).click()
        shown.page.locator(".bars").click(position={"x": 2, "y": 2})
        shown.page.wait_for_selector("details[open]", state="detached")


@pytest.mark.parametrize(("width", "height"), [SIZES[0], SIZES[1]])
def test_hostile_records_break_nothing(visit: MakeVisit, width: int, height: int) -> None:
    shown = visit(width, height)
    shown.open("?workspace=hostile")
    shown.wait(".calls tbody tr")
    shown.settle()
    shown.check_layout()
    shown.check_accessibility()
    records = hostile(datetime.now(UTC))
    assert shown.page.locator(".calls tbody tr").count() == len(records)
    for record in records:
        shown.page.evaluate(OPEN, record.id)
        shown.page.wait_for_selector(".side .summary")
        shown.page.wait_for_selector(".loading", state="detached")
        shown.check_layout()
        if width < 1280 and record.id != "hostile-4":  # whose megabytes axe would look at one by one
            shown.check_accessibility(".side")
        text = shown.page.locator(".side").inner_text()
        assert "\u202e" not in text
        assert "\0" not in text
        shown.page.keyboard.press("Escape")
        shown.until("document.querySelector('.side').hidden")
    # All of it is text.
    assert shown.page.title() == "Calls · trio-oplog"
    assert shown.page.locator("main img, main script").count() == 0
    shown.page.get_by_label("Workspace").locator("option").first.wait_for(state="attached")
    shown.page.goto(shown.page.url.split("?")[0] + "?workspace=hostile&view=overview&range=7d")
    shown.wait(".chart svg")
    shown.page.wait_for_selector(".loading", state="detached")
    assert shown.page.get_by_role("link", name=HOSTILE_MARKUP[:20]).count() > 0
    shown.check_layout()
    shown.check_accessibility()


def test_ten_megabytes_are_shown_from_their_beginning_and_copied_whole(visit: MakeVisit) -> None:
    shown = visit()
    shown.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown.open("?workspace=hostile&call=hostile-4")
    arguments = shown.wait(".side pre")
    assert len(arguments.inner_text()) < 40_000
    shown.page.get_by_role("button", name="Show more").click()
    shown.wait("text=Copy gives all of it")
    assert 1_000_000 < len(arguments.inner_text()) < 1_200_000
    shown.page.get_by_role("button", name="Copy the arguments").click()
    shown.wait("button:has-text('Copied')")
    [big] = [record for record in hostile(datetime.now(UTC)) if record.id == "hostile-4"]
    assert shown.page.evaluate("navigator.clipboard.readText().then((text) => text.length)") == len(big.arguments or b"")


def test_the_link_of_ui_signs_in_once(visit: MakeVisit, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trio_oplog", "ui", "--no-browser"]
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stderr is not None
        process.stderr.readline()
        link = process.stderr.readline().split()[-1]
        base = link.partition("/#")[0]
        try:
            shown = visit(base=base)
            shown.page.goto(link)
            shown.wait("text=Nothing was recorded yet")
            assert "#" not in shown.page.url
            shown.page.reload()
            shown.wait("text=Nothing was recorded yet")
            other = visit(base=base)
            other.expected = ["status of 403"]
            other.page.goto(link)
            other.wait("text=The link was used already")
            # There is no token that one could have.
            other.wait("text=Open the link that trio-oplog ui has printed")
            assert other.page.locator("input").count() == 0
            other.check_accessibility()
        finally:
            process.terminate()
            assert process.wait(30) == 0
