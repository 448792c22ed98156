"""Channels against real receivers on loopback: a web server, a mail server; and what they may never reach."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from alert_receivers import MailServer, url_of, web_receiver
from alert_story import Watched
from server_story import Clock

from edgepress_server.alerts import bounded
from edgepress_server.alerts.channels import mail, webhook
from edgepress_server.alerts.channels.bodies import body, headline
from edgepress_server.alerts.channels.delivery import DeliveryError
from edgepress_server.alerts.fleet import FleetReader
from edgepress_server.alerts.notices import GROUP_WAIT_MS, RATE_CRITICAL, RATE_MOST, RATE_MS
from edgepress_server.alerts.sender import Sender, trial_notice, try_channel
from edgepress_server.alerts.tell import Teller
from edgepress_server.errors import InvalidInputError
from edgepress_server.settings import Settings
from edgepress_server.store import Store
from edgepress_server.store.alert_channels import ATTEMPTS_MAX, Channel, back_off_ms

NOTICE: dict[str, Any] = {
    "id": "a1-1-ops", "what": "fired", "alert": "a1", "rule": "hot", "title": "Hot", "severity": "critical",
    "state": "firing", "sentence": "3 devices of profile <b>: temperature 91 °C & more", "scope": {},
    "subjects": 3, "devices": ["pi-1", "pi-2"], "value": 91.0, "model": "digits", "profile": "pi",
    "artifact": None,
    "rollout": None, "opened_at": 1_800_000_000_000, "resolved_at": None, "url": "https://edge.example.org/alerts/a1",
    "runbook": "https://edge.example.org/runbooks/hot",
}  # fmt: skip


@pytest.fixture
def receiver() -> Iterator[Any]:
    with web_receiver() as server:
        yield server


def options(receiver: Any, **more: Any) -> dict[str, Any]:
    return {"url": url_of(receiver), "template": "edgepress", "allow_private": True, **more}


def test_a_webhook_is_signed_so_that_its_receiver_can_tell(receiver: Any) -> None:
    assert webhook.send(options(receiver), "the secret", NOTICE) == "200 OK: thank you"
    ((headers, sent),) = receiver.seen
    assert json.loads(sent) == NOTICE
    assert headers["Edgepress-Delivery"] == "a1-1-ops"
    assert headers["Host"] == urlsplit(url_of(receiver)).netloc
    stamp = int(headers["Edgepress-Signature"].partition(",")[0].removeprefix("t="))
    assert headers["Edgepress-Signature"] == webhook.signature("the secret", stamp, sent)
    assert webhook.signature("another", stamp, sent) != headers["Edgepress-Signature"]


def test_without_a_secret_nothing_pretends_to_be_signed(receiver: Any) -> None:
    webhook.send(options(receiver), None, NOTICE)
    assert "Edgepress-Signature" not in receiver.seen[0][0]


@pytest.mark.parametrize(
    ("answer", "said", "for_good"),
    [
        ((500, {}, b"later"), "it answered 500", False),
        ((429, {}, b"slower"), "it answered 429", False),
        ((404, {}, b"nobody"), "it answered 404", True),
        ((302, {"Location": "http://127.0.0.1:1/elsewhere"}, b""), "redirects are not followed", False),
    ],
)
def test_what_a_receiver_refuses_is_said(
    receiver: Any, answer: tuple[int, dict[str, str], bytes], said: str, for_good: bool
) -> None:
    receiver.answer = answer
    with pytest.raises(DeliveryError, match=said) as raised:
        webhook.send(options(receiver), None, NOTICE)
    assert raised.value.for_good == for_good and len(receiver.seen) == 1


@pytest.mark.attack("alert webhook into the network", "an endless answer is read to 8 KB")
def test_an_endless_answer_is_not_read_to_its_end(receiver: Any) -> None:
    receiver.answer = (200, {}, b"x" * 50_000_000)
    assert len(webhook.send(options(receiver), None, NOTICE)) < 400


@pytest.mark.attack("alert webhook into the network", "loopback, private and mapped addresses are refused")
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "0.0.0.0", "10.0.0.8", "172.16.5.4", "192.168.1.1", "169.254.169.254",
        "100.64.0.1",
        "[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:7f00:1::]", "localhost", "2130706433", "224.0.0.1", "255.255.255.255",
    ],
)  # fmt: skip
def test_a_webhook_reaches_nothing_within(host: str) -> None:
    with pytest.raises(DeliveryError, match=r"private network|no host"):
        webhook.send({"url": f"http://{host}:1/", "allow_private": False}, None, NOTICE)


@pytest.mark.attack(
    "alert webhook into the network", "a name that leads elsewhere after the check changes nothing"
)
def test_the_address_that_was_checked_is_the_one_that_is_used(
    receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the second look-up would lead to the receiver on loopback."""
    looked_up: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: str, port: Any, *args: Any, **more: Any) -> Any:
        looked_up.append(host)
        if host == "rebind.example.org":
            address = "192.0.2.1" if looked_up.count(host) > 1 else "127.0.0.1"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]
        return real(host, port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    port = receiver.server_address[1]
    webhook.send({"url": f"http://rebind.example.org:{port}/", "allow_private": True}, None, NOTICE)
    assert looked_up.count("rebind.example.org") == 1
    assert receiver.seen[0][0]["Host"] == f"rebind.example.org:{port}"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/",
        "http://",
        "javascript:x",
        "http://a:0/",
        "https://u:p@a/",
        "http://a:x/",
        "https://例え.jp/",
    ],
)
def test_what_is_no_address_is_refused_at_the_door(url: str) -> None:
    with pytest.raises(InvalidInputError):
        webhook.check_url(url)


def test_names_that_no_resolver_takes_are_refusals_and_no_crash() -> None:
    """Whatever else is raised ends the thread that sends, and the worker with it."""
    kept = {
        "url": "http://例え.jp/",
        "template": "edgepress",
        "allow_private": True,
    }  # of before it was refused
    with pytest.raises(DeliveryError, match="ASCII"):
        webhook.send(kept, None, NOTICE)
    with pytest.raises(DeliveryError, match="no name of a mail server"):
        mail.send({"to": ["a@b.org"], "host": "mail..example.org"}, None, NOTICE)


def test_slack_and_teams_get_what_they_take() -> None:
    slack = json.loads(body("slack", NOTICE))
    assert slack["text"] == headline(NOTICE) == "critical: Hot fires"
    assert (
        "&lt;b&gt;" in slack["attachments"][0]["text"] and "<https://edge" in slack["attachments"][0]["text"]
    )
    card = json.loads(body("teams", NOTICE))["attachments"][0]
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert card["content"]["body"][1]["text"] == NOTICE["sentence"]
    over = json.loads(body("slack", {**NOTICE, "what": "resolved", "state": "resolved"}))
    assert over["text"] == "critical: Hot is over" and over["attachments"][0]["color"] == "#1e8449"


# --- mail -------------------------------------------------------------------------------------------------


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    made = MailServer()
    yield made
    made.close()


def test_a_mail_says_what_is_wrong_since_when_and_what_to_do(mail_server: MailServer) -> None:
    chosen = {"to": ["ops@example.org", "ada@example.org"], "host": "127.0.0.1", "port": mail_server.port,
              "security": "none", "from": "edge@example.org"}  # fmt: skip
    assert mail.send(chosen, None, NOTICE) == "taken for 2 recipients"
    ((to, message),) = mail_server.mails
    assert to == ["ops@example.org", "ada@example.org"]
    assert message["Subject"] == "[edgepress] critical: Hot fires"
    text = message.get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert "91 °C" in text and "2027-01-15 08:00 UTC" in text and "pi-1, pi-2 and 1 more" in text
    assert NOTICE["runbook"] in text and message["Message-ID"] == "<a1-1-ops@example.org>"


def test_the_environment_names_the_mail_server_and_its_password_goes_nowhere_else(
    mail_server: MailServer,
) -> None:
    environment = {"EDGEPRESS_SMTP_HOST": "127.0.0.1", "EDGEPRESS_SMTP_PORT": str(mail_server.port),
                   "EDGEPRESS_SMTP_SECURITY": "none", "EDGEPRESS_SMTP_FROM": "edge@example.org"}  # fmt: skip
    mail.send({"to": ["a@b.org"]}, None, NOTICE, environment)
    assert mail_server.mails[0][1]["From"] == "edge@example.org"
    secret = {**environment, "EDGEPRESS_SMTP_USERNAME": "u", "EDGEPRESS_SMTP_PASSWORD": "hidden"}
    own = {"to": ["a@b.org"], "host": "127.0.0.1", "port": mail_server.port, "security": "none"}
    mail.send(own, None, NOTICE, secret)  # it would refuse a log-in: it was not tried
    with pytest.raises(DeliveryError, match="EDGEPRESS_SMTP_HOST"):
        mail.send({"to": ["a@b.org"]}, None, NOTICE, {})


def test_a_mail_server_that_refuses_is_quoted(mail_server: MailServer) -> None:
    chosen = {"to": ["a@b.org"], "host": "127.0.0.1", "port": mail_server.port, "security": "none"}
    mail_server.refuse = b"550 no such user\r\n"
    with pytest.raises(DeliveryError, match=r"takes mail for none of a@b\.org"):
        mail.send(chosen, None, NOTICE)
    with pytest.raises(DeliveryError, match="could not be used"):
        mail.send(
            {**chosen, "security": "starttls"}, None, NOTICE
        )  # it offers none: nothing goes in the clear


@pytest.mark.attack("mail header injection", "no address and no name begins another header line")
@pytest.mark.parametrize(
    "address", ["a@b\r\nBcc: x@y.org", "a", "a@", "@b.org", "a b@c.org", "a@b.org,c@d.org", ""]
)
def test_no_address_begins_another_header(address: str) -> None:
    with pytest.raises(InvalidInputError):
        mail.check_address(address)


@pytest.mark.attack("mail header injection", "no address and no name begins another header line")
def test_no_title_begins_another_header() -> None:
    message = mail.compose("a@b.org", ["c@d.org"], {**NOTICE, "title": "x\r\nBcc: evil@example.org"})
    assert message["Bcc"] is None and "\n" not in message["Subject"]


@pytest.mark.fault(
    "alert receiver that trickles", "it holds up nobody: its delivery is given up, the next waits"
)
def test_a_receiver_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "DELIVERY_S", 0.05)
    deliveries, done = bounded.Deliveries(), threading.Event()

    def trickle() -> str:
        done.wait(10.0)
        return "at last"

    with pytest.raises(DeliveryError, match="longer than"):
        deliveries.run("slow", trickle)
    with pytest.raises(DeliveryError, match="still holds on"):
        deliveries.run("slow", trickle)
    assert deliveries.run("other", lambda: "taken") == "taken"
    done.set()


def test_what_a_delivery_raises_is_raised_where_it_is_waited_for() -> None:
    def refused() -> str:
        raise DeliveryError("nobody there", for_good=True)

    with pytest.raises(DeliveryError, match="nobody there") as raised:
        bounded.Deliveries().run("ops", refused)
    assert raised.value.for_good


# --- the line of notices ----------------------------------------------------------------------------------


@pytest.fixture
def watched(store: Store, clock: Clock) -> Watched:
    return Watched(store, clock)


def channel_of(store: Store, receiver: Any) -> Channel:
    return store.alerts.channels.put(
        "ops",
        "webhook",
        options=options(receiver),
        secret="s",
        enabled=True,
        least_severity="info",
        actor="ada",
    )


def opened(store: Store, number: int = 1) -> str:
    incident = store.alerts.open(
        {"rule": "hot", "scope": {}, "severity": "warning", "title": "Hot", "runbook": "/runbooks/hot",
         "worst": 1.0,
         "subjects": 1, "most_subjects": 1, "first_subject": "device:pc"}, sentence="hot"
    )  # fmt: skip
    for n in range(1, number + 1):
        store.alerts.channels.enqueue(incident.id, n, "fired", NOTICE, ["ops"])
    return incident.id


@pytest.mark.fault("alert receiver away", "notices wait, in order, and are tried ever more rarely")
def test_notices_wait_for_a_receiver_that_is_away(store: Store, clock: Clock, receiver: Any) -> None:
    channel_of(store, receiver)
    sender = Sender(store, Settings(data_dir=store.data_dir))
    incident = opened(store, 2)
    receiver.answer = (503, {}, b"away")
    assert sender.send_due() == 0 and len(receiver.seen) == 1  # the second waits for the first
    assert sender.send_due() == 0 and len(receiver.seen) == 1  # and the first for its time
    kept = store.alerts.channels.get("ops")
    assert kept.failure.startswith("it answered 503")
    receiver.answer = (200, {}, b"")
    clock.forward(back_off_ms(1))
    assert sender.send_due() == 1 and sender.send_due() == 1
    assert [n.state for n in store.alerts.channels.notices(incident)] == ["sent", "sent"]
    assert store.alerts.channels.get("ops").failure == ""


def test_a_notice_is_given_up_after_hours_and_that_is_an_alert(
    store: Store, clock: Clock, receiver: Any
) -> None:
    channel_of(store, receiver)
    sender = Sender(store, Settings(data_dir=store.data_dir))
    incident = opened(store)
    receiver.answer = (500, {}, b"")
    for attempt in range(1, ATTEMPTS_MAX + 1):
        sender.send_due()
        clock.forward(back_off_ms(attempt))
    (notice,) = store.alerts.channels.notices(incident)
    assert (notice.state, notice.attempts) == ("failed", ATTEMPTS_MAX)
    assert store.alerts.channels.failed_since(clock.ms - 7_200_000) == 1


@pytest.mark.fault("kill -9 after a notice was taken", "it is sent again with the same id")
def test_killed_before_it_could_note_it_a_notice_is_sent_again_with_its_id(
    store: Store, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel_of(store, receiver)
    opened(store)
    sender = Sender(store, Settings(data_dir=store.data_dir))
    with monkeypatch.context() as patched:
        patched.setattr(
            type(store.alerts.channels), "sent", lambda *_: (_ for _ in ()).throw(SystemExit("killed"))
        )
        with pytest.raises(SystemExit):
            sender.send_due()
    assert Sender(store, Settings(data_dir=store.data_dir)).send_due() == 1
    assert (
        len({headers["Edgepress-Delivery"] for headers, _ in receiver.seen}) == 1 and len(receiver.seen) == 2
    )


def test_a_test_message_is_real_and_says_so(store: Store, receiver: Any) -> None:
    made = channel_of(store, receiver)
    settings = Settings(data_dir=store.data_dir)
    ok, said, took_ms = try_channel(store, settings, "ops")
    assert ok and said == "200 OK: thank you" and took_ms >= 0
    assert json.loads(receiver.seen[0][1])["title"] == "Test of the channel ops"
    assert trial_notice(settings, made, 5)["sentence"].startswith("Nothing is wrong")


def test_switching_a_channel_off_drops_what_waits_for_it(store: Store, receiver: Any) -> None:
    made = channel_of(store, receiver)
    incident = opened(store)
    store.alerts.channels.put(
        "ops", "webhook", options=made.options, secret=None, enabled=False, least_severity="info", actor="ada"
    )
    assert [n.state for n in store.alerts.channels.notices(incident)] == ["dropped"]
    assert store.alerts.channels.get("ops").secret == "s"


def test_what_is_critical_has_room_where_lesser_notices_wait(
    store: Store, clock: Clock, receiver: Any
) -> None:
    channel_of(store, receiver)
    teller = Teller(store, Settings(data_dir=store.data_dir))

    def open_and_tell(severity: str, count: int) -> int:
        for n in range(count):
            store.alerts.open(
                {"rule": "hot", "scope": {"n": f"{severity} {n}"}, "severity": severity, "title": "Hot",
                 "runbook": "/runbooks/hot", "worst": 1.0, "subjects": 1, "most_subjects": 1,
                 "first_subject": "device:pc"}, sentence="hot"
            )  # fmt: skip
        clock.forward(GROUP_WAIT_MS)
        before = store.alerts.channels.waiting().get("ops", 0)
        teller.tell({}, FleetReader(store).read())
        return store.alerts.channels.waiting().get("ops", 0) - before

    assert open_and_tell("info", 2 * RATE_MOST) == RATE_MOST - RATE_CRITICAL
    assert open_and_tell("critical", 2 * RATE_MOST) == RATE_CRITICAL
    clock.forward(RATE_MS)
    assert open_and_tell("critical", 0) == RATE_MOST  # what was held back is told then
