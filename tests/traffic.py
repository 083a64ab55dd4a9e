"""Traffic as peers may send it, on several connections to one server: a strategy for sessions that hang together.

Each step is what one of the peers could do next: begin a call, answer one, ask about one, hand out a task, come back for it on
another connection, close.  Ids, threads and texts are few, so that things meet.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

Message: TypeAlias = dict[str, Any]


class Step(NamedTuple):
    """One frame on one connection, or its end."""

    connection: str
    direction: str
    """``"c2s"``, ``"s2c"`` or ``"close"``."""
    frame: str | bytes
    t: float
    """Seconds since the first step."""


@dataclass
class Wire:
    """What a generator of traffic remembers of one connection."""

    name: str
    next_id: int = 1
    calls: dict[int, Message] = field(default_factory=dict)
    """Requests of the client that are open, by id."""
    prompts: dict[int, Message] = field(default_factory=dict)
    """Requests of the server that are open, by id."""
    turns: dict[str, int] = field(default_factory=dict)
    items: list[Message] = field(default_factory=list)
    """The params of the items that began or ended."""
    reviews: list[Message] = field(default_factory=list)
    """What the reviews are about that began."""


TEXT = [{"type": "text", "text": "caf\xe9"}]
LINK = {"type": "resource_link", "uri": "file:///a"}
ASKS: list[Message] = [
    {},
    {"who": {"method": "elicitation/create"}},
    {"who": {"method": "elicitation/create"}, "where": {"method": "roots/list"}, "when": {"method": "elicitation/create"}},
]
RESULTS: list[Message] = [
    {"content": TEXT},
    {"content": [{"type": "image"}, *TEXT], "isError": True},
    {"content": [], "structuredContent": {"a": 1}},
    {"content": [LINK], "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "own", "version": "3"}}},
    {},
]
ERRORS: list[Any] = [{"code": -32000, "message": "caf\xe9"}, "broken", {"message": {"why": "caf\xe9"}}]
ACTIONS = ["accept", "decline", "cancel"]
CODEX_DECISIONS: list[Any] = ["accept", "acceptForSession", "decline", "cancel", {"acceptWithExecpolicyAmendment": {"x": 1}}, 5]
OPTIONS = [{"optionId": "y", "kind": "allow_once"}, {"optionId": "n", "kind": "reject_once"}]
STATUSES = ["working", "input_required", "completed", "failed", "cancelled"]
THREADS = ["t1", "t2"]
ITEM_IDS = ["i1", "i2", "i3"]
ITEM_TYPES = ["commandExecution", "fileChange", "mcpToolCall", "imageView"]
CONTENTS: list[Any] = [
    [{"type": "content", "content": TEXT[0]}],
    [{"type": "content", "content": {"type": "image"}}, {"type": "content", "content": TEXT[0]}],
    [{"type": "diff", "path": "a"}],
    [],
]


class Traffic:
    """Makes one session, step by step."""

    def __init__(self, draw: DrawFn, kinds: str) -> None:
        self._draw = draw
        self._t = 0.0
        self._connections = 0
        self._wires = [self._connect()]
        self._tasks: list[str] = []
        self._rounds: list[Message] = []
        self._over: dict[str, str] = {}
        self.steps: list[Step] = []
        named = {"mcp": MCP, "codex": CODEX, "acp": ACP}
        self._kinds = [step for kind, steps in named.items() if kind in kinds for step in steps]

    def _connect(self) -> Wire:
        self._connections += 1
        return Wire(f"c{self._connections}")

    def pick(self, choices: Any) -> Any:
        return self._draw(st.sampled_from(list(choices)))

    def chance(self, one_in: int) -> bool:
        return self._draw(st.integers(1, one_in)) == one_in

    def step(self) -> None:
        """One more frame, if what was drawn is possible now."""
        if len(self._wires) < 3 and self.chance(8):
            self._wires.append(self._connect())
        wire = self.pick(self._wires)
        getattr(self, f"_{self.pick(self._kinds)}")(wire)

    def send(self, wire: Wire, direction: str, message: Message) -> None:
        text = json.dumps(message, ensure_ascii=False)
        # Now and then a peer writes a code page of its own.
        frame = text.encode("latin-1") if "\xe9" in text and self.chance(4) else text
        self.steps.append(Step(wire.name, direction, frame, self._t))
        self._t += self.pick([0.125, 0.25, 1.0])

    def request(self, wire: Wire, method: str, **params: Any) -> Message:
        request = {"id": wire.next_id, "method": method, "params": params}
        wire.calls[wire.next_id] = request
        wire.next_id += 1
        self.send(wire, "c2s", request)
        return request

    def ask(self, wire: Wire, method: str, **params: Any) -> None:
        request = {"id": wire.next_id, "method": method, "params": params}
        wire.prompts[wire.next_id] = request
        wire.next_id += 1
        self.send(wire, "s2c", request)

    def tell(self, wire: Wire, method: str, **params: Any) -> None:
        self.send(wire, "s2c", {"method": method, "params": params})

    # Any protocol

    def _close(self, wire: Wire) -> None:
        if self.chance(3):
            self._wires[self._wires.index(wire)] = self._connect()
            self.steps.append(Step(wire.name, "close", "", self._t))
            self._t += 0.125

    def _handshake(self, wire: Wire) -> None:
        self.request(wire, "initialize", clientInfo={"name": self.pick("ab"), "version": "1"})

    def _answer(self, wire: Wire) -> None:
        """The server answers one of the open requests, as its method has it."""
        if not wire.calls:
            return
        request = wire.calls.pop(self.pick(wire.calls))
        request_id = str(request["id"]) if self.chance(8) else request["id"]
        if self.chance(8):
            self.send(wire, "s2c", {"id": request_id, "error": self.pick(ERRORS)})
            return
        self.send(wire, "s2c", {"id": request_id, "result": self._result_of(request)})

    def _result_of(self, request: Message) -> Any:
        method, params = request["method"], request["params"]
        if method == "initialize":
            return self.pick(
                [
                    {"serverInfo": {"name": "srv", "version": "2"}, "protocolVersion": "2025-11-25"},
                    {"agentInfo": {"name": "agent"}, "protocolVersion": 1},
                    {"userAgent": "a/0.171.0 (x)"},
                ]
            )
        if method == "tools/call":
            return self._tool_result(params)
        if method in ("tasks/get", "tasks/cancel"):
            state = {"taskId": params["taskId"]} | self._state(params["taskId"])
            return {"status": state["status"]} if method == "tasks/cancel" else state
        if method == "command/exec":
            return {"exitCode": self.pick([0, 1]), "stdout": "o", "stderr": "e"}
        if method == "mcpServer/resource/read":
            return {"contents": [{"text": "a"}, {"blob": ""}, {"text": "b"}]}
        return self.pick(RESULTS)

    def _reply(self, wire: Wire) -> None:
        """The client answers what it was asked."""
        if not wire.prompts:
            return
        prompt = wire.prompts.pop(self.pick(wire.prompts))
        reply_id = str(prompt["id"]) if self.chance(8) else prompt["id"]
        if self.chance(8):
            self.send(wire, "c2s", {"id": reply_id, "error": self.pick(ERRORS)})
            return
        match prompt["method"]:
            case "session/request_permission":
                chosen = self.pick(["y", "n", "?"])
                outcomes = [{"outcome": "selected", "optionId": chosen}, {"outcome": "cancelled"}]
                result: Message = {"outcome": self.pick(outcomes)}
            case "item/permissions/requestApproval":
                result = {"permissions": self.pick([{}, {"network": None}]), **self.pick([{}, {"scope": "session"}])}
            case "elicitation/create" | "mcpServer/elicitation/request":
                result = {"action": self.pick(ACTIONS), **self.pick([{}, {"_meta": {"persist": "session"}}])}
            case _:
                result = {"decision": self.pick(CODEX_DECISIONS)}
        self.send(wire, "c2s", {"id": reply_id, "result": result})

    def _withdraw(self, wire: Wire) -> None:
        """The server takes a request of its own back, or says that somebody else answered it."""
        if not wire.prompts:
            return
        prompt_id = self.pick(wire.prompts)
        if self.chance(2):
            del wire.prompts[prompt_id]  # else our client answers all the same, too late
        method = self.pick(["notifications/cancelled", "serverRequest/resolved"])
        self.tell(wire, method, requestId=prompt_id, threadId="t1")

    def _cancel(self, wire: Wire) -> None:
        if not wire.calls:
            return
        request_id = self.pick(wire.calls)
        if self.chance(2):
            del wire.calls[request_id]
        params = {"requestId": request_id, **self.pick([{}, {"reason": "caf\xe9"}])}
        self.send(wire, "c2s", {"method": "notifications/cancelled", "params": params})

    # MCP

    def _call(self, wire: Wire) -> None:
        more: Message = self.pick(
            [
                {},
                {
                    "_meta": {
                        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
                        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    }
                },
                {"threadId": "t1"},
            ]
        )
        arguments = self.pick([{}, {"arguments": {"x": 1, "y": "caf\xe9"}}, {"arguments": {"environment_id": "caf\xe9"}}])
        self.request(wire, "tools/call", name=self.pick(["f", "g"]), **arguments, **more)

    def _retry(self, wire: Wire) -> None:
        if not self._rounds:
            return
        waiting = self.pick(self._rounds)
        if self.chance(2):
            self._rounds.remove(waiting)
        params = {name: value for name, value in waiting["params"].items() if name in ("name", "arguments")}
        if waiting["state"] is not None:
            params["requestState"] = waiting["state"]
        keys = [key for key in waiting["asks"] if not self.chance(4)]
        params["inputResponses"] = {key: {"action": self.pick(ACTIONS)} for key in keys}
        if "arguments" in params and self.chance(2):
            params["arguments"] = dict(reversed(params["arguments"].items()))
        self.request(wire, "tools/call", **params)

    def _tool_result(self, params: Message) -> Message:
        kind = self.pick(["plain", "plain", "task", "modern task", "round"])
        if kind == "plain":
            result: Message = self.pick(RESULTS)
            return result
        if kind == "round":
            state, asks = self.pick([None, "s", "s2"]), self.pick(ASKS)
            self._rounds.append({"params": params, "state": state, "asks": list(asks)})
            given = {} if state is None else {"requestState": state}
            return {"resultType": "input_required", "inputRequests": asks, **given, **self.pick([{}, {"content": TEXT}])}
        task_id = f"task-{len(self._tasks) + 1}"
        self._tasks.append(task_id)
        status = self.pick(["working", "completed", "working"])
        if status == "completed":
            self._over[task_id] = status
        if kind == "task":
            return {"task": {"taskId": task_id, "status": status}}
        return {"resultType": "task", "taskId": task_id, "status": status}

    def _state(self, task_id: str) -> Message:
        status = self.pick(STATUSES)
        if status in ("completed", "failed"):  # it is over, and how it ended does not change
            status = self._over.setdefault(task_id, status)
        more: list[Message] = [{}, {"statusMessage": "caf\xe9"}]
        if status == "completed":
            more.append({"result": self.pick(RESULTS)})
        if status == "failed":
            more.append({"error": self.pick(ERRORS)})
        if status == "input_required":
            more.append({"inputRequests": self.pick(ASKS)})
        return {"status": status, **self.pick(more)}

    def _task(self, wire: Wire) -> None:
        if not self._tasks:
            return
        method = self.pick(["tasks/get", "tasks/result", "tasks/cancel", "tasks/update", "tasks/result"])
        params: Message = {"taskId": self.pick(self._tasks)}
        if method == "tasks/update":
            params["inputResponses"] = {key: {"action": self.pick(ACTIONS)} for key in self.pick([["who"], ["who", "when"], []])}
        self.request(wire, method, **params)

    def _status(self, wire: Wire) -> None:
        if self._tasks:
            task_id = self.pick(self._tasks)
            method = self.pick(["notifications/tasks", "notifications/tasks/status"])
            self.tell(wire, method, taskId=task_id, **self._state(task_id))

    def _elicit(self, wire: Wire) -> None:
        related: Message = {}
        if self._tasks and self.chance(2):
            related = {"_meta": {"io.modelcontextprotocol/related-task": {"taskId": self.pick(self._tasks)}}}
        self.ask(wire, self.pick(["elicitation/create", "elicitation/create", "sampling/createMessage"]), **related)

    # Codex

    def _turn(self, wire: Wire, thread: str) -> str:
        return f"u{wire.turns.setdefault(thread, 1)}"

    def _item(self, wire: Wire) -> None:
        thread = self.pick(THREADS)
        kind = self.pick(ITEM_TYPES)
        item = {"type": kind, "id": self.pick(ITEM_IDS), "startedAtMs": len(self.steps), "status": "inProgress"}
        item |= {
            "commandExecution": {"command": "ls", "source": self.pick(["agent", "userShell"])},
            "fileChange": {"changes": [self.pick("ab")]},
            "mcpToolCall": {"server": "s", "tool": self.pick("fg"), "arguments": self.pick([None, {"x": 1, "y": 2}])},
            "imageView": {"path": "a"},
        }[kind]
        params = {"threadId": thread, "turnId": self._turn(wire, thread), "item": item}
        wire.items.append(params)
        if not self.chance(6):  # else this connection joined late
            self.tell(wire, "item/started", **params)

    def _item_again(self, wire: Wire) -> None:
        if wire.items:
            self.tell(wire, "item/started", **self.pick(wire.items))

    def _item_done(self, wire: Wire) -> None:
        if not wire.items:
            return
        params = self.pick(wire.items)
        end = {"status": self.pick(["completed", "completed", "failed", "declined"]), "aggregatedOutput": "caf\xe9"}
        self.tell(wire, "item/completed", **params | {"item": params["item"] | end})

    def _turn_over(self, wire: Wire) -> None:
        thread = self.pick(THREADS)
        self.tell(wire, "turn/completed", threadId=thread, turn={"id": self._turn(wire, thread)})
        wire.turns[thread] += 1

    def _turn_begins(self, wire: Wire) -> None:
        thread = self.pick(THREADS)
        wire.turns[thread] = wire.turns.get(thread, 0) + 1
        self.tell(wire, "turn/started", threadId=thread, turn={"id": self._turn(wire, thread)})

    def _thread_closed(self, wire: Wire) -> None:
        self.tell(wire, "thread/closed", threadId=self.pick(THREADS))

    def _some_item(self, wire: Wire) -> Message:
        """An item by its thread and id: mostly one that was heard of."""
        if wire.items and not self.chance(4):
            params = self.pick(wire.items[-3:])
            return {"threadId": params["threadId"], "turnId": params["turnId"], "itemId": params["item"]["id"]}
        thread = self.pick(THREADS)
        return {"threadId": thread, "turnId": self._turn(wire, thread), "itemId": self.pick(ITEM_IDS)}

    def _approval(self, wire: Wire) -> None:
        named = self._some_item(wire)
        method = self.pick(
            [
                "item/commandExecution/requestApproval",
                "item/fileChange/requestApproval",
                "item/permissions/requestApproval",
                "item/tool/requestUserInput",
                "execCommandApproval",
            ]
        )
        if method == "execCommandApproval":
            named = {"conversationId": named["threadId"], "callId": named["itemId"]}
        more = self.pick([{}, {"reason": "caf\xe9"}, {"kind": "writeStdin"}])
        self.ask(wire, method, **named, **more)

    def _review(self, wire: Wire) -> None:
        named = self._some_item(wire)
        about = {"threadId": named["threadId"], "turnId": named["turnId"], "targetItemId": named["itemId"]}
        if self.chance(2):
            about["reviewId"] = f"r{len(self.steps)}"
            wire.reviews.append(about)
            self.tell(wire, "item/autoApprovalReview/started", **about, review={"status": "inProgress"})
            return
        if wire.reviews and not self.chance(4):  # else it began before this connection did
            about = wire.reviews.pop(0)
        else:
            about["reviewId"] = f"r{len(self.steps)}"
        verdict = {"status": self.pick(["approved", "denied"]), "rationale": "why", "riskLevel": "low"}
        self.tell(wire, "item/autoApprovalReview/completed", **about, review=verdict)

    def _hook(self, wire: Wire) -> None:
        named = self._some_item(wire)
        run: Message = {"id": f"h:1:/c.toml:{named['itemId']}", "eventName": self.pick(["permissionRequest", "preToolUse"])}
        if self.chance(2):
            self.tell(wire, "hook/started", threadId=named["threadId"], turnId=named["turnId"], run=run)
        else:
            run |= {"status": self.pick(["completed", "blocked"]), "entries": [{"text": "no"}, {"text": "never"}]}
            self.tell(wire, "hook/completed", threadId=named["threadId"], turnId=named["turnId"], run=run)

    def _direct(self, wire: Wire) -> None:
        thread = {"threadId": self.pick(THREADS)}
        method = self.pick(["mcpServer/tool/call", "command/exec", "fs/writeFile", "mcpServer/resource/read"])
        params: Message = {
            "mcpServer/tool/call": {"server": "s", "tool": self.pick("fg"), "arguments": {"x": 1, "y": 2}},
            "command/exec": {"command": ["ls"]},
            "fs/writeFile": {"path": "a", "dataBase64": ""},
            "mcpServer/resource/read": {"server": "s", "uri": "a:"},
        }[method]
        self.request(wire, method, **thread, **params)

    def _spawn(self, wire: Wire) -> None:
        if self.chance(2):
            self.request(wire, "process/spawn", command=["sh"], processHandle=self.pick("pq"))
        else:
            ended = {"exitCode": self.pick([0, 2]), "stdout": "o", "stderr": "caf\xe9"}
            self.tell(wire, "process/exited", processHandle=self.pick("pq"), **ended)

    def _server_elicits(self, wire: Wire) -> None:
        about: Message = {"threadId": self.pick(THREADS), "serverName": "s"}
        if self.chance(2):
            params = self.pick([{"y": 2, "x": 1}, None])
            about["_meta"] = {"codex_approval_kind": "mcp_tool_call", "tool_name": self.pick("fg"), "tool_params": params}
        self.ask(wire, "mcpServer/elicitation/request", **about)

    # ACP

    def _prompt(self, wire: Wire) -> None:
        self.request(wire, self.pick(["session/prompt", "session/prompt", "session/load"]), sessionId=self.pick(THREADS))

    def _update(self, wire: Wire) -> None:
        update: Message = {"toolCallId": self.pick(ITEM_IDS)}
        update["sessionUpdate"] = self.pick(["tool_call", "tool_call", "tool_call_update"])
        for member, values in {
            "status": ["in_progress", "completed", "failed"],
            "content": CONTENTS,
            "rawOutput": ["caf\xe9", {"x": 1}, None],
            "rawInput": [{"x": 1}, {"environment_id": "e"}, None],
            "kind": ["read", "edit"],
            "title": ["one", "two"],
            "_meta": [{"claudeCode": {"toolName": "Read"}}, {"toolName": "Edit"}],
        }.items():
            if self.chance(3):
                update[member] = self.pick(values)
        self.tell(wire, "session/update", sessionId=self.pick(THREADS), update=update)

    def _agent_elicits(self, wire: Wire) -> None:
        named = self.pick([{}, {"toolCallId": self.pick(ITEM_IDS)}])
        self.ask(wire, "elicitation/create", sessionId=self.pick(THREADS), **named)

    def _permission(self, wire: Wire) -> None:
        call: Message = {"toolCallId": self.pick(ITEM_IDS), **self.pick([{}, {"title": "three", "kind": "execute"}])}
        self.ask(wire, "session/request_permission", sessionId=self.pick(THREADS), toolCall=call, options=OPTIONS)


ANY = ["answer", "answer", "answer", "reply", "reply", "withdraw", "close", "handshake"]
MCP = [*ANY, "call", "call", "retry", "retry", "task", "task", "status", "elicit", "cancel"]
CODEX = [
    *ANY, "item", "item", "item", "item_again", "item_done", "item_done", "turn_over", "turn_begins", "thread_closed", "approval",
    "approval", "approval", "review", "hook", "direct", "spawn", "server_elicits", "cancel",
]  # fmt: skip
ACP = [*ANY, "prompt", "update", "update", "update", "permission", "permission", "agent_elicits"]


@st.composite
def traffic(draw: DrawFn, kinds: str = "mcp codex acp", most: int = 30) -> list[Step]:
    """A session on up to three connections at a time; the first is ``"c1"``."""
    made = Traffic(draw, kinds)
    for _ in range(draw(st.integers(1, most))):
        made.step()
    return made.steps
