"""Who may come in, and who may do what."""

from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi3.openapi import OpenAPI
from server_story import Browser, Clock

from edgepress_server.api import create_app
from edgepress_server.api.rate_limit import FailureLimit
from edgepress_server.errors import RateLimitedError
from edgepress_server.settings import Settings
from edgepress_server.store import Store
from edgepress_server.store.people import SESSION_MS


def api_rules(app: OpenAPI) -> list[Any]:
    return [rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/api/v1")]


PUBLIC = {
    "/api/v1/health",
    "/api/v1/session",
    "/api/v1/enroll",  # takes a code
    "/api/v1/ca.pem",  # a certificate, which everybody sees who connects
    "/api/v1/renew/challenge",  # a question, which only the device can answer
    "/api/v1/renew",  # takes a proof
    "/api/v1/renew/confirm",  # takes a proof
    "/api/v1/chunks/<digest>",  # takes a ticket
    "/api/v1/openapi.json",
    "/api/v1/broker/<broker>/<question>",  # takes the broker's own secret
    "/api/v1/broker/<broker>/<question>/<secret>",
}


def test_every_address_says_who_may_use_it(app: OpenAPI) -> None:
    for rule in api_rules(app):
        view = app.view_functions[rule.endpoint]
        assert hasattr(view, "required_role"), f"{rule} says no role"
        assert (view.required_role is None) == (rule.rule in PUBLIC), rule


def test_nobody_signed_in_gets_nothing_but_the_public_addresses(app: OpenAPI, anyone: FlaskClient) -> None:
    for rule in api_rules(app):
        if rule.rule in PUBLIC:
            continue
        path = rule.rule.replace("<", "").replace(">", "")
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            answer = anyone.open(path, method=method, json={})
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.json["error"]["code"] == "signed_out"


def test_a_viewer_reads_and_does_not_write(app: OpenAPI, viewer: Browser) -> None:
    writing = 0
    for rule in api_rules(app):
        role = app.view_functions[rule.endpoint].required_role
        if role in (None, "viewer"):
            continue
        path = rule.rule.removeprefix("/api/v1").replace("<", "").replace(">", "")
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            answer = viewer.client.open(f"/api/v1{path}", method=method, json={}, headers=viewer.headers)
            assert answer.status_code == 403 and viewer.refused(answer.json) == "role"
            writing += 1
    assert writing > 10


@pytest.mark.attack("forged request", "no address takes a change from a browser without its CSRF token")
def test_every_address_that_writes_wants_the_csrf_token(app: OpenAPI, admin: Browser) -> None:
    writing = 0
    for rule in api_rules(app):
        if rule.rule in PUBLIC - {"/api/v1/session"}:
            continue
        path = rule.rule.replace("<", "").replace(">", "")
        for method in rule.methods & {"POST", "PUT", "PATCH", "DELETE"}:
            if (method, rule.rule) == ("POST", "/api/v1/session"):
                continue  # signing in is what gives the token
            for headers in ({}, {"X-CSRF-Token": "stale"}):
                answer = admin.client.open(path, method=method, json={}, headers=headers)
                assert answer.status_code == 403 and admin.refused(answer.json) == "csrf", (method, path)
            writing += 1
    assert writing > 20
    admin.get("/session")  # and none of them ended the session


def test_a_session_without_the_csrf_token_cannot_write(operator: Browser) -> None:
    body = {"name": "pi", "profile": "raspberry-pi-4"}
    for headers in ({}, {"X-CSRF-Token": "stale"}, {"X-CSRF-Token": "ä"}):
        answer = operator.client.post("/api/v1/devices", json=body, headers=headers)
        assert answer.status_code == 403 and operator.refused(answer.json) == "csrf"
    assert operator.get("/devices") == []


def test_the_cookie_is_kept_from_scripts_and_other_sites(store: Store, anyone: FlaskClient) -> None:
    store.people.add("ada", "long enough", "viewer")
    answer = anyone.post("/api/v1/session", json={"name": "ada", "password": "long enough"})
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie


def test_signing_out_ends_the_session_for_good(operator: Browser) -> None:
    cookie = operator.client.get_cookie("edgepress_session")
    assert cookie is not None
    operator.delete("/session", status=204)
    operator.client.set_cookie("edgepress_session", cookie.value)
    assert operator.refused(operator.get("/session", status=401)) == "signed_out"


def test_a_session_ends_after_a_week(operator: Browser, clock: Clock) -> None:
    assert operator.get("/session")["person"] == "operator"
    clock.forward(SESSION_MS)
    operator.get("/session", status=401)


def test_a_token_works_without_csrf_until_it_is_revoked(operator: Browser, anyone: FlaskClient) -> None:
    made = operator.post("/tokens", {"name": "laptop"}, status=201)
    headers = {"Authorization": f"Bearer {made['token']}"}
    body = {"name": "pi", "profile": "raspberry-pi-4"}
    assert anyone.post("/api/v1/devices", json=body, headers=headers).status_code == 201
    assert "token" not in operator.get("/tokens")[0]
    operator.delete(f"/tokens/{made['id']}")
    answer = anyone.get("/api/v1/devices", headers=headers)
    assert (answer.status_code, operator.refused(answer.json)) == (401, "bad_token")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer ep_x", "Bearer \xff"])
def test_a_bad_authorization_header_is_401_and_never_more(operator: Browser, header: str) -> None:
    """Even with a good cookie beside it: who sends a token means the token."""
    answer = operator.client.get("/api/v1/devices", headers={"Authorization": header})
    assert answer.status_code == 401


def test_ten_wrong_passwords_make_the_eleventh_wait_even_if_it_is_right(
    store: Store, anyone: FlaskClient
) -> None:
    store.people.add("ada", "long enough", "viewer")
    for _ in range(10):
        assert anyone.post("/api/v1/session", json={"name": "ada", "password": "no"}).status_code == 401
    answer = anyone.post("/api/v1/session", json={"name": "ada", "password": "long enough"})
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0


def test_behind_a_proxy_each_client_is_held_up_for_itself(store: Store) -> None:
    settings = Settings(data_dir=store.data_dir, public_url="https://edge.example.org")
    client = create_app(settings, store).test_client()

    def status(address: str, name: str = "ada") -> int:
        body = {"name": name, "password": "no"}
        return client.post("/api/v1/session", json=body, headers={"X-Forwarded-For": address}).status_code

    assert [status("192.0.2.1") for _ in range(11)][-2:] == [401, 429]
    assert status("192.0.2.2") == 401


def test_without_a_proxy_nobody_chooses_his_own_address(anyone: FlaskClient) -> None:
    body = {"name": "ada", "password": "no"}
    answers = [
        anyone.post("/api/v1/session", json=body, headers={"X-Forwarded-For": f"192.0.2.{n}"}).status_code
        for n in range(11)
    ]
    assert answers[-1] == 429


def test_failures_are_forgotten_after_the_window_and_on_success() -> None:
    now = [0.0]
    limit = FailureLimit(2, 60.0, lambda: now[0])
    limit.failed("a")
    limit.failed("a")
    with pytest.raises(RateLimitedError) as caught:
        limit.check("a")
    assert caught.value.retry_after_s == 60
    limit.check("b")
    now[0] = 60.0
    limit.check("a")
    limit.failed("a")
    limit.succeeded("a")
    limit.failed("a")
    limit.check("a")


def test_failures_of_a_million_sources_take_bounded_memory() -> None:
    limit = FailureLimit(2, 60.0)
    for number in range(20_000):
        limit.failed(str(number))
    assert len(limit._times) <= 10_000


def test_nothing_is_loaded_from_foreign_hosts(anyone: FlaskClient) -> None:
    for path in ("/", "/devices/pi", "/api/docs", "/api/v1/health", "/api/v1/nothing"):
        with anyone.get(path) as answer:
            policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
        assert "http" not in policy and "unsafe-eval" not in policy and "script-src 'self';" in policy
