"""The variables of OpenTelemetry that the programs read."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_oplog import ConfigError
from trio_oplog._otlp.environment import check_headers, compression, metric_interval, parse_headers, resource_attributes

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)


@given(st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=4), st.sampled_from(["", " ", "\t"]))
def test_a_list_that_was_percent_encoded_comes_back(attributes: dict[str, str], space: str) -> None:
    text = ",".join(
        f"{space}{quote(key, safe='')}{space}={space}{quote(value, safe='')}{space}" for key, value in attributes.items()
    )
    assert resource_attributes({"OTEL_RESOURCE_ATTRIBUTES": text}) == attributes


def test_the_name_of_the_service_goes_before_the_list() -> None:
    environment = {"OTEL_RESOURCE_ATTRIBUTES": "service.name=a,host.name=b", "OTEL_SERVICE_NAME": "c"}
    assert resource_attributes(environment) == {"service.name": "c", "host.name": "b"}
    assert resource_attributes({"OTEL_SERVICE_NAME": ""}) == {}
    assert resource_attributes({}) == {}


@pytest.mark.parametrize("text", ["a=b,c", "=b", "a=%ff", "%ff=a", "a=b,=", " = "])
def test_a_list_that_cannot_be_read_is_dropped_whole_and_logged_without_its_text(text: str, caplog) -> None:
    assert resource_attributes({"OTEL_RESOURCE_ATTRIBUTES": text, "OTEL_SERVICE_NAME": "x"}) == {"service.name": "x"}
    assert "OTEL_RESOURCE_ATTRIBUTES is no list" in caplog.text


def test_empty_entries_of_a_list_are_passed_over_and_the_last_of_two_stands() -> None:
    assert resource_attributes({"OTEL_RESOURCE_ATTRIBUTES": ",a=1, ,a=2=3,"}) == {"a": "2=3"}


def test_headers_are_read_from_the_same_form() -> None:
    assert parse_headers("Authorization=Basic%20YTpi,x-scope-orgid=7") == {"Authorization": "Basic YTpi", "x-scope-orgid": "7"}
    assert parse_headers("") == {}


@pytest.mark.parametrize("text", ["a", "a=%0d%0aX:1", "a%20b=c", "a=%c3%a9", "a=%20b", "a=%ff"])
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_headers(text)
    assert caught.value.field == "headers"
    assert "X:1" not in str(caught.value)


@pytest.mark.parametrize("given_headers", [{1: "a"}, {"a": 1}, {"": "a"}])
def test_headers_of_wrong_types_are_refused(given_headers) -> None:
    with pytest.raises(ConfigError):
        check_headers(given_headers)


def test_bodies_are_compressed_unless_the_environment_says_otherwise() -> None:
    variable = "OTEL_EXPORTER_OTLP_COMPRESSION"
    assert [compression(environment) for environment in ({}, {variable: "gzip"}, {variable: " none "})] == ["gzip", "gzip", None]
    with pytest.raises(ConfigError, match=f"{variable} must be gzip or none"):
        compression({variable: "zstd"})


def test_the_interval_of_metrics_is_in_milliseconds() -> None:
    variable = "OTEL_METRIC_EXPORT_INTERVAL"
    assert metric_interval({}, 60.0) == 60.0
    assert metric_interval({variable: "1500"}, 60.0) == 1.5
    for wrong in ("0", "-1", "1.5", "²", "x"):
        with pytest.raises(ConfigError, match=variable):
            metric_interval({variable: wrong}, 60.0)
