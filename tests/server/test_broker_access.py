"""Who reaches what, and the answers to each broker's questions in the shapes of its documentation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient
from flask_openapi3.openapi import OpenAPI
from hypothesis import given
from hypothesis import strategies as st

from edgepress_devices.protocol import Hardware
from edgepress_server.api.app import create_app
from edgepress_server.broker.access import covers, may, may_use_client_id
from edgepress_server.broker.hook_secret import hook_secret
from edgepress_server.settings import Settings
from edgepress_server.store import Store

CHUNK = f"ep/1/c/{'ab' * 32}/7"
SERVER = "the-link"

ALLOWED = [
    ("its state", "pi", "publish", "ep/1/d/pi/up/state"),
    ("its telemetry", "pi", "publish", "ep/1/d/pi/up/telemetry"),
    ("what it misses", "pi", "publish", "ep/1/d/pi/up/need"),
    ("its want", "pi", "subscribe", "ep/1/d/pi/down/want"),
    ("everything for it", "pi", "subscribe", "ep/1/d/pi/down/#"),
    ("a chunk", "pi", "subscribe", CHUNK),
    ("the server's state", "pi", "subscribe", "ep/1/server/state"),
    ("a root", "pi", "subscribe", "ep/1/server/root/2"),
    ("the server, to all", SERVER, "publish", CHUNK),
    ("the server, from all", SERVER, "subscribe", "ep/1/d/+/up/#"),
]
REFUSED = [
    ("another device's state", "pi", "publish", "ep/1/d/pc/up/state"),
    ("a device whose name begins alike", "pi", "publish", "ep/1/d/pi-2/up/state"),
    ("a want, forged", "pi", "publish", "ep/1/d/pi/down/want"),
    ("a leaf nobody knows", "pi", "publish", "ep/1/d/pi/up/else"),
    ("a chunk, forged", "pi", "publish", CHUNK),
    ("the server's state, forged", "pi", "publish", "ep/1/server/state"),
    ("a wildcard to publish on", "pi", "publish", "ep/1/d/pi/up/+"),
    ("another device's want", "pi", "subscribe", "ep/1/d/pc/down/want"),
    ("every device's want", "pi", "subscribe", "ep/1/d/+/down/want"),
    ("everything", "pi", "subscribe", "#"),
    ("everything of ours", "pi", "subscribe", "ep/1/#"),
    ("all chunks at once", "pi", "subscribe", "ep/1/c/#"),
    ("its own reports", "pi", "subscribe", "ep/1/d/pi/up/state"),
    ("the broker's own", "pi", "subscribe", "$SYS/#"),
    ("the broker's control", "pi", "publish", "$CONTROL/dynamic-security/v1"),
    ("the broker's control, the server", SERVER, "publish", "$CONTROL/dynamic-security/v1"),
    ("a shared subscription", "pi", "subscribe", "$share/g/ep/1/d/pi/down/want"),
    ("beyond ours, the server", SERVER, "subscribe", "#"),
    ("nobody", "", "publish", "ep/1/d//up/state"),
    ("a name with a wildcard", "+", "subscribe", "ep/1/d/+/down/want"),
    ("no filter at all", "pi", "subscribe", "ep/1/d/pi/down/a#"),
    ("nothing", "pi", "publish", ""),
    ("too long", "pi", "subscribe", "ep/1/d/pi/down/" + "x" * 1000),
]


@pytest.mark.parametrize(("what", "user", "action", "topic"), ALLOWED, ids=[row[0] for row in ALLOWED])
def test_what_is_allowed(what: str, user: str, action: Any, topic: str) -> None:
    assert may(user, action, topic, server_user=SERVER), what


@pytest.mark.attack("another device's topics", "refused by the rules that every asking broker gets")
@pytest.mark.parametrize(("what", "user", "action", "topic"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_refused(what: str, user: str, action: Any, topic: str) -> None:
    assert not may(user, action, topic, server_user=SERVER), what


def test_without_a_server_user_nobody_is_the_server() -> None:
    assert not may("edgepress_server", "publish", CHUNK, server_user=None)


LEVEL = st.sampled_from(["a", "b", "+", "#", ""])


def matches(rule: list[str], topic: list[str]) -> bool:
    """MQTT 5.0, 4.7.1, for topics without wildcards."""
    if not rule:
        return not topic
    if rule[0] == "#":
        return True
    return bool(topic) and rule[0] in ("+", topic[0]) and matches(rule[1:], topic[1:])


@given(st.lists(LEVEL, min_size=1, max_size=4), st.lists(LEVEL, min_size=1, max_size=4))
def test_who_may_ask_for_a_filter_may_see_all_that_it_brings(rule: list[str], asked: list[str]) -> None:
    for levels in (rule, asked):
        if "#" in levels[:-1]:
            return
    if covers("/".join(rule), "/".join(asked)):
        for fill in ("a", "zzz"):
            topic = [fill if level == "+" else level for level in asked if level != "#"]
            for more in ([], ["a"], ["x", "y"]) if asked[-1] == "#" else ([],):
                assert matches(rule, topic + more) or (not (topic + more))


def test_nobody_connects_as_another_devices_agent() -> None:
    assert may_use_client_id("pi", "edgepress-pi")
    assert may_use_client_id("pi", "my-own-tool")
    assert not may_use_client_id("pi", "edgepress-pc")


# --- the questions of each broker -----------------------------------------------------------------------


@pytest.fixture
def app(store: Store) -> OpenAPI:
    settings = Settings(
        data_dir=store.data_dir,
        broker="external",
        mqtt_username=SERVER,
        mqtt_password="the link's own",
    )
    return create_app(settings, store)


@pytest.fixture
def password(store: Store) -> str:
    """Of the device pi."""
    store.devices.register("pi", "x86-pc", {}, actor=None)
    code, _ = store.devices.new_code("pi", actor=None)
    secret = store.devices.enrol(code, "A" * 43 + "=", Hardware(), "0.1.0").mqtt_secret
    assert secret is not None
    return secret


class Broker:
    """Asks as one broker does."""

    def __init__(self, app: OpenAPI, name: str) -> None:
        self.client: FlaskClient = app.test_client()
        self.name = name
        self.secret = hook_secret(app.extensions["edgepress"].settings)

    def json(self, question: str, body: dict[str, Any], **headers: str) -> Any:
        answer = self.client.post(
            f"/api/v1/broker/{self.name}/{question}",
            json=body,
            headers={"X-Edgepress-Hook": self.secret, **headers},
        )
        assert answer.status_code == 200, answer.text
        assert answer.mimetype == "application/json"
        return answer.json

    def form(self, question: str, body: dict[str, str]) -> tuple[int, str]:
        """With the secret in the address: these brokers send no headers of ours."""
        answer = self.client.post(
            f"/api/v1/broker/{self.name}/{question}/{self.secret}",
            data=urlencode(body),
            content_type="application/x-www-form-urlencoded",
        )
        return answer.status_code, answer.text


def test_emqx_connects_devices_and_the_server(app: OpenAPI, password: str) -> None:
    """EMQX documentation, access-control/authn/http: 200 with result and is_superuser."""
    emqx = Broker(app, "emqx")

    def connect(username: str, password: str, clientid: str = "x") -> Any:
        return emqx.json("connect", {"username": username, "password": password, "clientid": clientid})

    good = {"result": "allow", "is_superuser": False}
    bad = {"result": "deny", "is_superuser": False}
    assert connect("pi", password) == good
    assert connect(SERVER, "the link's own") == good
    assert connect("pi", "guessed") == bad
    assert connect("pi", "") == bad
    assert connect("unknown", password) == bad
    assert connect("pi", password, "edgepress-pc") == bad
    assert emqx.json("connect", {"username": None, "password": None, "clientid": "x"}) == bad


def test_emqx_asks_for_each_topic(app: OpenAPI, password: str) -> None:
    """EMQX documentation, access-control/authz/http: action is publish or subscribe."""
    emqx = Broker(app, "emqx")

    def access(action: str, topic: str) -> Any:
        return emqx.json("access", {"username": "pi", "action": action, "topic": topic})

    assert access("publish", "ep/1/d/pi/up/state") == {"result": "allow"}
    assert access("subscribe", "ep/1/d/pi/down/want") == {"result": "allow"}
    assert access("subscribe", "ep/1/d/pc/down/want") == {"result": "deny"}
    assert access("all", "ep/1/d/pi/up/state") == {"result": "deny"}


@pytest.mark.parametrize("m5", ["", "_m5"])
def test_vernemq_tells_the_hook_in_a_header(app: OpenAPI, password: str, m5: str) -> None:
    """VerneMQ documentation, webhooks: 200 always; refused topics come back with qos 128, in MQTT 5 135."""
    vernemq = Broker(app, "vernemq")
    denied = {"result": {"error": "not_allowed"}}

    def ask(hook: str, **body: Any) -> Any:
        common = {"username": "pi", "client_id": "x", "mountpoint": ""}
        return vernemq.json("hook", common | body, **{"vernemq-hook": hook + m5})

    assert ask("auth_on_register", password=password, peer_addr="127.0.0.1", peer_port=8888) == {
        "result": "ok"
    }
    assert ask("auth_on_register", password="guessed") == denied
    publish = {"qos": 1, "payload": "aGVsbG8=", "retain": False}
    assert ask("auth_on_publish", topic="ep/1/d/pi/up/state", **publish) == {"result": "ok"}
    assert ask("auth_on_publish", topic="ep/1/d/pc/up/state", **publish) == denied
    mine, other = {"topic": "ep/1/d/pi/down/want", "qos": 1}, {"topic": "ep/1/d/pc/down/want", "qos": 1}
    assert ask("auth_on_subscribe", topics=[mine]) == {"result": "ok"}
    both = ask("auth_on_subscribe", topics=[mine, other])
    granted = both["modifiers"]["topics"] if m5 else both["topics"]
    assert both["result"] == "ok"
    assert granted == [mine, other | {"qos": 135 if m5 else 128}]


def test_rabbitmq_asks_for_user_vhost_resource_and_topic(app: OpenAPI, password: str) -> None:
    """README of rabbitmq_auth_backend_http: 200 with allow or deny; MQTT topics have dots there."""
    rabbitmq = Broker(app, "rabbitmq")

    def ask(question: str, **body: str) -> str:
        status, text = rabbitmq.form(question, {"username": "pi", "vhost": "/", **body})
        assert status == 200
        return text

    assert ask("user", password=password) == "allow"
    assert ask("user", password="guessed") == "deny"
    assert ask("vhost", ip="127.0.0.1") == "allow"
    assert ask("vhost", vhost="other") == "deny"
    exchange = {"resource": "exchange", "name": "amq.topic"}
    assert ask("resource", **exchange, permission="write") == "allow"
    assert ask("resource", **exchange, permission="configure") == "deny"
    queue = {"resource": "queue", "permission": "configure"}
    assert ask("resource", **queue, name="mqtt-subscription-edgepress-piqos1") == "allow"
    assert ask("resource", **queue, name="mqtt-subscription-edgepress-pi-2qos1") == "deny"
    assert ask("resource", **queue, name="orders") == "deny"
    topic = {"resource": "topic", "name": "amq.topic"}
    assert ask("topic", **topic, permission="write", routing_key="ep.1.d.pi.up.state") == "allow"
    assert ask("topic", **topic, permission="read", routing_key="ep.1.d.pi.down.#") == "allow"
    assert ask("topic", **topic, permission="read", routing_key="ep.1.d.*.down.want") == "deny"
    assert ask("topic", **topic, permission="write", routing_key="ep.1.d.pc.up.state") == "deny"


def test_nanomq_looks_at_the_status_alone(app: OpenAPI, password: str) -> None:
    """NanoMQ documentation, access-control/http: access 1 subscribes, 2 publishes."""
    nanomq = Broker(app, "nanomq")
    who = {"clientid": "x", "username": "pi"}
    assert nanomq.form("connect", who | {"password": password})[0] == 200
    assert nanomq.form("connect", who | {"password": "guessed"})[0] == 403
    assert nanomq.form("superuser", who)[0] == 403
    assert nanomq.form("access", who | {"access": "2", "topic": "ep/1/d/pi/up/state"})[0] == 200
    assert nanomq.form("access", who | {"access": "1", "topic": "ep/1/d/pi/up/state"})[0] == 403
    assert nanomq.form("access", who | {"access": "3", "topic": "ep/1/d/pi/up/state"})[0] == 403


def test_who_is_revoked_may_do_nothing_any_more(app: OpenAPI, store: Store, password: str) -> None:
    emqx = Broker(app, "emqx")
    store.devices.revoke("pi", actor=None)
    body = {"username": "pi", "password": password, "clientid": "x"}
    assert emqx.json("connect", body)["result"] == "deny"
    body = {"username": "pi", "action": "publish", "topic": "ep/1/d/pi/up/state"}
    assert emqx.json("access", body)["result"] == "deny"


@pytest.mark.parametrize("secret", ["", "guessed", "ü"])
def test_without_the_secret_nothing_is_answered(app: OpenAPI, password: str, secret: str) -> None:
    client = app.test_client()
    body = {"username": "pi", "password": password, "clientid": "x"}
    header = {"X-Edgepress-Hook": secret.encode().decode("latin-1")}
    assert client.post("/api/v1/broker/emqx/connect", json=body, headers=header).status_code == 401
    if secret:
        assert client.post(f"/api/v1/broker/emqx/connect/{secret}", json=body).status_code == 401


BROKEN: list[tuple[str, str, bytes]] = [
    ("emqx", "connect", b"{"),
    ("emqx", "connect", b"[1, 2]"),
    ("emqx", "connect", b"[" * 50_000),
    ("emqx", "connect", b"\xff\xfe"),
    ("vernemq", "hook", b'{"topics": 3}'),
    ("rabbitmq", "user", b"&" + b"a=1&" * 1000),
    ("rabbitmq", "user", b"\xff=\xff"),
    ("nanomq", "access", b""),
]


@pytest.mark.parametrize(("broker", "question", "body"), BROKEN)
def test_what_cannot_be_read_allows_nothing(app: OpenAPI, broker: str, question: str, body: bytes) -> None:
    secret = Broker(app, broker).secret
    answer = app.test_client().post(
        f"/api/v1/broker/{broker}/{question}",
        data=body,
        headers={"X-Edgepress-Hook": secret, "vernemq-hook": "auth_on_subscribe"},
    )
    assert answer.status_code in (200, 400, 403)
    assert '"allow"' not in answer.text and answer.text != "allow" and '"ok"' not in answer.text
    assert answer.status_code != 200 or answer.text == "deny" or "deny" in answer.text


def test_refusals_are_told_in_the_audit_log_once_a_minute(
    app: OpenAPI, store: Store, password: str, clock: Callable[[], int]
) -> None:
    emqx = Broker(app, "emqx")
    before = store.audit.head().number
    for n in range(50):
        emqx.json("connect", {"username": "greedy", "password": str(n), "clientid": "x"})
    assert store.audit.head().number == before + 1


def test_an_answer_takes_a_few_milliseconds(app: OpenAPI, password: str) -> None:
    emqx = Broker(app, "emqx")
    body = {"username": "pi", "action": "publish", "topic": "ep/1/d/pi/up/state"}
    emqx.json("access", body)
    took = []
    for _ in range(50):
        started = time.perf_counter()
        emqx.json("access", body)
        took.append(time.perf_counter() - started)
    assert sorted(took)[25] < 0.02, "5 ms here; a busy machine gets four times that"
    assert json.dumps(body)
