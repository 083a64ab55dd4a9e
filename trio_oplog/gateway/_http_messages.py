"""What a message of JSON-RPC means to a client of MCP over HTTP: which headers go with it, and what is to come back."""

from __future__ import annotations

import base64
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, field

_NAMED_BY: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_PROTOCOL_KEY: Final = "io.modelcontextprotocol/protocolVersion"
_NOTHING: Final = Raw(b"")
CANCELLED: Final = "notifications/cancelled"
INITIALIZED: Final = "notifications/initialized"
SERVER_ERROR: Final = -32000


class _Meta(Struct):
    protocol: str | None = field(name=_PROTOCOL_KEY, default=None)


class _Params(Struct):
    name: Any = None
    uri: Any = None
    request_id: Raw = field(name="requestId", default=_NOTHING)
    meta: _Meta | None = field(name="_meta", default=None)


class _Message(Struct):
    method: str | None = None
    id: Raw = _NOTHING
    params: _Params | None = None


class _Result(Struct):
    protocol: str | None = field(name="protocolVersion", default=None)


class _Response(Struct):
    id: Raw = _NOTHING
    method: str | None = None
    result: Raw = _NOTHING
    error: Raw = _NOTHING


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_messages = msgspec.json.Decoder(list[_Message]).decode
_decode_response = msgspec.json.Decoder(_Response).decode
_decode_responses = msgspec.json.Decoder(list[_Response]).decode
_decode_result = msgspec.json.Decoder(_Result).decode


class Outgoing:
    """A message to the server, or a batch of them.  What is none has no ids, and goes to the server as it is.

    Attributes:
        method: The method; ``None`` for a response, and for a batch.
        waiting: The ids of the requests in it that were not answered, as JSON text.
        cancels: Which request it takes back, as JSON text.
        protocol: The version that it says it is of, which versions with sessions do not say.
        headers: What goes with it, from 2026-07-28 on.
    """

    def __init__(self, frame: bytes) -> None:
        self.method: str | None = None
        self.waiting: list[bytes] = []
        self.cancels: bytes = b""
        self.protocol: str | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        try:
            one = _decode_message(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            try:
                messages = _decode_messages(frame)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                messages = []
        else:
            messages = [one]
            self._read(one)
        self.waiting = [bytes(each.id) for each in messages if each.method is not None and bytes(each.id) not in (b"", b"null")]

    def _read(self, message: _Message) -> None:
        self.method = message.method
        params = message.params or _Params()
        if message.method == CANCELLED:
            self.cancels = bytes(params.request_id)
        self.protocol = params.meta.protocol if params.meta is not None else None
        if self.protocol is not None and message.method is not None:
            self.headers = [(b"MCP-Protocol-Version", _value(self.protocol)), (b"Mcp-Method", _value(message.method))]
            name = getattr(params, _NAMED_BY.get(message.method, ""), None)
            if isinstance(name, str):
                self.headers.append((b"Mcp-Name", _value(name)))

    def hear(self, frame: bytes) -> str | None:
        """A message of the server: whatever it answers does not wait any more.

        Returns:
            The version that an answer to ``initialize`` names.
        """
        protocol = None
        for response in read_responses(frame):
            if response.method is None and bytes(response.id) in self.waiting:
                self.waiting.remove(bytes(response.id))
                if self.method == "initialize":
                    protocol = _read_protocol(response.result)
        return protocol

    def answer_for_server(self, error: bytes) -> list[bytes]:
        """The answers that tell each request that waits of an error, which is JSON text.  Then none waits any more."""
        answers = [b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (id_, error) for id_ in self.waiting]
        self.waiting.clear()
        return answers


def read_responses(frame: bytes) -> list[_Response]:
    """The messages of a frame of the server; none of what is no JSON-RPC."""
    try:
        return [_decode_response(frame)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        try:
            return _decode_responses(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return []


def read_error(frame: bytes) -> bytes:
    """The error in the body of a refusal, as JSON text; empty where there is none."""
    found = [bytes(response.error) for response in read_responses(frame)]
    return found[0] if len(found) == 1 else b""


def make_error(problem: str) -> bytes:
    """An error as JSON text."""
    return msgspec.json.encode({"code": SERVER_ERROR, "message": problem})


def _read_protocol(result: Raw) -> str | None:
    try:
        return _decode_result(result).protocol
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _value(text: str) -> bytes:
    """The value of a header; what no header can hold is written in base64, as MCP has it."""
    is_plain = text.isascii() and text.isprintable() and text == text.strip() and not text.startswith("=?base64?")
    return text.encode() if is_plain else b"=?base64?%b?=" % base64.b64encode(text.encode("utf-8", "surrogatepass"))
