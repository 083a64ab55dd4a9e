"""The laws, in words: what a conformance check holds an implementation to, and the error that names the one it broke."""

from __future__ import annotations

from enum import StrEnum


class Law(StrEnum):
    """One law each; its value is the sentence that a failing check shows."""

    EVERY_CALL_ONCE = "every call yields exactly one operation, at the moment it ends"
    NEVER_RAISES = "nothing that a peer sends can raise"
    HOSTILE_FRAMES = "frames that are not JSON, not ours or hostile yield nothing and harm nothing"
    WHAT_JSON_READS = "whatever Python's json can read as a call is recorded"
    FRAME_TYPES = "a frame is bytes, bytearray, memoryview or str, and means the same in each"
    FRAMES_UNTOUCHED = "a frame is neither altered nor held on to: its buffer may be used again at once"
    MEMORY = "memory is bounded: an open call keeps no oversized frame alive, and what has ended leaves nothing behind"
    BATCHES = "a batch is its messages, one after the other, in both directions"

    CLIENT_REQUESTS_BEGIN = "a call begins with a client's request whose id is a string or a number, and with nothing else"
    RESPONSES_END = "only a response of the server ends a call: no request, no notification, nothing of the client's"
    EXACT_IDS = (
        "an id is its type and its exact value: where 1 and '1', or 2**53 and 2**53 + 1, are both open, each gets its own answer"
    )
    RESPELLED_IDS = (
        "an answer that matches no id exactly, but is 7 for '7' or '7' for 7, ends the only such call, which says id_respelled"
    )
    DUPLICATE_IDS = "a reused id loses no call: first begun is first ended, and each of them says duplicate_id"
    CANCELLED = "a cancelled call is recorded once, as cancelled, and a later answer is ignored"
    CANCEL_REASON = "the reason of a cancellation is the summary of the call that it ends"
    ONLY_REQUESTER_CANCELS = "a server's notifications/cancelled takes back a request of the server's, and never a call"
    UNANSWERED = "a call that is open when the connection ends is recorded as unanswered, and a second close() adds nothing"
    EVICTED = "no more than max_pending calls are open: the oldest goes, recorded as evicted"

    TASKS = "a call that becomes a task is one operation, which ends with the result, the error or the cancellation of the task"
    ROUNDS = "a call that is asked for input goes on with the retry that has its tool, arguments, state and answers"
    SUSPENDED = "a task or a round that nobody ends is recorded when its table closes, as it was last seen"
    SUSPENDED_BOUNDED = "no more calls wait for a task or a round than the limit, and none for longer: what falls out is recorded"
    SUSPENDED_ELSEWHERE = (
        "a task or a round goes on over any connection that shares its table, and outlives the one that began it"
    )

    APPROVALS = "approval says what was decided, by whom, after how long and why: of several the last, and how many there were"
    APPROVAL_LINK = "an approval is that of the call that it is about; what is about no call leaves nothing"
    REFUSED = "a call that the last decision refused is one operation, and declined, whatever its end says"
    WAITS = "waited_ms is the time in which an answer of a person's was missing, each moment of it counted once"

    ITEMS = "what the model calls is recorded from its items, with the source llm, where record_items says so"
    UNANNOUNCED_ITEMS = "a completed item that nothing announced is recorded all the same"
    COMPLETED_ITEM_COUNTS = "every field of an item comes from item/completed, its beginning from item/started"
    INTERRUPTED = "turn/completed ends the open items of its thread and turn, but for commands, as interrupted"
    TURN_ENDS = "a new turn of its thread, or the end of the thread, ends an item too, and what comes of it later adds nothing"
    SAME_EXECUTION = "an item that is announced or completed again, with the same startedAtMs, is the same call"
    CLIENT_EXECUTIONS = "what a client of Codex runs, writes or reads is recorded; a process ends when it exits"
    ACP_CALLS = "what an ACP agent does is one operation for each session and tool call id, with the last that was said of it"
    ACP_HISTORY = "what session/load repeats is no call"
    EXECUTION_IDS = "two connections that watch one thread give one execution one id, and two executions two"

    WORKSPACE = "workspace_id is the one of the Config"
    USER = "user_id is the one of the Config, else what the client claims, else absent"
    SOURCE = "source is the one of the Config, and llm for items"
    THREAD = "thread_id is threadId, else thread_id, else (MCP) the threadId in _meta"
    REQUEST_ID = "request_id is the id as text: a string as it is, a number as JSON spells it, an item's own id"
    ENV = "env_id is the environment_id of the arguments, else the server's name, else the default"
    TOOL = "tool is what the call names, the type of an item that names none, else unknown"
    ARGUMENTS = "arguments are the exact JSON text from the wire, or absent"
    ARGUMENTS_LIMIT = "arguments over the limit, or that are no strict JSON, are kept as their exact size and digest"
    RESULT_TEXT = "result_summary is all text of the result joined, or the message of an error, or absent"
    GIST = "where a result has no text, the summary is its resources, else its structured content, else its links"
    REPLACED_BYTES = "bytes that are no UTF-8 cost no call: they become U+FFFD, and the record says so"
    RESULT_CUT = "a result over the limit is cut on a character boundary, with size and digest of the whole"
    NULL_ERROR = "an error that is null is no error"
    OUTCOME = "is_error, outcome and codes are those of the end that the call had"
    RESULT_META = "result_meta says what is known besides the text, and is absent for a plain success"
    CONTEXT = "context says who called whom, in which protocol and session, as far as the connection or the call itself says it"
    TRACE = "trace_id and parent_span_id are those of a well-formed traceparent"
    NAMES = "names are valid Unicode of at most 1024 bytes, cut on a character boundary"
    UNIQUE_IDS = "every operation has an id of its own, a UUID as text"
    TIMES = "times are UTC, of when the frames were seen; a duration is whole milliseconds from 0 to 2**31 - 1"

    SUBMIT_RAISES = "submit() never raises"
    SUBMIT_BLOCKS = "submit() never blocks, whatever the endpoint does"
    SUBMIT_DELIVERS = "what was submitted arrives, unaltered, as long as the endpoint takes it"
    SUBMIT_GOES_ON = "a slow or failed delivery never stops the next one"
    LEDGER = "submitted equals delivered, dropped, queued and in flight together, at any time"
    OVERFLOW = "a full queue drops, and counts what it drops"
    FAIR = "a flood of one workspace costs another one nothing"
    LEAVING_DRAINS = "leaving the block delivers what is queued"
    LEAVING_IS_BOUNDED = "leaving the block ends, whatever the endpoint does"
    EXCEPTIONS = "an exception of the block comes out as it is"
    SECRETS = "neither the secret nor a payload is written to a log"

    BRIDGE_BYTES = "a frame comes out exactly as it went in: the same bytes, text as text, binary as binary"
    BRIDGE_ORDER = "frames of one direction come out in the order in which they went in, and none is lost"
    BRIDGE_MEMORY = "a reader that is slow stops the writer on the other side: memory is bounded"
    BRIDGE_LOG_INVISIBLE = "a failure of the log never touches the traffic"
    BRIDGE_SHOWS = "the interceptor sees every frame, or each JSON text in it, in its direction, before the frame is forwarded"
    BRIDGE_END = "when a side ends, the other is ended too and the interceptor is closed, once"

    BRIDGE_LIST_GOES_ON = "while operations/list is being answered every other frame goes on"
    BRIDGE_LIST_ANSWERS = (
        "operations/list gets one valid JSON-RPC answer, whatever its endpoint says, and nothing of what it said"
    )

    STORE_KEEPS = "what is stored comes back, every field of it"
    STORE_IDEMPOTENT = "an id that is stored again is answered like the first time, and changes nothing"
    STORE_WORKSPACES = "a workspace sees its own operations only"
    STORE_FILTERS = "a filter lets through exactly the operations that have the value"
    STORE_ORDER = "operations are listed newest first"
    STORE_LIMITS = "a list holds as many operations as were asked for, 100 when nothing was, and never over 1000"
    STORE_PAGES = "pages that follow one another by their cursor hold each record once, also while others are stored"
    STORE_GET = "a record is found by its id in its own workspace, and two workspaces may have the same id"
    STORE_SEARCH = "a search finds the text in tool, arguments and summary, whatever its case, and nowhere else"
    STORE_COUNTS = "statistics count each record that was stored once, and each failure"
    STORE_PERCENTILES = "a percentile is within 5 % of the one of nearest rank"
    STORE_PRUNES = "pruning takes the days before the one that is named, of the workspace that is named, and no statistics"
    STORE_ARRIVALS = "whoever watches sees each record that arrives once, in the order of arrival"
    STORE_CONCURRENCY = "writers and readers at the same time lose nothing and raise nothing"


class LawBroken(AssertionError):  # noqa: N818 -- it is a verdict
    """An implementation broke a law.

    Attributes:
        law: Which one.
        detail: What was seen, in words.
    """

    def __init__(self, law: Law, detail: str) -> None:
        super().__init__(law, detail)
        self.law = law
        self.detail = detail

    def __str__(self) -> str:
        return f"broken law {self.law.name}: {self.law.value}\n{self.detail}"
