"""Whatever goes wrong, the answer is one sentence in JSON and never a stack trace."""

import io
import logging
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi3.openapi import OpenAPI
from gunicorn.http.errors import InvalidChunkSize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_story import Browser

from edgepress_server.store import Store


def test_an_unknown_address_is_json(anyone: FlaskClient) -> None:
    answer = anyone.get("/api/v1/nothing")
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "not_found")


def test_a_wrong_method_is_json(anyone: FlaskClient) -> None:
    assert anyone.put("/api/v1/health").json["error"]["code"] == "method_not_allowed"


def test_an_unforeseen_fault_is_logged_under_the_id_it_answers_with(
    operator: Browser, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any) -> None:
        raise ZeroDivisionError("a secret detail")

    monkeypatch.setattr(store.models, "list", broken)
    with caplog.at_level(logging.ERROR):
        answer = operator.get("/models", status=500)
    assert operator.refused(answer) == "internal"
    assert "secret" not in str(answer)
    number = answer["error"]["message"].split("under ")[1][:8]
    assert number in caplog.text and "ZeroDivisionError: a secret detail" in caplog.text


def test_a_body_that_is_too_large_is_refused_unread(operator: Browser) -> None:
    body = b'"' + b"x" * (2 << 20) + b'"'
    headers = {**operator.headers, "Content-Type": "application/json"}
    answer = operator.client.post("/api/v1/devices", data=body, headers=headers)
    assert (answer.status_code, operator.refused(answer.json)) == (413, "too_large")


def test_a_body_that_is_no_json_is_told_as_such(operator: Browser) -> None:
    answer = operator.client.post("/api/v1/devices", data=b"name=pi", headers=operator.headers)
    assert (answer.status_code, operator.refused(answer.json)) == (415, "media_type")
    headers = {**operator.headers, "Content-Type": "application/json"}
    answer = operator.client.post("/api/v1/devices", data=b"{name", headers=headers)
    assert (answer.status_code, operator.refused(answer.json)) == (400, "invalid_json")


def test_json_nested_without_end_is_unreadable_and_no_fault(operator: Browser) -> None:
    headers = {**operator.headers, "Content-Type": "application/json"}
    answer = operator.client.post("/api/v1/devices", data=b"[" * 200_000, headers=headers)
    assert (answer.status_code, operator.refused(answer.json)) == (400, "invalid_json")


class BrokenChunks(io.BytesIO):
    """What gunicorn hands over for a chunked body whose chunk size is no number."""

    def read(self, _size: int | None = -1) -> bytes:
        raise InvalidChunkSize(b"ZZ")

    def readinto(self, _buffer: Any) -> int:
        raise InvalidChunkSize(b"ZZ")


@pytest.mark.parametrize(
    ("path", "code"), [("/models?name=m", "upload_broke_off"), ("/devices", "bad_request")]
)
def test_a_body_of_broken_chunks_is_told_as_such(operator: Browser, path: str, code: str) -> None:
    answer = operator.client.post(
        f"/api/v1{path}",
        input_stream=BrokenChunks(b"{}"),
        headers={**operator.headers, "Content-Type": "application/json"},
    )
    assert (answer.status_code, operator.refused(answer.json)) == (400, code)


def test_findings_name_the_field(operator: Browser) -> None:
    answer = operator.post("/devices", {"nam": "pi", "profile": 3}, status=400)
    message = answer["error"]["message"]
    assert "name: field required" in message and "nam: extra inputs" in message and "profile:" in message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
FIELDS = [
    "name",
    "profile",
    "labels",
    "model",
    "recipe",
    "profiles",
    "devices",
    "release",
    "policy",
    "artifacts",
]
bodies = st.dictionaries(st.sampled_from([*FIELDS, "code", "public_key", "path", "options"]), json_values)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.one_of(bodies, json_values), raw=st.none() | st.binary(max_size=50))
def test_no_body_whatever_makes_a_500(app: OpenAPI, operator: Browser, body: Any, raw: bytes | None) -> None:
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith("/api/v1") or rule.rule == "/api/v1/session":
            continue
        path = rule.rule.replace("<", "").replace(">", "")
        for method in {"POST", "PATCH"} & (rule.methods or set()):
            sent = {"json": body} if raw is None else {"data": raw, "content_type": "application/json"}
            answer = operator.client.open(path, method=method, headers=operator.headers, **sent)
            assert answer.status_code < 500, (method, path, answer.text)
            if answer.status_code >= 400:
                assert set(answer.json["error"]) == {"code", "message"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(
        ["/telemetry/series", "/telemetry/export", "/events", "/jobs", "/artifacts", "/models"]
    ),
    query=st.dictionaries(
        st.sampled_from(["device", "metric", "from", "to", "step_ms", "format", "limit", "model", "name"]),
        st.text(max_size=20) | st.integers(-(2**70), 2**70).map(str),
    ),
)
def test_no_query_whatever_makes_a_500(operator: Browser, path: str, query: dict[str, str]) -> None:
    answer = operator.client.get(f"/api/v1{path}", query_string=query)
    assert answer.status_code < 500, (path, query, answer.text)


@pytest.mark.parametrize(
    "path",
    ["/artifacts/..%2f..%2fedgepress.db/file", "/artifacts/%00", "/../edgepress.db", "/profiles/..%2fx.toml"],
)
def test_no_path_leads_out(operator: Browser, path: str) -> None:
    answer = operator.client.get(f"/api/v1{path}")
    assert answer.status_code in (400, 404)
