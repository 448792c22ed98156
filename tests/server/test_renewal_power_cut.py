"""The agent's own renewal against the server's own API, with the power cut at every write on the device."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from flask.testing import FlaskClient
from flask_openapi3.openapi import OpenAPI
from power_cut import DyingDisk, PowerCut

from edgepress_agent import ask_server, enroll, renew
from edgepress_agent.durable import Disk
from edgepress_agent.enrolment import Enrolment, Mqtt, read_enrolment
from edgepress_agent.errors import EnrolmentError
from edgepress_devices.protocol import Hardware
from edgepress_server.api import create_app
from edgepress_server.pki import ensure
from edgepress_server.settings import Settings
from edgepress_server.store import Store


class Wire:
    """In place of the network: questions go to the application, and it may be cut, too."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client
        self.answers_left: int | None = None  # until the connection is lost after the question was heard

    def exchange(
        self, method: str, url: str, _server: str, _tls: Any, body: Any, _most: int
    ) -> tuple[int, bytes]:
        path = "/api" + url.partition("/api")[2]
        answer = self.client.open(path, method=method, data=body, content_type="application/json")
        if self.answers_left is not None:
            self.answers_left -= 1
            if self.answers_left < 0:
                raise EnrolmentError("the connection was lost")
        return answer.status_code, answer.data


class Story:
    def __init__(self, folder: Path, store: Store, app: OpenAPI, wire: Wire) -> None:
        self.folder, self.store, self.wire = folder, store, wire
        store.devices.register("press", "x86-pc", {}, actor=None)
        self.join()

    def join(self) -> None:
        code, _ = self.store.devices.new_code("press", actor=None)
        enroll.enroll(self.folder, code, server="http://127.0.0.1:1", hardware=Hardware(), force=True)

    def works(self, mqtt: Mqtt) -> bool:
        """Whether a broker of this server would take what the device shows."""
        certificate = self.store.devices.certificates.find("press", "current")
        if certificate is None:
            return mqtt.password == self.store.devices.get("press").mqtt_secret
        shown = x509.load_pem_x509_certificate((self.folder / (mqtt.certificate or "")).read_bytes())
        assert (self.folder / (mqtt.key or "")).is_file()
        return f"{shown.serial_number:x}" == certificate.serial

    def holds_what_works(self) -> bool:
        """What is on disk now, and what `renew` would go on with."""
        enrolment = read_enrolment(self.folder)
        return self.works(enrolment.mqtt) or (
            enrolment.offered is not None and self.works(enrolment.offered.mqtt)
        )


@pytest.fixture(params=["secret", "certificate"])
def story(
    request: pytest.FixtureRequest, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Story]:
    settings = Settings(data_dir=store.data_dir, broker="mosquitto", tls=True, device_auth=request.param)
    ensure(settings)
    app = create_app(settings, store)
    wire = Wire(app.test_client())
    monkeypatch.setattr(ask_server, "_exchange", wire.exchange)
    yield Story(tmp_path / "device", store, app, wire)
    app.extensions["edgepress"].fan.close()


def test_a_renewal_changes_what_is_shown_and_leaves_nothing_behind(story: Story) -> None:
    before = read_enrolment(story.folder)
    after = renew.renew(story.folder, Disk())
    assert after.mqtt != before.mqtt and after.offered is None
    assert story.works(after.mqtt) and read_enrolment(story.folder) == after
    assert (after.device, after.ca) == (before.device, before.ca)
    files = {path.name for path in story.folder.glob("mqtt-*")}
    assert files == {name for name in (after.mqtt.certificate, after.mqtt.key) if name}


@pytest.mark.fault("power cut", "renewing credentials: at every write the device keeps some that work")
def test_the_power_cut_at_every_write(story: Story) -> None:
    cuts = 0
    for at in range(1000):
        disk = DyingDisk(at)
        try:
            renew.renew(story.folder, disk)
        except PowerCut:
            cuts += 1
        else:
            break
        assert story.holds_what_works(), f"nothing works after a cut at half-change {at}"
        done = renew.renew(story.folder, Disk())
        assert story.works(done.mqtt) and done.offered is None
    assert cuts >= 4, "it writes what is offered, then what is taken over"


@pytest.mark.parametrize("heard", range(4))
def test_an_answer_that_is_lost_on_its_way(story: Story, heard: int) -> None:
    story.wire.answers_left = heard
    with pytest.raises(EnrolmentError, match="lost"):
        renew.renew(story.folder, Disk())
    assert story.holds_what_works()
    story.wire.answers_left = None
    assert story.works(renew.renew(story.folder, Disk()).mqtt)


def test_an_offer_that_the_server_forgot_is_asked_for_anew(story: Story) -> None:
    """A store that was restored from a back-up."""
    story.wire.answers_left = 2
    with pytest.raises(EnrolmentError):
        renew.renew(story.folder, Disk())
    assert read_enrolment(story.folder).offered is not None
    story.store.renewals.offer("press", None)  # another one
    story.wire.answers_left = None
    with pytest.raises(EnrolmentError, match="Nobody has shown"):
        renew.renew(story.folder, Disk())
    assert story.works(renew.renew(story.folder, Disk()).mqtt)


def test_a_revoked_device_keeps_what_it_has_and_says_why(story: Story) -> None:
    before = read_enrolment(story.folder)
    story.store.devices.revoke("press", actor=None)
    with pytest.raises(EnrolmentError, match="Was it revoked"):
        renew.renew(story.folder, Disk())
    assert read_enrolment(story.folder) == before
    story.join()  # a new code
    assert story.works(read_enrolment(story.folder).mqtt)


class Clock:
    s = 0.0

    def __call__(self) -> float:
        return self.s


def test_the_running_agent_renews_when_it_is_due_asked_or_refused(story: Story) -> None:
    clock, refusals, used = Clock(), [0], list[Mqtt]()
    enrolment: Enrolment = read_enrolment(story.folder)
    thread = renew.Renewal(
        story.folder, Disk(), renewed=used.append, refusals=lambda: refusals[0], clock_s=clock
    )
    thread.turn(0.0)
    assert used == []
    clock.s = enrolment.renew_at_s
    thread.turn(1.0)
    assert len(used) == 1 and story.works(used[0])
    clock.s = 2.0**40  # a clock gone mad asks every turn, and is held back
    thread.turn(2.0)
    assert len(used) == 1
    (story.folder / renew.REQUEST_FILE).touch()
    thread.turn(3.0)
    assert len(used) == 2 and not (story.folder / renew.REQUEST_FILE).exists()
    clock.s, refusals[0] = 0.0, 3
    thread.turn(4.0 + renew.RETRY_S[1])
    assert len(used) == (3 if enrolment.mqtt.tls else 2), "the broker wants others than these"


def test_a_server_that_does_not_answer_is_asked_again_later(story: Story) -> None:
    clock, used = Clock(), list[Mqtt]()
    thread = renew.Renewal(story.folder, Disk(), renewed=used.append, refusals=lambda: 0, clock_s=clock)
    clock.s = read_enrolment(story.folder).renew_at_s
    story.wire.answers_left = 0
    thread.turn(0.0)
    story.wire.answers_left = None
    thread.turn(renew.RETRY_S[0] - 1)
    assert used == []
    thread.turn(renew.RETRY_S[1])
    assert len(used) == 1


def test_what_a_server_says_about_files_of_the_device_is_not_followed(story: Story) -> None:
    real = story.wire.exchange

    def lying(*asked: Any) -> tuple[int, bytes]:
        status, body = real(*asked)
        answer = msgspec.json.decode(body)
        if "mqtt" in answer:
            answer["mqtt"] |= {"certificate": "../../etc/passwd", "key": "key"}
        return status, msgspec.json.encode(answer)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ask_server, "_exchange", lying)
        done = renew.renew(story.folder, Disk())
    assert done.mqtt.key != "key" and "passwd" not in str(done)
