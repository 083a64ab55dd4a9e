"""What an Otlp makes of settings and answers."""

from __future__ import annotations

import gzip
import subprocess
import sys
from typing import Any

import httpx
import pytest

from tests.otlp.receiver import partial_success
from tests.otlp.test_mapping import FULL
from trio_oplog import Client, ConfigError, Otlp
from trio_oplog._delivery.record import Record
from trio_oplog._delivery.verdict import Answer, Reply, Verdict
from trio_oplog._otlp.protocol import ANSWER_MAX_BYTES, signal_of

PROTOBUF = "application/x-protobuf"


def judged(reply: Reply, count: int = 2, otlp: Otlp | None = None) -> Answer:
    return (otlp or Otlp()).judge(reply, [str(number) for number in range(count)], {500}, batch=count > 1)


@pytest.mark.parametrize(
    ("statuses", "alone", "in_a_batch"),
    [
        ([429, 502, 503, 504, 511, 520, 522, 527, 530], Verdict.OUTAGE, Verdict.OUTAGE),
        ([401, 403, 404, 405, 407, 301, 307], Verdict.WRONG_PATH, Verdict.WRONG_PATH),
        ([400, 415, 422], Verdict.REFUSED, Verdict.BATCH_REFUSED),
        ([408, 409, 425, 500, 501, 505], Verdict.REFUSED, Verdict.REFUSED),
        ([413], Verdict.TOO_LARGE, Verdict.TOO_LARGE),
        ([200, 202, 204], Verdict.STORED, Verdict.STORED),
    ],
)
def test_only_what_the_specification_says_is_tried_again_and_a_wrong_path_is_no_verdict(
    statuses: list[int], alone: Verdict, in_a_batch: Verdict
) -> None:
    for status in statuses:
        reply = Reply(status=status)
        assert judged(reply, 1).verdict is alone, status
        assert judged(reply).verdict is in_a_batch, status
        assert str(status) in judged(reply).problem or status < 300


def test_no_answer_is_an_outage_with_its_reason() -> None:
    assert judged(Reply(status=None, problem="ConnectError")) == Answer(Verdict.OUTAGE, "ConnectError")


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        (PROTOBUF, b"", Answer(Verdict.STORED)),
        ("", b"", Answer(Verdict.STORED)),
        ("text/plain", b"OK, thank you", Answer(Verdict.STORED)),
        ("application/json", b"{}", Answer(Verdict.STORED)),
        ("application/json", b"", Answer(Verdict.STORED)),
        ("application/json", b"\xff", Answer(Verdict.STORED)),
        ("application/json; charset=utf-8", b'{"partialSuccess":null}', Answer(Verdict.STORED)),
        (PROTOBUF, partial_success(0), Answer(Verdict.STORED)),
        (PROTOBUF, partial_success(0, "slow down"), Answer(Verdict.STORED, "slow down")),
        (PROTOBUF, partial_success(-1), Answer(Verdict.STORED)),
        (PROTOBUF, partial_success(1), Answer(Verdict.PARTLY_STORED, "HTTP 200 with a partial success", rejected=1)),
        (
            PROTOBUF,
            partial_success(1, "too\nold"),
            Answer(Verdict.PARTLY_STORED, "HTTP 200 with a partial success: too\\nold", rejected=1),
        ),
        (
            "application/json",
            b'{"partialSuccess":{"rejectedSpans":"1","errorMessage":"old"}}',
            Answer(Verdict.PARTLY_STORED, "HTTP 200 with a partial success: old", rejected=1),
        ),
        (PROTOBUF, partial_success(2), Answer(Verdict.REFUSED, "HTTP 200 with a partial success")),
        (PROTOBUF, partial_success(9), Answer(Verdict.REFUSED, "HTTP 200 with a partial success")),
        ("text/html; charset=utf-8", b"Sign in", Answer(Verdict.WRONG_PATH, "HTTP 200 with text/html: something else answers")),
        (PROTOBUF, b"x" * (ANSWER_MAX_BYTES + 1), Answer(Verdict.REFUSED, "HTTP 200 with an endless answer")),
    ],
)
def test_a_yes_is_read_for_what_it_leaves_out(content_type: str, body: bytes, expected: Answer) -> None:
    assert judged(Reply(status=200, content_type=content_type, body=body)) == expected


def test_log_records_have_a_partial_success_of_their_own() -> None:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess, ExportLogsServiceResponse

    partial = ExportLogsPartialSuccess(rejected_log_records=1, error_message="old")
    body = ExportLogsServiceResponse(partial_success=partial).SerializeToString()
    answer = judged(Reply(status=200, content_type=PROTOBUF, body=body), otlp=Otlp(signal="logs"))
    assert (answer.verdict, answer.rejected) == (Verdict.PARTLY_STORED, 1)
    body = b'{"partialSuccess":{"rejectedLogRecords":1}}'
    answer = judged(Reply(status=200, content_type="application/json", body=body), otlp=Otlp(signal="logs"))
    assert (answer.verdict, answer.rejected) == (Verdict.PARTLY_STORED, 1)
    assert judged(Reply(status=200, body=b"\xff"), otlp=Otlp(signal="logs")) == Answer(Verdict.STORED)


def test_a_message_of_the_endpoint_is_logged_short_and_without_what_it_may_quote() -> None:
    reply = Reply(status=200, content_type=PROTOBUF, body=partial_success(1, "key k3y in é" + "x" * 1000))
    problem = judged(reply, otlp=Otlp(headers={"x-key": "k3y", "x-empty": ""})).problem
    assert problem.startswith("HTTP 200 with a partial success: key \\u2026 in \\xe9xxx")
    assert len(problem) < 300
    assert judged(reply, otlp=Otlp(payloads=True)).problem == "HTTP 200 with a partial success"


@pytest.mark.parametrize(
    ("named", "signal", "expected"),
    [
        ("http://host:4318", "traces", "http://host:4318/v1/traces"),
        ("http://host:4318/", "logs", "http://host:4318/v1/logs"),
        ("https://host/api/public/otel", "traces", "https://host/api/public/otel/v1/traces"),
        ("https://host/otlp/v1/traces", "traces", "https://host/otlp/v1/traces"),
        ("https://host/v1/traces/", "traces", "https://host/v1/traces/"),
        ("https://host/v1/traces/more", "traces", "https://host/v1/traces/more/v1/traces"),
    ],
)
def test_a_path_that_is_for_the_signal_stays_and_any_other_is_a_base(named: str, signal: str, expected: str) -> None:
    assert str(Otlp(signal=signal).address(httpx.URL(named))) == expected


def test_a_path_for_another_signal_is_refused() -> None:
    with pytest.raises(ConfigError, match="url has a path for logs, and is to take traces"):
        Client("http://host/v1/logs", protocol=Otlp())
    assert signal_of("/v1/metrics") == "metrics"
    assert signal_of("/v1/metricsful") is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("signal", "metrics"),
        ("kind", "internal"),
        ("payloads", 1),
        ("headers", "a=b"),
        ("headers", {"a": "b\r\nc: d"}),
        ("compression", "br"),
        ("resource", {"service.name": 7}),
        ("resource", [("service.name", "x")]),
    ],
)
def test_a_wrong_value_is_named(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Otlp(**{field: value})
    assert caught.value.field == field


def test_a_client_wants_a_secret_or_a_protocol_with_headers_of_its_own() -> None:
    with pytest.raises(ConfigError, match="secret"):
        Client("http://host")
    with pytest.raises(ConfigError, match=r"secret is not sent with OTLP"):
        Client("http://host", "secret", protocol=Otlp())
    with pytest.raises(ConfigError, match="protocol must be an Otlp"):
        Client("http://host", protocol="otlp")  # type: ignore[arg-type]
    shown = repr(Otlp(headers={"authorization": "Bearer k3y"}))
    assert "k3y" not in shown
    assert "k3y" not in repr(Client("http://host", protocol=Otlp(headers={"authorization": "Bearer k3y"})))


def test_the_sender_has_a_name_whether_it_is_given_one_or_not() -> None:
    assert Otlp().resource == {"service.name": "trio-oplog"}
    assert Otlp(resource={"service.name": "x", "a": "b"}).resource == {"service.name": "x", "a": "b"}


def test_a_body_is_compressed_alike_every_time_or_not_at_all() -> None:
    record = Record(1, FULL, 0, 0.0)
    record.seal(10**6)
    plain = Otlp(compression=None).body([record], as_batch=False)
    record.form = None
    packed = Otlp().body([record], as_batch=True)
    assert (plain.content_encoding, packed.content_encoding) == (None, "gzip")
    assert gzip.decompress(packed.data) == plain.data
    assert packed.data == Otlp().body([record], as_batch=True).data


def test_the_core_needs_no_package_of_opentelemetry_and_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = sys.modules['google.protobuf'] = sys.modules['prometheus_client'] = None\n"
        "import trio_oplog\n"
        "try:\n    trio_oplog.Otlp()\nexcept trio_oplog.ConfigError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("protocol needs opentelemetry-proto: pip install 'trio-oplog[otlp]'\n", "")


def test_importing_the_core_imports_nothing_of_opentelemetry() -> None:
    program = "import sys, trio_oplog; print([name for name in sys.modules if name.split('.')[0] in ('opentelemetry', 'google')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n"
