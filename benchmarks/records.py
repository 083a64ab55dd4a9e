"""Records as a team makes them: some tools called all the time and some hardly ever, conversations, users, waits and failures.

``python -m benchmarks.records COUNT DAYS`` prints them as NDJSON.
"""

from __future__ import annotations

import math
import random
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from trio_oplog import Approval, Context, DecidedBy, Operation, Outcome, ResultMeta
from trio_oplog._wire import encode

WORKSPACES = ("team", "research", "support", "lab")
SERVERS = ("files", "issues", "browser", "database", "mail", "local")
VERBS = ("read", "list", "search", "create", "update")
TOOLS = [(f"{verb}_{server}", server) for server in SERVERS for verb in VERBS]
CLIENTS = ("desk/1.2", "codex/0.171.0", "editor/4.0.1", "agent/0.9")
# Who works where, and with what: the source follows from the client.
USERS = [
    (f"user-{number}", WORKSPACES[0 if number < 30 else number % len(WORKSPACES)], CLIENTS[number % 7 % len(CLIENTS)])
    for number in range(60)
]
RARE_TOOL = "purge_everything"
"""Called once in ten thousand times."""
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "seven",
    "wizards",
    "quietly",
    "vex",
    "big",
    "jumping",
    "frogs",
    "near",
    "src/main.py",
    "and",
    "tests/test_main.py",
    "in",
    "a",
    "branch",
    "of",
    "release",
    "notes",
    "with",
    "some",
    "more",
    "words",
    "that",
    "nobody",
    "reads",
]


def records(count: int, days: float = 30, *, seed: int = 1, end: datetime | None = None) -> Iterator[Operation]:
    """So many operations, spread over so many days up to a time (now), in the order in which they began."""
    chance = random.Random(seed)  # noqa: S311 -- no secrets
    end = end or datetime.now(UTC)
    begin = end - timedelta(days=days)
    weights = [1 / (number + 1) for number in range(len(TOOLS))]
    tools = chance.choices(TOOLS, weights, k=4096)
    threads: list[str] = []
    for number in range(count):
        if number % 40 == 0:
            threads = [*threads[-50:], str(uuid.UUID(int=chance.getrandbits(128), version=4))]
        yield _record(chance, tools, threads, begin + (end - begin) * (number / count))


def _record(chance: random.Random, tools: list[tuple[str, str]], threads: list[str], began: datetime) -> Operation:
    drawn = chance.getrandbits(62)
    tool, server = tools[drawn % 4096] if drawn % 10_007 else (RARE_TOOL, "local")
    is_error = drawn >> 12 & 31 == 0
    asked = drawn >> 17 & 31 == 0
    duration = int(math.exp(chance.gauss(4.5, 1.6)))
    waited = int(math.exp(chance.gauss(8, 1))) if asked else None
    outcome = (Outcome.TOOL_ERROR, Outcome.RPC_ERROR, Outcome.FAILED, Outcome.CANCELLED)[drawn >> 22 & 3] if is_error else None
    meta = ResultMeta(outcome=outcome, waited_ms=waited) if is_error or asked else None
    decision = "decline" if drawn >> 24 & 15 == 0 else "accept"
    user, workspace, client = USERS[(drawn >> 40) % len(USERS)]
    thread = threads[(drawn >> 28) % len(threads)]
    return Operation(
        id=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        workspace_id=workspace,
        source="sdk" if client.startswith("desk") else "llm",
        env_id=server,
        tool=tool,
        is_error=is_error,
        started_at=began,
        completed_at=began + timedelta(milliseconds=duration),
        duration_ms=duration,
        user_id=user,
        thread_id=thread,
        request_id=str(drawn >> 46 & 1023),
        arguments=b'{"path":"/home/user/project/%d.py","text":"%s"}' % (drawn & 0xFFFF, _words(chance, 12)),
        result_summary=_words(chance, 25).decode(),
        result_meta=meta,
        context=Context(client=client, server=f"{server}/1.0", protocol="2025-11-25", transport="stdio"),
        approval=Approval(decision=decision, by=DecidedBy.CLIENT, waited_ms=waited or 0) if asked else None,
    )


def _words(chance: random.Random, most: int) -> bytes:
    start = chance.randrange(len(WORDS) - 1)
    return " ".join((WORDS * 2)[start : start + chance.randrange(2, most)]).encode()


def batches(count: int, days: float = 30, *, size: int = 500, seed: int = 1) -> Iterator[bytes]:
    """Bodies of requests with so many records each."""
    lines: list[bytes] = []
    for operation in records(count, days, seed=seed):
        lines.append(encode(operation))
        if len(lines) == size:
            yield b"\n".join(lines)
            lines = []


def main() -> None:
    """Print records."""
    for operation in records(int(sys.argv[1]), float(sys.argv[2])):
        sys.stdout.buffer.write(encode(operation) + b"\n")


if __name__ == "__main__":
    main()
