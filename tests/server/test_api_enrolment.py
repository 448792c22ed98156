"""Many devices at once, codes that are open, certificates, renewing: through the API."""

import base64
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from flask.testing import FlaskClient
from flask_openapi3.openapi import OpenAPI
from server_story import Browser, Clock, sign_in

from edgepress_agent.credentials import certificate_request, new_key
from edgepress_devices.enrolment_rules import Purpose, renewal_transcript, secret_proof
from edgepress_server.api import create_app
from edgepress_server.api.challenges import LIFE_S, Challenges
from edgepress_server.errors import GoneError
from edgepress_server.pki import ensure, trusted_fingerprint, trusted_pem
from edgepress_server.settings import Settings
from edgepress_server.store import Store

KEY = base64.b64encode(b"k" * 32).decode()
HEADER = "name,profile,labels,room\n"


@pytest.fixture
def secure(store: Store) -> Settings:
    """A server that gives out certificates."""
    made = Settings(
        data_dir=store.data_dir,
        broker="mosquitto",
        tls=True,
        device_auth="certificate",
        public_url="https://hub.lan:8443",
    )
    ensure(made)
    return made


@pytest.fixture
def certifying(secure: Settings, store: Store) -> Iterator[OpenAPI]:
    made = create_app(secure, store)
    yield made
    made.extensions["edgepress"].fan.close()


def enrol(client: FlaskClient, code: str, **more: Any) -> Any:
    body = {"code": code, "public_key": KEY, "agent_version": "0.1.0", **more}
    return client.post("/api/v1/enroll", json=body)


def send_csv(browser: Browser, text: str | bytes, query: str = "", status: int = 201) -> Any:
    data = text.encode() if isinstance(text, str) else text
    return browser.send(f"/devices/bulk{query}", data, status)


# --- many at once -----------------------------------------------------------------------------------------


def test_a_csv_file_registers_its_devices_and_each_code_lets_its_device_in(
    operator: Browser, anyone: FlaskClient
) -> None:
    rows = "press-1,raspberry-pi-4,site=hall-3;line=a,201\r\n\r\n press-2 ,x86-pc,,\r\n"
    made = send_csv(operator, "\ufeff" + HEADER + rows)["codes"]
    assert [one["device"] for one in made] == ["press-1", "press-2"]
    first = operator.get("/devices/press-1")
    assert (first["profile"], first["labels"]) == (
        "raspberry-pi-4",
        {"site": "hall-3", "line": "a", "room": "201"},
    )
    assert operator.get("/devices/press-2")["labels"] == {}
    assert made[1]["enrol_url"] == f"http://127.0.0.1:8080/enroll#{made[1]['code']}"
    assert enrol(anyone, made[1]["code"]).json["device"] == "press-2"
    assert enrol(anyone, made[1]["code"]).status_code == 410, "it works once"


FAULTS = [
    ("no header", "press-1,x86-pc\n", "`name` and `profile` must be among them"),
    ("nothing", "", "`name` and `profile` must be among them"),
    ("a header alone", HEADER, "names no device"),
    ("a name twice", HEADER + "a,x86-pc,,\nb,x86-pc,,\na,x86-pc,,\n", "row 4: 'a' is in row 2 already"),
    ("a bad name", HEADER + "a,x86-pc,,\nB_1,x86-pc,,\n", "row 3: 'B_1' is no device name"),
    ("an unknown profile", HEADER + "a,x86-pc,,\nb,toaster,,\n", "Row 3: .*toaster"),
    ("a label that is none", HEADER + "a,x86-pc,hall,\n", "Row 2: 'hall' is no label"),
    ("a label with a bad key", HEADER + "a,x86-pc,HALL=1,\n", "row 2: 'HALL' is no label"),
    ("too few fields", HEADER + "a,x86-pc\n", "Row 2 has 2 fields"),
    ("a column twice", "name,profile,room,room\na,x86-pc,1,2\n", "each another one"),
    ("an open quote", HEADER + 'a,x86-pc,"oh,1\n', "is no CSV"),
    ("no UTF-8", b"name,profile\n\xff,x86-pc\n", "not UTF-8"),
    (
        "a name that is taken",
        HEADER + "new,x86-pc,,\ntaken,x86-pc,,\n",
        "row 3: There is already a device 'taken'",
    ),
    (
        "a device too many",
        "name,profile\n" + "".join(f"d{n},x86-pc\n" for n in range(10_001)),
        "more than 10,000",
    ),
]


@pytest.mark.parametrize(("text", "says"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_fault_in_a_row_registers_nothing_and_names_it(
    operator: Browser, text: str | bytes, says: str
) -> None:
    operator.post("/devices", {"name": "taken", "profile": "x86-pc"}, 201)
    answer = send_csv(operator, text, status=400)
    assert re.search(says, answer["error"]["message"]), answer
    assert [d["name"] for d in operator.get("/devices")] == ["taken"]
    assert operator.get("/enrolment-codes")[0]["device"] == "taken"


@pytest.mark.fault(
    "duplicate device names", "a file that names a device twice, or one that exists, registers nothing"
)
def test_all_faults_are_told_at_once_up_to_a_limit(operator: Browser) -> None:
    rows = "".join("same,x86-pc,,\n" for _ in range(40))
    message = send_csv(operator, HEADER + rows, status=400)["error"]["message"]
    assert message.startswith("None of the 40 devices was registered:\nrow 3: ")
    assert message.endswith("... and 19 more") and len(message.splitlines()) == 22


def test_ten_thousand_devices_take_seconds_and_one_event(operator: Browser, store: Store) -> None:
    before = store.events.last_id()
    started = time.monotonic()
    made = send_csv(operator, "name,profile\n" + "".join(f"d{n},x86-pc\n" for n in range(10_000)))
    assert time.monotonic() - started < 20  # a guard against hours, no measurement
    assert len({one["code"] for one in made["codes"]}) == 10_000
    assert len(store.events.after(before, 10)) == 1
    assert len(operator.get("/enrolment-codes")) == 10_000


def test_boards_that_were_flashed_anew_are_replaced_in_one_go(
    operator: Browser, anyone: FlaskClient, store: Store
) -> None:
    first = send_csv(operator, HEADER + "a,x86-pc,old=1,\n")["codes"][0]
    enrol(anyone, first["code"])
    secret = store.devices.get("a").mqtt_secret
    again = send_csv(operator, HEADER + "a,raspberry-pi-5,,7\nb,x86-pc,,\n", "?replace=true")["codes"]
    assert operator.get("/devices/a")["profile"] == "raspberry-pi-5"
    assert operator.get("/devices/a")["labels"] == {"room": "7"}
    assert store.devices.get("a").mqtt_secret == secret, "what runs goes on until the code is used"
    enrol(anyone, again[0]["code"])
    assert store.devices.get("a").mqtt_secret != secret
    body = {"name": "a", "profile": "x86-pc"}
    assert operator.refused(operator.post("/devices", body, 409)) == "device_exists"
    operator.post("/devices", {**body, "replace": True}, 201)


def test_codes_are_listed_without_themselves_and_can_be_taken_back(
    operator: Browser, anyone: FlaskClient, clock: Clock
) -> None:
    made = send_csv(operator, HEADER + "a,x86-pc,,\nb,x86-pc,,\n", "?expires_in_s=3600")["codes"]
    operator.post("/devices", {"name": "c", "profile": "x86-pc", "expires_in_s": 60}, 201)
    listed = operator.get("/enrolment-codes")
    assert [one["device"] for one in listed] == ["c", "a", "b"]
    assert listed[0]["actor"] == "operator"
    assert made[0]["code"] not in str(listed)
    operator.delete("/devices/a/code", 204)
    assert enrol(anyone, made[0]["code"]).status_code == 404
    assert operator.refused(operator.delete("/devices/a/code", 404)) == "no_open_code"
    clock.forward(61_000)
    assert [one["device"] for one in operator.get("/enrolment-codes")] == ["b"]
    clock.forward(3_600_000)
    assert operator.get("/enrolment-codes") == []


def test_several_are_revoked_or_none(operator: Browser) -> None:
    send_csv(operator, HEADER + "a,x86-pc,,\nb,x86-pc,,\nc,x86-pc,,\n")
    operator.post("/devices/revoke", {"names": ["a", "nobody"]}, 404)
    assert operator.get("/devices/a")["status"] == "registered"
    assert operator.post("/devices/revoke", {"names": ["a", "b", "a"]})["devices"] == ["a", "b"]
    assert [d["status"] for d in operator.get("/devices")] == ["revoked", "revoked", "registered"]
    assert [one["device"] for one in operator.get("/enrolment-codes")] == ["c"], "codes die too"


# --- the authority ----------------------------------------------------------------------------------------


def test_the_enrolment_address_carries_the_fingerprint_of_the_authority_that_is_given_out(
    certifying: OpenAPI, secure: Settings, store: Store
) -> None:
    operator = sign_in(certifying, store, "operator")
    made = operator.post("/devices", {"name": "press", "profile": "x86-pc"}, 201)
    fingerprint = trusted_fingerprint(secure)
    assert made["enrol_url"] == f"https://hub.lan:8443/enroll#{made['code']}.{fingerprint}"
    answer = certifying.test_client().get("/api/v1/ca.pem")
    assert (answer.status_code, answer.text) == (200, trusted_pem(secure))
    answer = certifying.test_client().get("/api/v1/health", base_url="https://hub.lan:8443")
    assert "max-age=" in answer.headers["Strict-Transport-Security"]


def test_without_tls_there_is_no_authority_and_no_promise_of_https(anyone: FlaskClient) -> None:
    answer = anyone.get("/api/v1/ca.pem")
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "no_authority")
    assert "Strict-Transport-Security" not in answer.headers


@pytest.mark.parametrize("path", ["/api/v1/enroll", "/api/v1/session", "/api/v1/renew"])
def test_nobody_who_is_not_signed_in_makes_the_server_wait_for_a_large_body(
    anyone: FlaskClient, path: str
) -> None:
    assert anyone.post(path, data=b"x" * 70_000).status_code == 413
    endless = anyone.post(path, headers={"Transfer-Encoding": "chunked"})
    assert endless.status_code == 413


# --- certificates and renewing ----------------------------------------------------------------------------


class Device:
    """The device's side of renewing, by hand."""

    def __init__(self, client: FlaskClient, store: Store, name: str, certificates: bool) -> None:
        self.client, self.store, self.name = client, store, name
        self.key: ec.EllipticCurvePrivateKey | None = new_key() if certificates else None
        store.devices.register(name, "x86-pc", {}, actor=None)
        code, _ = store.devices.new_code(name, actor=None)
        csr = {"csr": certificate_request(self.key)} if self.key else {}
        self.answer = enrol(client, code, **csr).json
        self.secret: str = self.answer["mqtt"]["password"]

    def challenge(self) -> str:
        body = {"device": self.name}
        return str(self.client.post("/api/v1/renew/challenge", json=body).json["challenge"])

    def prove(self, purpose: Purpose, challenge: str, csr: str = "", name: str = "") -> str:
        transcript = renewal_transcript(purpose, name or self.name, challenge, csr)
        if self.key is None:
            return secret_proof(self.secret, transcript)
        return base64.b64encode(self.key.sign(transcript, ec.ECDSA(hashes.SHA256()))).decode()

    def renew(self, **change: Any) -> Any:
        challenge, csr = self.challenge(), certificate_request(new_key())
        body = {"device": self.name, "challenge": challenge, "csr": csr}
        body["proof"] = self.prove("renew", challenge, csr)
        return self.client.post("/api/v1/renew", json={**body, **change})

    def confirm(self) -> Any:
        challenge = self.challenge()
        body = {"device": self.name, "challenge": challenge, "proof": self.prove("confirm", challenge)}
        return self.client.post("/api/v1/renew/confirm", json=body)


def test_a_server_of_certificates_signs_for_the_devices_own_key(
    certifying: OpenAPI, store: Store, secure: Settings
) -> None:
    device = Device(certifying.test_client(), store, "press", certificates=True)
    found = x509.load_pem_x509_certificate(device.answer["certificate"].encode())
    assert device.key is not None and found.public_key() == device.key.public_key()
    assert found.subject.rfc4514_string() == "CN=press"
    assert device.answer["ca"] == device.answer["mqtt"]["ca"] == trusted_pem(secure)
    end_s = found.not_valid_after_utc.timestamp()
    assert store.now_ms() / 1000 < device.answer["renew_at_s"] < end_s, "well before its end"
    store.devices.register("old", "x86-pc", {}, actor=None)
    code, _ = store.devices.new_code("old", actor=None)
    answer = enrol(certifying.test_client(), code)
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "csr_missing")
    assert enrol(certifying.test_client(), code, csr="?").json["error"]["code"] == "csr"
    assert enrol(certifying.test_client(), code, csr=certificate_request(new_key())).status_code == 200


def listed(secure: Settings) -> set[str]:
    crl = x509.load_pem_x509_crl((secure.pki_dir / "crl.pem").read_bytes())
    return {f"{one.serial_number:x}" for one in crl}


def test_a_renewed_certificate_takes_over_when_it_is_shown_and_the_old_one_is_revoked_then(
    certifying: OpenAPI, store: Store, secure: Settings
) -> None:
    device = Device(certifying.test_client(), store, "press", certificates=True)
    old = store.devices.certificates.find("press", "current")
    key = new_key()
    challenge, csr = device.challenge(), certificate_request(key)
    body = {"device": "press", "challenge": challenge, "csr": csr}
    answer = device.client.post(
        "/api/v1/renew", json={**body, "proof": device.prove("renew", challenge, csr)}
    )
    assert answer.status_code == 200, answer.text
    assert store.devices.certificates.find("press", "current") == old and listed(secure) == set()
    assert device.confirm().status_code == 401, "the old key does not show the new certificate"
    device.key = key
    assert device.confirm().status_code == 200
    now = store.devices.certificates.find("press", "current")
    assert now is not None and old is not None and now.pem == answer.json["certificate"]
    assert listed(secure) == {old.serial}
    assert device.confirm().status_code == 200, "told twice is no harm"
    store.devices.revoke("press", actor=None)
    assert device.renew().status_code == 401, "revoked is revoked"


def test_revoking_puts_certificates_on_the_list(certifying: OpenAPI, store: Store, secure: Settings) -> None:
    Device(certifying.test_client(), store, "press", certificates=True)
    Device(certifying.test_client(), store, "stays", certificates=True)
    found = store.devices.certificates.find("press", "current")
    sign_in(certifying, store, "operator").delete("/devices/press")
    assert found is not None and listed(secure) == {found.serial}


def test_a_secret_is_renewed_in_two_steps(anyone: FlaskClient, store: Store) -> None:
    device = Device(anyone, store, "press", certificates=False)
    new = device.renew().json["mqtt"]["password"]
    newer = device.renew().json["mqtt"]["password"]
    assert store.devices.mqtt_secrets() == {"press": device.secret}, "the broker knows the old one still"
    assert device.confirm().status_code == 401, "the old one does not show the new one"
    old, device.secret = device.secret, newer
    assert device.confirm().status_code == 200
    assert store.devices.mqtt_secrets() == {"press": newer}
    assert len({old, new, newer}) == 3
    device.secret = old
    assert device.renew().status_code == 401


@pytest.mark.attack("renewing for another device", "a proof is of one device, one challenge, one request")
@pytest.mark.parametrize("certificates", [False, True], ids=["secret", "certificate"])
def test_nobody_renews_for_another_device(
    app: OpenAPI, certifying: OpenAPI, store: Store, certificates: bool
) -> None:
    client = (certifying if certificates else app).test_client()
    mine = Device(client, store, "mine", certificates)
    Device(client, store, "yours", certificates)
    csr = certificate_request(new_key())
    yours = client.post("/api/v1/renew/challenge", json={"device": "yours"}).json["challenge"]
    refused = [
        # (challenge, csr that was signed, csr that is sent, name)
        (yours, csr, csr, "yours"),
        (mine.challenge(), csr, csr, "yours"),
        (mine.challenge(), csr, certificate_request(new_key()), "mine"),
        ("", csr, csr, "mine"),
        (mine.challenge()[:-2], csr, csr, "mine"),
    ]
    for challenge, signed, sent, name in refused:
        body = {"device": name, "challenge": challenge, "csr": sent}
        proof = mine.prove("renew", challenge, signed, name)
        answer = client.post("/api/v1/renew", json={**body, "proof": proof})
        assert answer.status_code in (401, 410), (challenge, name, answer.text)
    for proof in ("", "ä", "?" * 100, base64.b64encode(b"x" * 70).decode()):
        assert mine.renew(proof=proof).status_code == 401
    assert store.devices.get("yours").next_secret is None
    assert store.devices.get("mine").next_secret is None


@pytest.mark.attack("renewing for another device", "what was said once is not taken twice")
def test_a_proof_is_good_once(anyone: FlaskClient, store: Store) -> None:
    device = Device(anyone, store, "press", certificates=False)
    challenge = device.challenge()
    body = {"device": "press", "challenge": challenge, "proof": device.prove("renew", challenge)}
    assert anyone.post("/api/v1/renew", json=body).status_code == 200
    again = anyone.post("/api/v1/renew", json=body)
    assert (again.status_code, again.json["error"]["code"]) == (410, "challenge")
    for name in ("registered-only", "nobody", "press\0", "x" * 80):
        challenge = anyone.post("/api/v1/renew/challenge", json={"device": name}).json["challenge"]
        answer = anyone.post("/api/v1/renew", json={**body, "device": name, "challenge": challenge})
        assert answer.json["error"]["code"] == "not_proven", "who asks learns nothing about other devices"


def test_guessing_at_proofs_is_slowed_down(anyone: FlaskClient, store: Store) -> None:
    device = Device(anyone, store, "press", certificates=False)
    statuses = [device.renew(proof="x").status_code for _ in range(20)]
    assert set(statuses) == {401}
    assert anyone.post("/api/v1/renew/challenge", json={"device": "press"}).status_code == 429


def test_a_challenge_lives_for_a_minute() -> None:
    now = [0.0]
    challenges = Challenges(lambda: now[0])
    made = challenges.make("pi")
    with pytest.raises(GoneError):
        challenges.use("other", made)
    challenges.use("pi", made)
    late = challenges.make("pi")
    now[0] += LIFE_S
    with pytest.raises(GoneError):
        challenges.use("pi", late)
    with pytest.raises(GoneError):
        Challenges(lambda: 0.0).use("pi", made)


def test_from_certificates_back_to_secrets(
    app: OpenAPI, certifying: OpenAPI, store: Store, secure: Settings, tmp_path: Path
) -> None:
    """The operator changes --device-auth: each device follows with its next renewal."""
    device = Device(certifying.test_client(), store, "press", certificates=True)
    device.client = app.test_client()
    answer = device.renew().json
    assert answer["certificate"] is None
    device.key, device.secret = None, answer["mqtt"]["password"]
    assert device.confirm().status_code == 200
    assert store.devices.certificates.find("press", "current") is None
    assert len(store.devices.certificates.revoked()) == 1
    assert device.renew().status_code == 200, "and proves itself by the secret from now on"
    assert msgspec.structs.replace(secure, device_auth="secret").mqtt_tls
