"""What may be asked and answered about a Codex item, each text beside what it means."""

from __future__ import annotations

from typing import Final

from attrs import frozen

COMMAND: Final = "item/commandExecution/requestApproval"
FILE_CHANGE: Final = "item/fileChange/requestApproval"
PERMISSIONS: Final = "item/permissions/requestApproval"
ELICITATION: Final = "mcpServer/elicitation/request"
USER_INPUT: Final = "item/tool/requestUserInput"
LEGACY: Final = {"commandExecution": "execCommandApproval", "fileChange": "applyPatchApproval"}


@frozen
class Answer:
    """An answer of the client's to a request for approval, and what it means."""

    member: str
    value: str
    decision: str | None = None
    refuses: bool = False
    reason: str | None = None


NONSENSE: Final = (
    Answer("error", '{"code":-32000,"message":"no screen"}', reason="no screen"),
    Answer("error", '{"code":-32000,"message":5}'),
    Answer("result", '{"yes":true}'),
    Answer("result", "null"),
)
DECISIONS: Final = (
    Answer("result", '{"decision":"accept"}', "accept"),
    Answer("result", '{"decision":"acceptForSession"}', "acceptForSession"),
    Answer("result", '{"decision":"decline"}', "decline", refuses=True),
    Answer("result", '{"decision":"cancel"}', "cancel", refuses=True),
    Answer(
        "result",
        '{"decision":{"acceptWithExecpolicyAmendment":{"execpolicy_amendment":["ls"]}}}',
        "acceptWithExecpolicyAmendment",
    ),
    *NONSENSE,
)
OLD_DECISIONS: Final = (
    Answer("result", '{"decision":"approved"}', "approved"),
    Answer("result", '{"decision":"denied"}', "denied", refuses=True),
    Answer("result", '{"decision":"abort"}', "abort", refuses=True),
    Answer("result", '{"decision":"approved_for_session"}', "approved_for_session"),
)
GRANTS: Final = (
    Answer("result", '{"permissions":{"network":{"enabled":true}},"scope":"session"}', "session"),
    Answer("result", '{"permissions":{"network":{"enabled":true}}}', "turn"),
    Answer("result", '{"permissions":{},"scope":"turn"}', "decline"),
    *NONSENSE[:1],
)
ACTIONS: Final = (
    Answer("result", '{"action":"accept","content":{},"_meta":null}', "accept"),
    Answer("result", '{"action":"accept","content":{},"_meta":{"persist":"session"}}', "accept persist=session"),
    Answer("result", '{"action":"decline","content":null}', "decline", refuses=True),
    Answer("result", '{"action":"cancel"}', "cancel", refuses=True),
    *NONSENSE[:1],
)
