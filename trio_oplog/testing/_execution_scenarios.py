"""Scenarios in which a client of Codex itself runs, writes or reads something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trio_oplog._operation import Outcome
from trio_oplog.testing._builder import SessionBuilder
from trio_oplog.testing._call_scenarios import Scenario
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._facts import Arguments, CallFacts, Ending, OpenCall
from trio_oplog.testing._json_text import SpelledId, an_object, quoted
from trio_oplog.testing._laws import Law
from trio_oplog.testing._session import Feature

_FORBIDDEN: Final = '{"code":-32600,"message":"not allowed"}'
_REFUSED: Final = Ending(text="not allowed", outcome=Outcome.RPC_ERROR, error_code=-32600)

# Each method with the params that are its arguments; what a request has besides is left out.
EXECUTIONS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "command/exec": (
        ("command", '["ls", "-l"]'),
        ("cwd", '"/srv"'),
        ("env", '{"A":"1"}'),
        ("timeoutMs", "100"),
        ("processId", '"p"'),
    ),
    "process/spawn": (("command", '["sh"]'), ("cwd", '"/srv"'), ("timeoutMs", "null")),
    "fs/writeFile": (("path", '"/srv/a"'), ("dataBase64", '"aGk="')),
    "fs/remove": (("path", '"/srv/a"'), ("recursive", "true"), ("force", "false")),
    "fs/copy": (("sourcePath", '"/srv/a"'), ("destinationPath", '"/srv/b"'), ("recursive", "false")),
    "fs/createDirectory": (("path", '"/srv/d"'), ("recursive", "true")),
    "mcpServer/resource/read": (("server", '"demo"'), ("uri", '"demo://note"')),
}


def execute(session: SessionBuilder, method: str, *more: tuple[str, str], count: int = 9) -> SpelledId:
    """The client runs, writes or reads something; the first ``count`` of its params are there."""
    arguments = (*EXECUTIONS[method][:count], *more)
    beside = [("threadId", '"t7"'), ("tty", "false")]
    spelled = session.request(method, an_object([*beside, *arguments], session.gap), Law.CLIENT_EXECUTIONS)
    facts = CallFacts(
        source=session.config.source,
        tool=method,
        request_id=spelled.as_text,
        thread_id="t7",
        server="demo" if method.startswith("mcpServer") else None,
        arguments=Arguments(text=an_object(arguments), composed=True),
    )
    session.features.add(Feature.CLIENT_EXECUTION)
    session.oracle.begin(OpenCall(key=spelled.key, facts=facts, began=0, dialect=Feature.CODEX, spelled_id=spelled))
    return spelled


def respond(session: SessionBuilder, spelled: SpelledId, member: str, value: str, ending: Ending) -> None:
    """The server answers such a request."""
    session.respond(spelled, member, value, Law.CLIENT_EXECUTIONS)
    session.oracle.answer(spelled.key, ending)


def command(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """``command/exec``, with an exit code."""
    spelled = execute(session, "command/exec", count=1 + choices.number(5))
    yield
    code, out, err = choices.pick(((0, "out", ""), (3, "out\n", "err"), (0, "", ""), (124, "", "late")))
    result = f'{{"exitCode":{code},"stdout":{quoted(out)},"stderr":{quoted(err)}}}'
    respond(session, spelled, "result", result, exited(code, out + err))


def exited(code: int, text: str) -> Ending:
    """What an exit code means."""
    return Ending(text=text, exit_code=code, outcome=Outcome.TOOL_ERROR if code else None, laws=(Law.CLIENT_EXECUTIONS,))


def file_or_resource(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """Something is written, removed, copied, made or read; or the server refuses."""
    method = choices.pick(tuple(EXECUTIONS)[2:])
    spelled = execute(session, method)
    yield
    if choices.chance(3):
        respond(session, spelled, "error", _FORBIDDEN, _REFUSED)
    elif method.startswith("mcpServer"):
        contents = '{"uri":"demo://note","text":"one"},{"uri":"demo://more","text":" two"},{"uri":"demo://blob","blob":"aGk="}'
        respond(session, spelled, "result", f'{{"contents":[{contents}]}}', Ending(text="one two", laws=(Law.CLIENT_EXECUTIONS,)))
    else:
        respond(session, spelled, "result", "{}", Ending())


def process(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """``process/spawn``: the answer says that it runs, ``process/exited`` how it ended, or nothing does."""
    number = session.fresh()
    handles = (f"h{number}", f"i{number}")
    ids = {}
    for handle in handles[: 1 + choices.number(2)]:
        ids[handle] = execute(session, "process/spawn", ("processHandle", quoted(handle)))
        yield
    for spelled in ids.values():
        if choices.chance(4):
            respond(session, spelled, "error", _FORBIDDEN, _REFUSED)
        else:
            session.respond(spelled, "result", "{}", Law.CLIENT_EXECUTIONS)
        yield
    for handle, spelled in reversed(ids.items()):
        if choices.chance(4):
            continue
        code = choices.pick((0, 4))
        exit_process(session, handle, spelled, code)
        yield


def exit_process(session: SessionBuilder, handle: str, spelled: SpelledId, code: int) -> None:
    """A process exits."""
    members = [("processHandle", quoted(handle)), ("exitCode", str(code)), ("stdout", '"ws\\n"'), ("stderr", '"!"')]
    session.notify("process/exited", an_object(members, session.gap), Law.CLIENT_EXECUTIONS)
    for call in session.oracle.with_key(spelled.key)[:1]:
        session.oracle.end(call, exited(code, "ws\n!"))


def other_requests(session: SessionBuilder, choices: ChoiceSource) -> Iterator[None]:
    """What only looks around, or writes to what runs already, is no call."""
    method = choices.pick(
        ("fs/readFile", "fs/getMetadata", "command/exec/write", "process/kill", "thread/shellCommand", "turn/start")
    )
    spelled = session.request(
        method, '{"path":"/srv/a","threadId":"t7","processHandle":"h","command":"ls"}', Law.CLIENT_EXECUTIONS
    )
    yield
    session.respond(spelled, "result", '{"exitCode":0,"stdout":"x"}', Law.CLIENT_EXECUTIONS)


EXECUTION_SCENARIOS: Final[tuple[Scenario, ...]] = (command, file_or_resource, process, other_requests)
