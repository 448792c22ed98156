"""Which authority an enrolling device believes: the one whose fingerprint it knows, and nothing beside it."""

import datetime as dt
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from edgepress_agent import ask_server
from edgepress_agent.ask_server import fetch_authority
from edgepress_agent.clock import NO_CLOCK_S
from edgepress_agent.enroll import _authority
from edgepress_agent.errors import EnrolmentError
from edgepress_agent.tls import client_context
from edgepress_devices.enrolment_rules import Invitation, authority_fingerprint, fingerprint_fits


def authority(name: str) -> bytes:
    """DER of a self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    )
    builder = builder.serial_number(7).not_valid_before(now).not_valid_after(now + dt.timedelta(days=9))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def padded(name: str) -> bytes:
    """One whose base64 ends in padding, after which lenient decoders stop reading."""
    while len(der := authority(name)) % 3 == 0:
        name += "."
    return der


def answering(monkeypatch: pytest.MonkeyPatch, body: bytes, status: int = 200) -> list[str]:
    asked: list[str] = []

    def exchange(_method: str, url: str, *_more: object) -> tuple[int, bytes]:
        asked.append(url)
        return status, body

    monkeypatch.setattr(ask_server, "_exchange", exchange)
    return asked


def pem(der: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).encode()


RIGHT = padded("right")
PRINT = authority_fingerprint(RIGHT)


def test_the_authority_with_the_fingerprint_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, pem(RIGHT))
    assert fetch_authority("https://hub", PRINT) == pem(RIGHT).decode()
    assert asked == ["https://hub/api/v1/ca.pem"]


@pytest.mark.attack("wrong server", "an authority slipped in behind the right one is not pinned")
def test_what_stands_after_the_authority_is_not_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, pem(RIGHT) + pem(authority("evil")))
    try:
        pinned = fetch_authority("https://hub", PRINT)
    except EnrolmentError:
        return
    trusted = client_context(pinned).get_ca_certs()
    assert [dict(entry[0] for entry in one["subject"])["commonName"][:5] for one in trusted] == ["right"]


ANSWERS = [
    ("another authority", pem(authority("other")), 200),
    ("the right one behind another", pem(authority("other")) + pem(RIGHT), 200),
    ("no certificate", b"hello", 200),
    ("no text", bytes(range(256)), 200),
    ("nothing", b"", 200),
    ("none to give", pem(RIGHT), 404),
]


@pytest.mark.attack("wrong server", "whatever it answers, without the fingerprint nothing is sent to it")
@pytest.mark.parametrize(("body", "status"), [a[1:] for a in ANSWERS], ids=[a[0] for a in ANSWERS])
def test_a_server_without_it_is_sent_nothing(
    monkeypatch: pytest.MonkeyPatch, body: bytes, status: int
) -> None:
    asked = answering(monkeypatch, body, status)
    with pytest.raises(EnrolmentError, match="Nothing was sent"):
        fetch_authority("https://hub", PRINT)
    assert len(asked) == 1


@pytest.mark.parametrize("broken", ["", PRINT[:-1], PRINT + "!", PRINT[:31] + "1", PRINT.lower(), "A" * 53])
def test_a_damaged_fingerprint_asks_nobody(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    asked = answering(monkeypatch, pem(RIGHT))
    with pytest.raises(EnrolmentError, match="damaged"):
        fetch_authority("https://hub", broken)
    assert asked == [] and not fingerprint_fits(broken, RIGHT)


def test_a_fingerprint_without_tls_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, pem(RIGHT))
    with pytest.raises(EnrolmentError, match="use the https:// address"):
        _authority(Invitation("http://hub", "CODE", PRINT), None)
    assert asked == []


@pytest.mark.fault(
    "clock at 1970", "TLS to the pinned authority works: signatures and names count, dates do not"
)
def test_a_board_without_a_clock_leaves_dates_out() -> None:
    past, now = client_context(None, clock_s=lambda: 5.0), client_context(None, clock_s=lambda: NO_CLOCK_S)
    assert past.verify_flags & 0x200000 and not now.verify_flags & 0x200000
    assert past.check_hostname and past.verify_mode == ssl.CERT_REQUIRED
