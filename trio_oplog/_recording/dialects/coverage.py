"""What becomes of every method, notification and item type of the protocols: recorded, used as evidence, or excluded.

This module holds data only, and nothing of the package reads it.  ``docs/coverage.md`` is rendered from it.  The tests check
that it has exactly the names of each protocol's own schema, and that what the dialects read is not excluded here.
``nox -s schema`` compares it with the newest Codex.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple


class Kind(Enum):
    """What a name stands for on the wire."""

    CLIENT_REQUEST = "client request"
    CLIENT_NOTIFICATION = "client notification"
    SERVER_REQUEST = "server request"
    SERVER_NOTIFICATION = "server notification"
    ITEM = "item"
    """The ``type`` of a Codex thread item."""
    SESSION_UPDATE = "session update"
    """The ``sessionUpdate`` of an ACP ``session/update``."""


class Treatment(Enum):
    """What the package does with a message or an item."""

    RECORDED = "recorded"
    """It is a call: it becomes an operation of its own."""
    EVIDENCE = "evidence"
    """It pairs, ends, approves, times or names a call, and becomes no operation of its own."""
    EXCLUDED = "excluded"
    """It is passed over, for the reason given."""


class Entry(NamedTuple):
    """One row of a table."""

    name: str
    kind: Kind
    treatment: Treatment
    reason: str


def _entries(kind: Kind, **treatments: dict[str, str]) -> tuple[Entry, ...]:
    """The entries of one kind.  Each treatment maps reasons to the names that they cover, separated by white space."""
    return tuple(
        Entry(name, kind, Treatment(treatment), reason)
        for treatment, groups in treatments.items()
        for reason, names in groups.items()
        for name in names.split()
    )


# Codex app-server: all that `codex app-server generate-json-schema --experimental` states.
CODEX: Final[tuple[Entry, ...]] = (
    *_entries(
        Kind.CLIENT_REQUEST,
        recorded={
            "The client calls a tool of an MCP server.": "mcpServer/tool/call",
            "The client reads a resource of an MCP server.": "mcpServer/resource/read",
            "The client runs a command in the sandbox; the response ends the call.": "command/exec",
            "The client runs a process without a sandbox; `process/exited` ends the call.": "process/spawn",
            "The client writes, copies or removes files or folders.": "fs/writeFile fs/createDirectory fs/copy fs/remove",
        },
        evidence={
            "The request names the client, and its response the server.": "initialize",
        },
        excluded={
            "The command that it runs is a `commandExecution` item, and that item is the record.": "thread/shellCommand",
            "Gives the model work; every tool that the model calls is an item.": """
                turn/start turn/steer review/start thread/queue/add thread/queue/start thread/goal/set
                thread/prediction/request thread/realtime/start thread/realtime/appendAudio thread/realtime/appendText
                thread/realtime/appendSpeech""",
            "Asks the model for a text or a judgement, and no tool runs.": """
                thread/sample thread/compact/start thread/guardianReview""",
            "Input for a running command, which has a record; the input itself is not recorded.": """
                command/exec/write process/writeStdin""",
            "Stops work; the record of a call that it stops says how the call ended.": """
                turn/interrupt thread/backgroundTerminals/clean thread/backgroundTerminals/terminate command/exec/terminate
                process/kill thread/sample/cancel thread/search/cancel thread/search/stream/cancel thread/realtime/stop""",
            "Changes the size of a terminal.": "command/exec/resize process/resizePty",
            "Lets the model retry what a review refused; the retry is a call of its own.": "thread/approveGuardianDeniedAction",
            "Stops or restarts the clock of Codex while a person decides elsewhere, and names no call.": """
                thread/increment_elicitation thread/decrement_elicitation""",
            "Reads, finds or watches files and changes nothing.": """
                fs/readFile fs/getMetadata fs/readDirectory fs/watch fs/unwatch fuzzyFileSearch fuzzyFileSearch/sessionStart
                fuzzyFileSearch/sessionUpdate fuzzyFileSearch/sessionStop""",
            "Opens, changes or closes conversations of Codex; the tools called in them are items.": """
                thread/start thread/resume thread/fork thread/archive thread/unarchive thread/delete thread/unsubscribe
                thread/name/set thread/goal/clear thread/queue/update thread/queue/delete thread/queue/reorder
                thread/metadata/update thread/attachment/add thread/attachment/remove thread/section/move
                thread/settings/update thread/memoryMode/set thread/revert thread/readState/update thread/inject_items
                thread/prepareApprovedPlan turn/settings/update""",
            "Changes lists, notes and archives that Codex keeps for itself, and no tool runs.": """
                memory/reset rollout/compress project/create project/import project/update project/move project/delete
                threadSection/create threadSection/update threadSection/delete externalAgentConfig/import/recordHistory""",
            "Reads what Codex knows or can do, and changes nothing.": """
                server/diagnostics thread/list thread/loaded/list thread/read thread/search thread/search/stream
                thread/searchOccurrences thread/turns/list thread/items/list thread/items/read thread/timeline/list
                thread/realtime/list thread/realtime/listVoices thread/goal/get thread/queue/list thread/attachment/list
                thread/attachmentOwner/list thread/memory/read memory/status thread/backgroundTerminals/list project/list
                project/read threadSection/list skills/list hooks/list plugin/list plugin/search plugin/installed plugin/read
                plugin/skill/read plugin/share/list app/read app/list app/installed model/list modelProvider/list
                modelProvider/capabilities/read experimentalFeature/list permissionProfile/list collaborationMode/list
                environment/info environment/status mcpServerStatus/list config/read configRequirements/read
                externalAgentConfig/detect externalAgentConfig/import/readHistories windowsSandbox/readiness
                remoteControl/status/read remoteControl/pairing/status remoteControl/client/list""",
            "Changes the configuration of Codex, and no tool runs.": """
                config/value/write config/batchWrite config/mcpServer/reload skills/config/write skills/extraRoots/set
                modelProvider/config/write modelProvider/default/set experimentalFeature/enablement/set environment/add""",
            "Installs, removes or shares plugins of Codex; a plugin's tool is recorded when it is called.": """
                marketplace/add marketplace/remove marketplace/upgrade plugin/install plugin/uninstall plugin/reconcile
                plugin/share/save plugin/share/updateTargets plugin/share/checkout plugin/share/delete""",
            "Copies the settings and sessions of another agent into files that Codex reads, and no tool runs.": """
                externalAgentConfig/import""",
            "Opens Codex to clients elsewhere or shuts them out; what they call crosses other connections.": """
                remoteControl/enable remoteControl/disable remoteControl/pairing/start remoteControl/client/revoke""",
            "Prepares the sandbox of a Windows machine; the commands that run in it are recorded.": "windowsSandbox/setupStart",
            "Reads or manages sign-in, accounts or credits, and no tool runs.": """
                account/read account/login/start account/login/cancel account/logout accountSession/list accountSession/switch
                account/gatewayOAuth/read account/gatewayOAuth/login account/gatewayOAuth/cancel account/bedrock/discover
                account/bedrock/setup account/bedrock/checkGovCloudRequirements account/gcp/setup account/securitySetup/read
                account/rateLimits/read account/rateLimitResetCredit/consume account/usage/read account/workspaceMessages/read
                account/sendAddCreditsNudgeEmail mcpServer/oauth/login userVerification/status userVerification/enroll
                userVerification/delete userVerification/verify userVerification/cancel""",
            "Subscribes to the events of an MCP server or ends that, and calls no tool.": """
                mcpServer/event/stream/start mcpServer/event/stream/stop""",
            "Reports a problem of Codex to its makers, or saves that report in a file.": "feedback/upload feedback/save",
            "Does nothing; the protocol's own tests use it.": "mock/experimentalMethod",
        },
    ),
    *_entries(
        Kind.CLIENT_NOTIFICATION,
        excluded={
            "Ends the handshake and says nothing of a call.": "initialized",
        },
    ),
    *_entries(
        Kind.SERVER_REQUEST,
        evidence={
            "Asks whether a call may run: the approval of that call, and its wait.": """
                item/commandExecution/requestApproval item/fileChange/requestApproval item/permissions/requestApproval
                execCommandApproval applyPatchApproval""",
            "Asks whether an MCP tool may run, or asks something in the middle of its call: approval and wait.": """
                mcpServer/elicitation/request""",
            "Asks the user something in the middle of a call: the wait of that call.": "item/tool/requestUserInput",
        },
        excluded={
            "Has the client run a dynamic tool; the `dynamicToolCall` item is the record.": "item/tool/call",
            "Asks the client for credentials or for a proof of what it is.": """
                account/chatgptAuthTokens/refresh attestation/generate""",
        },
    ),
    *_entries(
        Kind.SERVER_NOTIFICATION,
        evidence={
            "Begins or ends the call that the item is.": "item/started item/completed",
            "Ends the call of a `process/spawn`.": "process/exited",
            "Ends the calls that a turn or a thread leaves open.": "turn/started turn/completed thread/closed",
            "Ends the wait for a request that was answered elsewhere or taken back.": "serverRequest/resolved",
            "The approval or the refusal of a call by an automatic review.": """
                item/autoApprovalReview/started item/autoApprovalReview/completed""",
            "The approval or the refusal of a call by a hook; runs of hooks that decide nothing are not recorded.": """
                hook/started hook/completed""",
        },
        excluded={
            "A part of an item that `item/completed` has in whole.": """
                item/commandExecution/outputDelta item/fileChange/outputDelta item/fileChange/patchUpdated
                item/agentMessage/delta item/plan/delta item/reasoning/summaryTextDelta item/reasoning/summaryPartAdded
                item/reasoning/textDelta""",
            "Output of a running command; only the output that the end of the call has is recorded.": """
                command/exec/outputDelta process/outputDelta""",
            "Input for a running command, which has a record; the input itself is not recorded.": """
                item/commandExecution/terminalInteraction""",
            "Says how far a call is, and changes nothing about its result.": "item/mcpToolCall/progress",
            "Announces stricter reviews; decides about no call.": "autoApprovalReview/strictReviewRequired",
            "Describes a turn as a whole; the calls of the turn are items.": """
                turn/diff/updated turn/plan/updated turn/moderationMetadata""",
            "A message for people; ends no call.": """
                error warning guardianWarning deprecationNotice configWarning windows/worldWritableWarning""",
            "Says what became of a conversation, and no tool runs.": """
                thread/started thread/status/changed thread/readState/changed thread/archived thread/deleted thread/unarchived
                thread/reverted thread/compacted thread/name/updated thread/section/changed thread/attachment/updated
                thread/goal/updated thread/goal/cleared thread/prediction/updated thread/queue/changed thread/project/updated
                thread/environment/connected thread/environment/disconnected thread/settings/updated thread/tokenUsage/updated""",
            "Sound, text or the state of a spoken conversation; every tool that the model calls in it is an item.": """
                thread/realtime/started thread/realtime/itemAdded thread/realtime/item/started
                thread/realtime/item/transcript/delta thread/realtime/item/completed thread/realtime/transcript/delta
                thread/realtime/transcript/done thread/realtime/outputAudio/delta thread/realtime/sdp thread/realtime/error
                thread/realtime/closed""",
            "The result of a search.": "thread/search/partial fuzzyFileSearch/sessionUpdated fuzzyFileSearch/sessionCompleted",
            "Says that a watched file changed, but not who changed it.": "fs/changed",
            "An event of an MCP server, and answers no call.": "mcpServer/event/stream/notification",
            "Says what state Codex, its account, its models or its servers are in.": """
                skills/changed project/changed app/list/updated remoteControl/status/changed mcpServer/oauthLogin/completed
                mcpServer/startupStatus/updated account/updated account/gatewayOAuth/changed account/rateLimits/updated
                account/login/completed model/rerouted model/verification model/safetyBuffering/updated
                modelProvider/authRecoveryStarted modelProvider/authRecoveryCompleted windowsSandbox/setupCompleted
                externalAgentConfig/import/progress externalAgentConfig/import/completed""",
        },
    ),
    *_entries(
        Kind.ITEM,
        recorded={
            "The model ran a command, or the user did by `thread/shellCommand`.": "commandExecution",
            "The model changed files.": "fileChange",
            "The model called a tool of an MCP server, or read a resource of one.": "mcpToolCall",
            "The model called a tool that the client runs.": "dynamicToolCall",
            "The model started, instructed, awaited or ended another agent.": "collabAgentToolCall",
            "Another agent was started, instructed or interrupted (the kind `completed` is no call).": "subAgentActivity",
            "The model searched the web, or opened or searched a page.": "webSearch",
            "The model looked at an image file.": "imageView",
            "The model made an image.": "imageGeneration",
            "The model paused.": "sleep",
        },
        excluded={
            "Text of the conversation.": "userMessage agentMessage plan reasoning hookPrompt",
            "Output of a tool that the client ran and handed in with `turn/start`; the call itself never crossed.": """
                functionCallOutput""",
            "Says that the turn changed its mode or its context, and no tool runs.": """
                enteredReviewMode exitedReviewMode contextCompaction""",
        },
    ),
)

# Model Context Protocol: 2025-11-25, 2026-07-28, and the latter's extension `io.modelcontextprotocol/tasks`.
MCP: Final[tuple[Entry, ...]] = (
    *_entries(
        Kind.CLIENT_REQUEST,
        recorded={
            "The client calls a tool.": "tools/call",
        },
        evidence={
            "The request names the client, and its response the server.": "initialize server/discover",
            "Brings the state or the result of a call that became a task.": "tasks/get tasks/result",
            "Ends a call that became a task.": "tasks/cancel",
            "Answers what a task asked the user: the approval and the wait of the call.": "tasks/update",
        },
        excluded={
            "Lists what the server has, or completes an input; no tool runs.": """
                tools/list prompts/list resources/list resources/templates/list tasks/list completion/complete""",
            "Reads what the server offers, and no tool runs.": "resources/read prompts/get",
            "Subscribes to changes or ends that.": "resources/subscribe resources/unsubscribe subscriptions/listen",
            "About the connection only.": "ping logging/setLevel",
        },
    ),
    *_entries(
        Kind.CLIENT_NOTIFICATION,
        evidence={
            "Ends the call that it names.": "notifications/cancelled",
        },
        excluded={
            "About the connection or about what the client offers.": """
                notifications/initialized notifications/roots/list_changed""",
            "About a request of the server, which is no tool call.": "notifications/progress notifications/tasks/status",
        },
    ),
    *_entries(
        Kind.SERVER_REQUEST,
        evidence={
            "Asks the user something in the middle of a call: the approval and the wait of that call.": "elicitation/create",
            "Shows which call the server is busy with, so that a question to the user is joined to another call.": """
                sampling/createMessage""",
        },
        excluded={
            "Asks what the client offers, or whether it is there.": "roots/list ping",
            "About a request of the server that became a task, which is no tool call.": """
                tasks/get tasks/result tasks/list tasks/cancel""",
        },
    ),
    *_entries(
        Kind.SERVER_NOTIFICATION,
        evidence={
            "Says what state a call that became a task is in, and may end it.": """
                notifications/tasks/status notifications/tasks""",
            "Takes a request of the server back: the end of a wait.": "notifications/cancelled",
        },
        excluded={
            "Says how far a call is, and changes nothing about its result.": "notifications/progress",
            "Says that the user is done with a page; the response to the question has ended the wait.": """
                notifications/elicitation/complete""",
            "A line of the server's log.": "notifications/message",
            "Says that something that the server offers changed.": """
                notifications/tools/list_changed notifications/prompts/list_changed notifications/resources/list_changed
                notifications/resources/updated notifications/subscriptions/acknowledged""",
        },
    ),
)

# Agent Client Protocol, version 1, with what is still unstable in it.  The agent is the server.
ACP: Final[tuple[Entry, ...]] = (
    *_entries(
        Kind.CLIENT_REQUEST,
        evidence={
            "The request names the client, and its response the agent.": "initialize",
            "Its response ends the calls that its session left open.": "session/prompt",
            "What its session says until the response is history, and no call.": "session/load",
        },
        excluded={
            "Opens, changes, lists or closes sessions; the tools called in them are session updates.": """
                session/new session/resume session/fork session/list session/close session/delete session/archive
                session/unarchive session/set_mode session/set_config_option session/set_title session/status""",
            "Reads or manages sign-in or the providers of models.": """
                authenticate logout auth/status providers/list providers/set providers/disable""",
            "Asks for a proposal of an edit, which the client makes or not.": "nes/start nes/suggest nes/close",
            "The handshake with a proxy between client and agent.": "proxy/initialize",
            "Wraps a message for another server or agent; what is wrapped is not read.": "mcp/message proxy/successor",
        },
    ),
    *_entries(
        Kind.CLIENT_NOTIFICATION,
        excluded={
            "Stops work; the response to `session/prompt` ends the calls.": "session/cancel",
            "Takes a request back, which still gets a response.": "$/cancel_request",
            "Says what the user does in an editor.": """
                document/didOpen document/didChange document/didClose document/didSave document/didFocus nes/accept nes/reject""",
            "Wraps a message for another server or agent; what is wrapped is not read.": "mcp/message proxy/successor",
        },
    ),
    *_entries(
        Kind.SERVER_REQUEST,
        evidence={
            "Asks whether a call may run: its approval, its wait, and its beginning if it is the first to name it.": """
                session/request_permission""",
            "Asks the user something; if it names a call, then that is a wait and an approval of the call.": "elicitation/create",
        },
        excluded={
            "Serves a tool call of the agent, and that call is the record.": """
                fs/read_text_file fs/write_text_file terminal/create terminal/output terminal/release terminal/wait_for_exit
                terminal/kill mcp/connect mcp/disconnect mcp/message""",
            "Wraps a message for another server or agent; what is wrapped is not read.": "proxy/successor",
        },
    ),
    *_entries(
        Kind.SERVER_NOTIFICATION,
        evidence={
            "Carries a session update.": "session/update",
        },
        excluded={
            "Takes a request back, which still gets a response.": "$/cancel_request",
            "Says that the user is done with a page, or what became of sign-in.": "elicitation/complete auth/status_update",
            "Wraps a message for another server or agent; what is wrapped is not read.": "mcp/message proxy/successor",
        },
    ),
    *_entries(
        Kind.SESSION_UPDATE,
        recorded={
            "The agent called a tool.": "tool_call",
        },
        evidence={
            "Ends a tool call, or is all that is seen of one.": "tool_call_update",
        },
        excluded={
            "Text of the conversation.": """
                user_message_chunk agent_message_chunk agent_thought_chunk plan plan_update plan_removed notice session_message
                session_message_chunk compaction_update compaction_summary_chunk""",
            "Says what state the session is in; the tool calls of another agent's session are recorded there.": """
                available_commands_update current_mode_update config_option_update session_info_update usage_update
                subagent_update""",
        },
    ),
)
