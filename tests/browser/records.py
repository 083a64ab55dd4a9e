"""What the pages of the tests show: a week of an invented team, and records made to do harm."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from trio_oplog import Approval, Context, DecidedBy, Operation, Outcome, ResultMeta

TOOLS = {
    # name: (env, how often, milliseconds, how many of a hundred fail, arguments, result)
    "search_issues": ("github", 30, 420, 2, {"query": "is:open label:bug", "limit": 20}, "14 issues"),
    "get_file_contents": (
        "github",
        34,
        260,
        1,
        {"path": "src/app.py", "ref": "main"},
        "import asyncio\n\nasync def main():\n    ...",
    ),
    "create_pull_request": (
        "github",
        4,
        1900,
        6,
        {"title": "Fix the parser", "base": "main", "draft": True},
        '{"number": 4711, "state": "open"}',
    ),
    "read_file": ("files", 40, 6, 1, {"path": "/srv/app/config.toml"}, "[server]\nport = 8080\n"),
    "write_file": ("files", 12, 11, 3, {"path": "/srv/app/config.toml", "content": "[server]\nport = 8081\n"}, "written"),
    "query": (
        "postgres",
        22,
        85,
        4,
        {"sql": "SELECT id, email FROM users WHERE active LIMIT 10"},
        '{"rows": [[1, "ada@example.org"]], "count": 1}',
    ),
    "commandExecution": ("local", 26, 3400, 9, {"command": ["pytest", "-q", "tests"], "cwd": "/srv/app"}, "312 passed in 8.41s"),
    "browser_navigate": ("playwright", 9, 2600, 8, {"url": "https://example.org/login"}, "Page title: Sign in"),
    "send_message": ("slack", 5, 640, 2, {"channel": "#deploys", "text": "Rolling out 2.4.1"}, "ok"),
}
PEOPLE = ["ada", "grace", "linus", "margaret"]
CLIENTS = ["claude-code/2.1.4", "codex/0.171.0", "zed/0.214.0"]
ASKED = {"write_file", "commandExecution", "create_pull_request"}
HOSTILE_MARKUP = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'
RIGHT_TO_LEFT = "safe\u202etxt.exe\u2066\u200b"
LONG_WORD = "w" * 65_536


def week(end: datetime, *, workspace: str = "team", count: int = 1500, seed: int = 7) -> Iterator[Operation]:
    """Records of the seven days before a moment, the oldest first."""
    rng = random.Random(seed)
    names = list(TOOLS)
    weights = [TOOLS[name][1] for name in names]
    thread = 0
    # More by day than by night, and the last one a few seconds ago.
    ages = [rng.uniform(4, 7 * 86_400) for _ in range(6 * count)]
    ages = [
        age
        for age in ages
        if rng.random() < 0.12 + max(0.0, math.sin(math.pi * ((end.timestamp() - age) % 86_400) / 86_400)) ** 3
    ]
    for number, age in enumerate(sorted([*ages[: count - 5], 3.0, 9.0, 16.0, 31.0, 48.0], reverse=True)):
        began = end - timedelta(seconds=age)
        if rng.random() < 0.2:
            thread += 1
        name = rng.choices(names, weights)[0]
        env, _, typical, failing, arguments, result = TOOLS[name]
        took = int(typical * rng.lognormvariate(0, 0.6))
        changes: dict[str, Any] = {}
        outcome = None
        waited = None
        if name in ASKED:
            waited = int(rng.lognormvariate(8.2, 0.9))
            took += waited
            decision = rng.choices(["accept", "acceptForSession", "decline"], [8, 3, 1])[0]
            by = DecidedBy.CLIENT if rng.random() < 0.8 else DecidedBy.REVIEWER
            changes["approval"] = Approval(decision=decision, by=by, waited_ms=waited, reason=f"Let {name} run?")
            outcome = Outcome.DECLINED if decision == "decline" else None
        if outcome is None and rng.random() * 100 < failing:
            outcome = rng.choice([Outcome.TOOL_ERROR, Outcome.RPC_ERROR, Outcome.CANCELLED])
        if outcome is not None or waited is not None:
            changes["result_meta"] = ResultMeta(outcome=outcome, waited_ms=waited)
        yield Operation(
            id=f"{seed:08x}-0000-4000-8000-{number:012}",
            workspace_id=workspace,
            source="llm" if env == "local" else "sdk",
            env_id=env,
            tool=name,
            is_error=outcome is not None,
            started_at=began,
            completed_at=began + timedelta(milliseconds=took),
            duration_ms=took,
            user_id=PEOPLE[min(int(rng.expovariate(1.1)), 3)],
            thread_id=f"thread-{thread}",
            request_id=str(number),
            arguments=json.dumps(arguments).encode(),
            result_summary="permission denied: the path is outside of the allowed folders" if outcome else result,
            context=Context(client=rng.choice(CLIENTS), server=f"{env}/1.8.2", protocol="2026-07-28", transport="stdio"),
            **changes,
        )


def hostile(end: datetime, *, workspace: str = "hostile") -> list[Operation]:
    """Records whose writers want to break the page, or do so unknowingly; each has a request id by which it is found."""

    def make(number: int, **changes: Any) -> Operation:
        began = end - timedelta(seconds=number + 1)
        values: dict[str, Any] = {
            "id": f"hostile-{number}",
            "workspace_id": workspace,
            "source": "sdk",
            "env_id": "local",
            "tool": "echo",
            "is_error": False,
            "started_at": began,
            "completed_at": began,
            "duration_ms": 0,
        }
        return Operation(**(values | changes))

    everywhere = {
        "tool": HOSTILE_MARKUP,
        "env_id": HOSTILE_MARKUP,
        "source": HOSTILE_MARKUP,
        "user_id": HOSTILE_MARKUP,
        "thread_id": HOSTILE_MARKUP,
        "request_id": HOSTILE_MARKUP,
        "arguments": json.dumps({HOSTILE_MARKUP: HOSTILE_MARKUP}).encode(),
        "result_summary": HOSTILE_MARKUP,
        "context": Context(client=HOSTILE_MARKUP, server=HOSTILE_MARKUP, session=HOSTILE_MARKUP),
        "approval": Approval(
            decision=HOSTILE_MARKUP, by=DecidedBy.CLIENT, waited_ms=1, reason=HOSTILE_MARKUP, risk=HOSTILE_MARKUP
        ),
    }
    return [
        make(0, **everywhere),
        make(1, tool=LONG_WORD, user_id=LONG_WORD, arguments=json.dumps([LONG_WORD]).encode(), result_summary=LONG_WORD),
        make(
            2, tool=RIGHT_TO_LEFT, user_id=RIGHT_TO_LEFT, arguments=json.dumps({"a": RIGHT_TO_LEFT}, ensure_ascii=False).encode()
        ),
        make(3, tool="nul\0in\0it", user_id="\0", result_summary="a\0b\x1b[31mred\r\nnext", arguments=b'"\\u0000"'),
        make(4, tool="ten_megabytes", arguments=json.dumps({"big": "x" * 5_000_000, "many": list(range(700_000))}).encode()),
        make(5, tool="deep", arguments=b"[" * 500 + b"]" * 500),
        make(6, tool="numbers", arguments=b'{"n": 9007199254740993, "e": 1e400, "n": 0.10}'),
        make(7, id="..", tool="odd_id", thread_id="\n"),
        make(8, id="stats", tool="id_of_a_route", duration_ms=2**31 - 1),
        make(9, id="a/b?c#d%00\"'", tool="quoted_id", is_error=True),
    ]
