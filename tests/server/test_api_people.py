"""People, their roles and passwords, and what tokens may do."""

import pytest
from flask.testing import FlaskClient
from flask_openapi3.openapi import OpenAPI
from server_story import Browser, Clock

from edgepress_server.api.request_limit import RequestLimit
from edgepress_server.errors import RateLimitedError


def bearer(made: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {made['token']}"}


def test_an_admin_adds_somebody_who_then_signs_in(app: OpenAPI, admin: Browser, operator: Browser) -> None:
    made = admin.post("/people", {"name": "ada", "role": "viewer"}, status=201)
    ada = Browser(app.test_client(), "ada", made["password"])
    assert ada.get("/session")["role"] == "viewer"
    assert [person["name"] for person in admin.get("/people")] == ["ada", "admin", "operator"]
    operator.get("/people", status=403)
    chosen = admin.post("/people", {"name": "bob", "password": "long enough"}, status=201)
    assert chosen["password"] is None and chosen["role"] == "viewer"
    assert admin.refused(admin.post("/people", {"name": "bob"}, status=409)) == "person_exists"


def test_a_role_changes_at_once_for_sessions_and_tokens(
    app: OpenAPI, admin: Browser, operator: Browser, anyone: FlaskClient
) -> None:
    token = operator.post("/tokens", {"name": "ci"}, status=201)
    admin.patch("/people/operator", {"role": "viewer"})
    device = {"name": "pi", "profile": "raspberry-pi-4"}
    assert operator.refused(operator.post("/devices", device, status=403)) == "role"
    assert anyone.post("/api/v1/devices", json=device, headers=bearer(token)).status_code == 403
    assert anyone.get("/api/v1/devices", headers=bearer(token)).status_code == 200


def test_the_last_admin_stays(admin: Browser) -> None:
    assert admin.refused(admin.patch("/people/admin", {"role": "viewer"}, status=409)) == "last_admin"
    assert admin.refused(admin.delete("/people/admin", status=409)) == "last_admin"
    admin.post("/people", {"name": "ada", "role": "admin"}, status=201)
    admin.delete("/people/admin", status=204)
    assert admin.refused(admin.get("/people", status=401)) == "signed_out"


def test_who_is_removed_is_out_everywhere(admin: Browser, operator: Browser, anyone: FlaskClient) -> None:
    token = operator.post("/tokens", {"name": "ci"}, status=201)
    admin.delete("/people/operator", status=204)
    operator.get("/devices", status=401)
    assert anyone.get("/api/v1/devices", headers=bearer(token)).status_code == 401
    assert admin.refused(admin.delete("/people/operator", status=404)) == "person_unknown"


def test_a_reset_password_ends_the_sessions(app: OpenAPI, admin: Browser, operator: Browser) -> None:
    answer = admin.client.put("/api/v1/people/operator/password", json={}, headers=admin.headers)
    assert answer.status_code == 200
    operator.get("/devices", status=401)
    Browser(app.test_client(), "operator", answer.json["password"])


def test_ones_own_password_needs_the_current_one(
    app: OpenAPI, operator: Browser, anyone: FlaskClient
) -> None:
    def change(body: dict[str, str]) -> tuple[int, dict[str, str]]:
        answer = operator.client.put("/api/v1/session/password", json=body, headers=operator.headers)
        return answer.status_code, answer.json

    assert change({"current": "wrong", "new": "a new password"})[0] == 400
    assert change({"current": "password of operator", "new": "short"})[0] == 400
    elsewhere = Browser(app.test_client(), "operator", "password of operator")
    status, session = change({"current": "password of operator", "new": "a new password"})
    assert status == 200
    operator.headers = {"X-CSRF-Token": session["csrf"]}
    made = operator.post("/tokens", {"name": "ci"}, status=201)  # this browser goes on
    elsewhere.get("/devices", status=401)
    body = {"current": "a new password", "new": "another password"}
    refused = anyone.put("/api/v1/session/password", json=body, headers=bearer(made))
    assert refused.status_code == 403 and refused.json["error"]["code"] == "session_needed"


def test_a_limited_token_does_less_and_makes_none(
    operator: Browser, admin: Browser, anyone: FlaskClient, clock: Clock
) -> None:
    assert (
        operator.refused(operator.post("/tokens", {"name": "x", "role": "admin"}, status=400)) == "token_role"
    )
    looks = operator.post("/tokens", {"name": "looks", "role": "viewer"}, status=201)
    short = operator.post("/tokens", {"name": "short", "expires_in_s": 3600}, status=201)
    device = {"name": "pi", "profile": "raspberry-pi-4"}
    assert anyone.post("/api/v1/devices", json=device, headers=bearer(looks)).status_code == 403
    assert anyone.post("/api/v1/devices", json=device, headers=bearer(short)).status_code == 201
    for token in (looks, short):
        answer = anyone.post("/api/v1/tokens", json={"name": "more"}, headers=bearer(token))
        assert answer.json["error"]["code"] == "token_limited"
    clock.forward(3600_000)
    assert anyone.get("/api/v1/devices", headers=bearer(short)).status_code == 401
    assert anyone.get("/api/v1/devices", headers=bearer(looks)).status_code == 200
    assert {t["name"]: t["role"] for t in admin.get("/tokens")} == {"looks": "viewer", "short": None}


def test_a_bucket_runs_dry_and_fills_again() -> None:
    now = [0.0]
    limit = RequestLimit(60, 3, lambda: now[0])
    for _ in range(3):
        limit.count("ada")
    with pytest.raises(RateLimitedError) as refused:
        limit.count("ada")
    assert refused.value.retry_after_s == 1
    limit.count("bob")  # has a bucket of their own
    now[0] += 1.0
    limit.count("ada")
    with pytest.raises(RateLimitedError):
        limit.count("ada")


@pytest.mark.attack(
    "endless requests", "a person who asks without end is told when to come back; others go on"
)
def test_one_script_does_not_starve_the_others(app: OpenAPI, operator: Browser, admin: Browser) -> None:
    app.extensions["edgepress"].request_limits.writes = RequestLimit(60, 2)
    for name in ("a", "b"):
        operator.post("/tokens", {"name": name}, status=201)
    answer = operator.client.post("/api/v1/tokens", json={"name": "c"}, headers=operator.headers)
    assert answer.status_code == 429 and int(answer.headers["Retry-After"]) >= 1
    assert operator.refused(answer.json) == "too_many_requests"
    operator.get("/tokens")  # looking has another limit
    admin.post("/tokens", {"name": "d"}, status=201)
