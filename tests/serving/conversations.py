"""Odd and hostile conversations, and what must come of each.

``APP`` is whatever the app says; ``BODY`` is 400 from an app that reads the body of the request, and else whatever the app says.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from attrs import field, frozen

from tests.serving.peer import EOF, PATH, RESET, request

APP = -1
BODY = -2
ENDS = True
GOES_ON = False

POST = b"POST " + PATH + b" HTTP/1.1"
GET = b"GET " + PATH + b" HTTP/1.1"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
PRIORITIES = b"".join(
    b"\x00\x00\x05\x02\x00" + (2 * number + 1).to_bytes(4, "big") + b"\x00\x00\x00\x00\x10" for number in range(1001)
)
# Indexed fields of HPACK's static table, and literals of ":path" and ":method".
HEADERS_OF_A_PATH = b"\x00\x00\x09\x01\x05\x00\x00\x00\x01\x82\x86\x44\x02/\xff\x41\x01x"
HEADERS_OF_A_METHOD = b"\x00\x00\x08\x01\x05\x00\x00\x00\x01\x42\x01\xff\x84\x86\x41\x01x"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: "
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(200))


@frozen
class Conversation:
    """What a client says, and what it must hear.

    Attributes:
        name: What is odd about it.
        says: See ``tests.serving.peer.converse``.
        hears: The statuses of the responses, one after the other.
        ends: Whether the server ends the connection.
    """

    name: str
    says: Iterable[bytes | str]
    hears: tuple[int, ...]
    ends: bool = field(kw_only=True)


def _is_answered(name: str, *says: bytes | str, times: int = 1, ends: bool = GOES_ON) -> Conversation:
    return Conversation(name, says, (APP,) * times, ends=ends)


def _is_refused(name: str, *says: bytes | str, status: int = 400) -> Conversation:
    return Conversation(name, says, (status,), ends=ENDS)


def _is_a_bad_body(name: str, body: bytes, headers: bytes = CHUNKED) -> Conversation:
    return Conversation(name, (request(headers, line=POST, body=body),), (BODY,), ends=ENDS)


def _header(name: str, line: bytes, status: int = 400) -> Conversation:
    return _is_refused(name, request(line + b"\r\n"), status=status)


def _line(name: str, line: bytes, status: int = 400) -> Conversation:
    return _is_refused(name, request(line=line), status=status)


ANSWERED = (
    _is_answered("nothing odd", request()),
    _is_answered("two requests", request(), request(), times=2),
    _is_answered("1000 pipelined requests", request() * 1000, times=1000),
    _is_answered(
        "100 pipelined requests with bodies", request(b"Content-Length: 3\r\n", line=POST, body=b"abc") * 100, times=100
    ),
    _is_answered(
        "one byte after the other", *(bytes([byte]) for byte in request(b"Content-Length: 3\r\n", line=POST, body=b"abc"))
    ),
    _is_answered("HTTP/1.0", b"GET " + PATH + b" HTTP/1.0\r\n\r\n", ends=ENDS),
    _is_answered("HTTP/1.0 with keep-alive", b"GET " + PATH + b" HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", ends=ENDS),
    _is_answered("Connection: close", request(b"Connection: close\r\n"), ends=ENDS),
    _is_answered("Connection: close and more", request(b"Connection: close\r\n"), request() * 2000, ends=ENDS),
    _is_answered("HEAD", request(line=b"HEAD " + PATH + b" HTTP/1.1"), request(), times=2),
    _is_answered("OPTIONS *", request(line=b"OPTIONS * HTTP/1.1")),
    _is_answered("an absolute target", request(line=b"GET http://example.org:80" + PATH + b"?a=b HTTP/1.1")),
    # The collector's page is there, for whoever asks.
    Conversation(
        "an absolute target without a path", (request(line=b"GET HTTP://example.org?a HTTP/1.1"),), (200,), ends=GOES_ON
    ),
    _is_answered("an empty line first", b"\r\n" + request()),
    _is_answered("500 empty lines first, and some in pieces", b"\r\n" * 500, b"\n", b"\r", b"\n", request()),
    _is_answered("an empty line after a body", request(b"Content-Length: 1\r\n", line=POST, body=b"x\r\n") + request(), times=2),
    _is_answered("lines that end with LF alone", request().replace(b"\r", b"")),
    _is_answered("a chunked body", request(CHUNKED, line=POST, body=b"3\r\nabc\r\n0\r\n\r\n")),
    _is_answered("chunks with extensions", request(CHUNKED, line=POST, body=b'3;a=b;c="d"\r\nabc\r\n0;x\r\n\r\n')),
    _is_answered("a trailer", request(CHUNKED, line=POST, body=b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n") + request(), times=2),
    _is_answered(
        "30 000 chunks of a byte", request(CHUNKED, line=POST, body=b"1\r\nx\r\n" * 30_000 + b"0\r\n\r\n"), ends=GOES_ON
    ),
    _is_answered("CHUNKED in capitals", request(b"TRANSFER-ENCODING: CHUNKED\r\n", line=POST, body=b"0\r\n\r\n")),
    _is_answered("a body of no bytes", request(b"Content-Length: 0\r\n", line=POST)),
    _is_answered("a length with zeros before it", request(b"Content-Length: 0003\r\n", line=POST, body=b"abc")),
    _is_answered("the same length twice", request(b"Content-Length: 3\r\n" * 2, line=POST, body=b"abc")),
    _is_answered("the same length twice in a line", request(b"Content-Length: 3, 3\r\n", line=POST, body=b"abc")),
    _is_answered("a GET with a body", request(b"Content-Length: 3\r\n", body=b"abc") + request(), times=2),
    _is_answered("an expectation nobody has", request(b"Expect: everything\r\n")),
    _is_answered("a method nobody has", request(line=b"BREW " + PATH + b" HTTP/1.1")),
    _is_answered("a method in small letters", request(line=b"get " + PATH + b" HTTP/1.1")),
    _is_answered("a method of odd characters", request(line=b"!#$%&'*+-.^_`|~ " + PATH + b" HTTP/1.1")),
    _is_answered("bytes in the path that are no UTF-8", request(line=b"GET /%ff%fe%00%2e%2e%2f%g1% HTTP/1.1")),
    _is_answered("dots and slashes in the path", request(line=b"GET //../..//;a=b/ HTTP/1.1")),
    _is_answered("a query that is odd", request(line=b"GET " + PATH + b"?&&=?#%ff\\|{}[]^ HTTP/1.1")),
    _is_answered("a path of 30 000 characters", request(line=b"GET /" + b"x" * 30_000 + b" HTTP/1.1")),
    _is_answered("a header that goes on in the next line", request(b"X-Folded: a\r\n b\r\n\tc\r\n")),
    _is_answered("bytes over 0x7f in a header", request(b"X-Odd: \xff\x80\xc3\xa9\r\n")),
    _is_answered("control characters in a header", request(b"X-Odd: a\x01\x02\x7f\tb\r\n")),
    _is_answered("a header without a value", request(b"X-Empty:\r\nX-Blank:  \t \r\n")),
    _is_answered("a header of 60 000 bytes", request(b"X-Long: " + b"x" * 60_000 + b"\r\n")),
    _is_answered("200 headers", request(b"X-Many: 1\r\n" * 200)),
    _is_answered("200 secrets", request(b"X-Internal-Secret: 1\r\n" * 200)),
    _is_answered(
        "an upgrade to h2c", request(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n")
    ),
    _is_answered(
        "an upgrade to h2c with bad settings", request(b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: \xff!\r\n")
    ),
    _is_answered("an upgrade to h2c without settings", request(b"Connection: Upgrade\r\nUpgrade: h2c\r\n")),
    _is_answered(
        "an upgrade to h2c with a body, and frames after it",
        request(b"Upgrade: h2c\r\nHTTP2-Settings: AAAA\r\nContent-Length: 3\r\n", line=POST, body=b"abc"),
        request(),
        times=2,
    ),
    _is_answered("an upgrade to WebSocket", request(WEBSOCKET + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")),
    _is_answered("an upgrade to WebSocket with an odd key", request(WEBSOCKET + b"Sec-WebSocket-Key: \xff\xfe\r\n")),
    _is_answered("an upgrade to WebSocket with an odd protocol", request(WEBSOCKET + b"Sec-WebSocket-Protocol: \x80,\xff\r\n")),
    _is_answered("an upgrade to WebSocket with odd extensions", request(WEBSOCKET + b"Sec-WebSocket-Extensions: ;;=\xff\r\n")),
    _is_answered("an upgrade to WebSocket with an odd header", request(WEBSOCKET + KEY + b"X-Odd: \xff\xfe\r\n")),
    _is_answered("a whole upgrade with an odd protocol", request(WEBSOCKET + KEY + b"Sec-WebSocket-Protocol: \x80,\xff\r\n")),
    _is_answered("a whole upgrade with odd extensions", request(WEBSOCKET + KEY + b"Sec-WebSocket-Extensions: \xff;a=\xff\r\n")),
    _is_answered("a whole upgrade with an odd upgrade", request(WEBSOCKET + KEY + b"Upgrade: \xff\r\n")),
    _is_answered("an upgrade to h2c whose settings are no base64", request(H2C + b"!!!\r\n")),
    _is_answered("an upgrade to h2c whose settings are cut", request(H2C + b"AAQ\r\n")),
    _is_answered("an upgrade to h2c whose settings are out of range", request(H2C + b"AAT_____\r\n")),
    _is_answered("an upgrade to h2c whose settings are no ASCII", request(H2C + b"\xff\r\n")),
    _is_answered("an upgrade to WebSocket version 99", request(WEBSOCKET.replace(b"13", b"99"))),
    _is_answered("an upgrade to something with \xff", request(b"Connection: Upgrade\r\nUpgrade: \xff\r\n")),
)

REFUSED = (
    _is_refused("HTTP/2 with prior knowledge", PREFACE + SETTINGS, status=505),
    _is_refused("1001 PRIORITY frames", PREFACE + SETTINGS + PRIORITIES, status=505),
    _is_refused("0xff in the path of HTTP/2", PREFACE + SETTINGS + HEADERS_OF_A_PATH, status=505),
    _is_refused("0xff in the method of HTTP/2", PREFACE + SETTINGS + HEADERS_OF_A_METHOD, status=505),
    _line("HTTP/2.0 without a preface", b"GET / HTTP/2.0", 505),
    _line("HTTP/1.2", b"GET / HTTP/1.2", 505),
    _line("HTTP/0.8", b"GET / HTTP/0.8", 505),
    _line("HTTP/1.10", b"GET / HTTP/1.10"),
    _line("HTTP/1", b"GET / HTTP/1"),
    _line("a version in small letters", b"GET / http/1.1"),
    _is_refused("HTTP/0.9", b"GET /\r\n\r\n"),
    _line("CONNECT", b"CONNECT example.org:443 HTTP/1.1", 501),
    _line("CONNECT with a path", b"CONNECT /internal/operations HTTP/1.1", 501),
    _line("CONNECT to nowhere", b"CONNECT * HTTP/1.1", 501),
    _line("0xff in the method", b"\xff / HTTP/1.1"),
    _line("0xff in the path", b"GET /\xff HTTP/1.1"),
    _line("a NUL in the method", b"G\x00T / HTTP/1.1"),
    _line("a NUL in the path", b"GET /\x00 HTTP/1.1"),
    _line("a path that is none", b"GET operations HTTP/1.1"),
    _line("no path", b"GET  HTTP/1.1"),
    _line("a space in the path", b"GET /a b HTTP/1.1"),
    _line("tabs between the parts", b"GET\t/\tHTTP/1.1"),
    _line("GET *", b"GET * HTTP/1.1"),
    _line("a target of another scheme", b"GET ftp://example.org/ HTTP/1.1"),
    _line("a target with a password", b"GET http://user:secret@example.org/ HTTP/1.1"),
    _line("a target without a host", b"GET http:///internal/operations HTTP/1.1"),
    _is_refused("a space before the request", b" " + request()),
    _is_refused("no Host", b"GET / HTTP/1.1\r\n\r\n"),
    _header("two Hosts", b"Host: example.org"),
    _header("0xff in the name of a header", b"X-\xff: 1"),
    _header("a NUL in the name of a header", b"X-\x00: 1"),
    _header("a NUL in a header", b"X-Odd: \x00"),
    _header("CR in a header", b"X-Odd: a\rb"),
    _header("a space before the colon", b"Content-Length : 3"),
    _header("a space in the name of a header", b"X Odd: 1"),
    _header("a header without a name", b": 1"),
    _header("a header without a colon", b"nonsense"),
    _is_refused("a first header that goes on from nowhere", GET + b"\r\n Host: x\r\n\r\n"),
    _header("a negative length", b"Content-Length: -1"),
    _header("a length with a sign", b"Content-Length: +3"),
    _header("a length in hexadecimal", b"Content-Length: 0x3"),
    _header("a length that is a fraction", b"Content-Length: 3.0"),
    _header("an empty length", b"Content-Length:"),
    _header("digits of another script as a length", b"Content-Length: \xd9\xa3"),
    _header("a length of 31 digits", b"Content-Length: 1" + b"0" * 30),
    _header("two lengths", b"Content-Length: 3\r\nContent-Length: 4"),
    _header("two lengths in a line", b"Content-Length: 3, 4"),
    _header("chunks and a length", CHUNKED + b"Content-Length: 3"),
    _header("a length and chunks", b"Content-Length: 3\r\nTransfer-Encoding: chunked"),
    _is_refused("chunks in HTTP/1.0", b"POST / HTTP/1.0\r\n" + CHUNKED + b"\r\n0\r\n\r\n"),
    _header("another encoding", b"Transfer-Encoding: gzip, chunked", 501),
    _header("identity", b"Transfer-Encoding: identity", 501),
    _header("xchunked", b"Transfer-Encoding: xchunked", 501),
    _header("chunked twice", CHUNKED + b"Transfer-Encoding: chunked", 501),
    _header("a vertical tab before chunked", b"Transfer-Encoding: \x0bchunked"),
    _header("257 headers", b"\r\n".join([b"X-Many: 1"] * 256), 431),
    _header("16 000 headers", b"\r\n".join([b"a:"] * 16_000), 431),
    _header("100 000 headers", b"\r\n".join([b"X-Many: 1"] * 100_000), 431),
    _header("a header of 1 MiB", b"X-Long: " + b"x" * (1 << 20), 431),
    _header("the name of a header of 1 MiB", b"x" * (1 << 20) + b": 1", 431),
    _line("a path of 1 MiB", b"GET /" + b"x" * (1 << 20) + b" HTTP/1.1", 431),
    _is_refused("a head without an end", GET + b"\r\n", *[b"X-Endless: " + b"x" * 10_000 + b"\r\n"] * 500, status=431),
    _is_refused("a line without an end", *[b"x" * 10_000] * 500, status=431),
    _is_refused("TLS", CLIENT_HELLO),
    _is_refused("SSH", b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
    _is_refused("1000 NULs", bytes(1000)),
    _is_refused("random bytes", b"\x80" + random.Random(1).randbytes(5000) + b"\n\n"),
    _is_refused("a response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    Conversation("garbage after a request", (request() + b"\x00\xffgarbage\r\n\r\n",), (APP, 400), ends=ENDS),
    Conversation("a body that was not announced", (request() + b'{"id":1}\r\n\r\n',), (APP, 400), ends=ENDS),
)

BAD_BODIES = (
    _is_a_bad_body("a chunk of no size", b"\r\nabc\r\n0\r\n\r\n"),
    _is_a_bad_body("a chunk of a negative size", b"-3\r\nabc\r\n0\r\n\r\n"),
    _is_a_bad_body("a chunk of size 0x3", b"0x3\r\nabc\r\n0\r\n\r\n"),
    _is_a_bad_body("a chunk of size \xff", b"\xff\r\nabc\r\n0\r\n\r\n"),
    _is_a_bad_body("a chunk of 21 digits", b"1" * 21 + b"\r\nabc\r\n0\r\n\r\n"),
    _is_a_bad_body("a chunk that is longer than it says", b"3\r\nabcdef\r\n0\r\n\r\n"),
    _is_a_bad_body("a chunk without an end of line", b"3\r\nabc0\r\n\r\n"),
    _is_a_bad_body("a chunk that ends with LF alone", b"3\r\nabc\n0\r\n\r\n"),
    _is_a_bad_body("the line of a chunk without an end", b"3;" + b"x" * 200_000),
    _is_a_bad_body("a trailer that is none", b"0\r\nnonsense\r\n\r\n"),
    _is_a_bad_body("a trailer without an end", b"0\r\n" + b"X-Endless: 1\r\n" * 20_000),
)

WHOLE = request(b"Content-Length: 6\r\n", line=POST, body=b"abcdef")
POINTS = {
    "at once": 0,
    "after a byte": 1,
    "in the request line": 10,
    "in a header": WHOLE.index(b"localhost"),
    "before the body": WHOLE.index(b"abcdef"),
    "in the body": WHOLE.index(b"def"),
    "after the request": len(WHOLE),
}
RESETS = tuple(
    Conversation(f"reset {where}", (WHOLE[:end], RESET) if end else (RESET,), (), ends=ENDS) for where, end in POINTS.items()
)
HALF_CLOSES = (
    *(
        Conversation(f"half-closed {where}", (WHOLE[:end], EOF) if end else (EOF,), (), ends=ENDS)
        for where, end in POINTS.items()
        if end < WHOLE.index(b"abcdef")
    ),
    Conversation("half-closed in the body", (WHOLE[:-3], EOF), (BODY,), ends=ENDS),
    Conversation("half-closed before the body", (WHOLE[:-6], EOF), (BODY,), ends=ENDS),
    Conversation("half-closed in a chunk", (request(CHUNKED, line=POST, body=b"5\r\nabc"), EOF), (BODY,), ends=ENDS),
    _is_answered("half-closed after the request", WHOLE, EOF, ends=ENDS),
    _is_answered("half-closed after five requests", WHOLE * 5, EOF, times=5, ends=ENDS),
)

CONVERSATIONS = (*ANSWERED, *REFUSED, *BAD_BODIES, *RESETS, *HALF_CLOSES)
