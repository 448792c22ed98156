"""The server's own authority: made once, renewed in time, never replaced by accident; pairs brought along."""

import datetime as dt
import ssl
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from edgepress_devices.enrolment_rules import fingerprint_fits
from edgepress_server.errors import InvalidInputError, StoreError
from edgepress_server.pki import (
    Authority,
    Revoked,
    crl_is_due,
    ensure,
    load_authority,
    local_context,
    server_certificate,
    sign_device_request,
    trusted_fingerprint,
    trusted_pem,
    write_crl,
)
from edgepress_server.pki.issue import issue, names_of
from edgepress_server.settings import Settings

DAY = dt.timedelta(days=1)


def settings(folder: Path, **more: object) -> Settings:
    return msgspec.structs.replace(Settings(data_dir=folder, tls=True, port=8443), **more)


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def request(key: ec.EllipticCurvePrivateKey, name: str = "whoever") -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode()


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str | None:
    """In memory: the TLS version, or an SSLError of either side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    client_side = client.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(4):
        for side in (client_side, server_side):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return client_side.version()


def serving(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


def test_the_first_start_makes_everything_and_the_second_nothing(tmp_path: Path) -> None:
    here = settings(tmp_path, tls_names=("hub.lan", "192.0.2.7"))
    made = ensure(here)
    assert {"server.pem", "server.key", "link.pem", "link.key", "crl.pem"} == set(made)
    assert ensure(here) == []
    folder = here.pki_dir
    for key in ("ca.key", "server.key", "link.key"):
        assert stat.S_IMODE((folder / key).stat().st_mode) == 0o600
    assert {"hub.lan", "192.0.2.7", "localhost", "127.0.0.1", "::1"} <= names_of(
        certificate(folder / "server.pem")
    )
    link = certificate(folder / "link.pem")
    assert link.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "edgepress_server"
    authority = certificate(folder / "ca.pem")
    assert authority.not_valid_after_utc - dt.datetime.now(dt.UTC) > 3649 * DAY
    fingerprint = trusted_fingerprint(here)
    assert fingerprint is not None and len(fingerprint) == 32
    assert fingerprint_fits(fingerprint, authority.public_bytes(Encoding.DER))


def test_who_pins_the_authority_is_served_by_every_name_and_no_other_authority_is_trusted(
    tmp_path: Path,
) -> None:
    here, other = settings(tmp_path / "a", tls_names=("hub.lan",)), settings(tmp_path / "b")
    ensure(here)
    ensure(other)
    pinned = ssl.create_default_context(cadata=trusted_pem(here))
    for name in ("hub.lan", "localhost", "127.0.0.1"):
        assert handshake(serving(here.pki_dir), pinned, name) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(serving(here.pki_dir), pinned, "elsewhere.lan")
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        handshake(serving(other.pki_dir), pinned, "localhost")


def test_a_start_that_was_killed_after_any_file_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    real, left = server_certificate.replace_file, 0

    def dying(path: Path, data: bytes, mode: int = 0o600) -> None:
        nonlocal left
        if left == 0:
            raise KilledError
        left -= 1
        real(path, data, mode)

    for module in ("authority", "server_certificate", "crl"):
        monkeypatch.setattr(f"edgepress_server.pki.{module}.replace_file", dying)
    for files in range(7):
        left, here = files, settings(tmp_path / str(files))
        with pytest.raises(KilledError):
            ensure(here)
        left = 100
        ensure(here)
        assert handshake(serving(here.pki_dir), local_context(here), "whatever") == "TLSv1.3"
    left = 7
    ensure(settings(tmp_path / "whole"))
    assert left == 0, "so every file was the last one once"


LOSSES: list[tuple[str, Callable[[Path], object]]] = [
    ("its key is gone", lambda folder: (folder / "ca.key").unlink()),
    ("its key is another", lambda folder: (folder / "ca.key").write_bytes(private_pem(new_key()))),
    ("its key is damaged", lambda folder: (folder / "ca.key").write_bytes(b"?")),
    ("its certificate is damaged", lambda folder: (folder / "ca.pem").write_bytes(b"?")),
]


@pytest.mark.parametrize("lose", [loss[1] for loss in LOSSES], ids=[loss[0] for loss in LOSSES])
def test_a_lost_authority_is_never_replaced_by_itself(tmp_path: Path, lose: Callable[[Path], object]) -> None:
    """Every device trusts it and no other."""
    here = settings(tmp_path)
    ensure(here)
    lose(here.pki_dir)
    with pytest.raises(StoreError, match="restore the folder from a back-up"):
        ensure(here)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_the_servers_certificate_is_renewed_a_month_before_its_end_with_the_same_key(tmp_path: Path) -> None:
    here = settings(tmp_path)
    ensure(here)
    folder = here.pki_dir
    key, before = (folder / "server.key").read_bytes(), certificate(folder / "server.pem")
    authority = load_authority(folder)
    for life, renewed in ((31 * DAY, []), (29 * DAY, ["server.pem"])):
        old = issue(authority, before.public_key(), "x", life=life, names=sorted(names_of(before)))  # type: ignore[arg-type]
        (folder / "server.pem").write_bytes(old.public_bytes(Encoding.PEM))
        assert ensure(here) == renewed
    assert (folder / "server.key").read_bytes() == key
    assert ensure(settings(tmp_path, tls_names=("new.lan",))) == ["server.pem"], "a name that was added"


def test_a_device_gets_its_own_name_whatever_its_request_says(tmp_path: Path) -> None:
    authority = load_authority(tmp_path)
    key = new_key()
    made = sign_device_request(authority, "press-1", request(key, "edgepress_server"))
    found = x509.load_pem_x509_certificate(made.pem.encode())
    assert found.subject.rfc4514_string() == "CN=press-1"
    assert found.public_key() == key.public_key()
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [use._name for use in usage] == ["clientAuth"]
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_requests_that_are_none_are_refused(tmp_path: Path) -> None:
    authority = load_authority(tmp_path)
    whole = request(new_key())
    other = ec.generate_private_key(ec.SECP384R1())
    lines = request(new_key()).splitlines()
    lines[-2] = whole.splitlines()[-2]  # the signature of another one
    for bad in ("", "x" * 5000, "ä", whole[:100], request(other), "\n".join(lines)):
        with pytest.raises(InvalidInputError):
            sign_device_request(authority, "press-1", bad)


def test_the_revocation_list_says_what_the_store_says(tmp_path: Path) -> None:
    authority = load_authority(tmp_path)
    assert crl_is_due(tmp_path, ())
    write_crl(tmp_path, authority, ())
    assert not crl_is_due(tmp_path, ())
    revoked = [Revoked("7f", 1_700_000_000_000)]
    assert crl_is_due(tmp_path, revoked)
    write_crl(tmp_path, authority, revoked)
    assert not crl_is_due(tmp_path, revoked)
    listed = x509.load_pem_x509_crl((tmp_path / "crl.pem").read_bytes())
    assert listed.is_signature_valid(authority.key.public_key())
    assert [one.serial_number for one in listed] == [0x7F]


# --- a certificate brought along -------------------------------------------------------------------------


class Brought:
    """Files as a person has them from a company's own authority."""

    def __init__(
        self, folder: Path, names: tuple[str, ...] = ("edge.example.org",), life: dt.timedelta = 90 * DAY
    ) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.authority: Authority = load_authority(folder / "company")
        self.key = new_key()
        made = issue(self.authority, self.key.public_key(), "edge", life=life, names=names)
        (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
        (folder / "key.pem").write_bytes(private_pem(self.key))
        (folder / "ca.pem").write_bytes(self.authority.pem)

    def settings(self, data: Path, url: str = "https://edge.example.org") -> Settings:
        files = {"tls_cert": self.folder / "cert.pem", "tls_key": self.folder / "key.pem"}
        return settings(data, public_url=url, tls_ca=self.folder / "ca.pem", **files)


def test_a_certificate_brought_along_is_served_and_its_authority_is_pinned(tmp_path: Path) -> None:
    brought = Brought(tmp_path / "theirs")
    here = brought.settings(tmp_path / "data")
    assert {"server.pem", "server.key"} <= set(ensure(here))
    assert ensure(here) == []
    pinned = ssl.create_default_context(cadata=trusted_pem(here))
    assert handshake(serving(here.pki_dir), pinned, "edge.example.org") == "TLSv1.3"
    # The server's own processes reach it at 127.0.0.1, for which it is not.
    assert handshake(serving(here.pki_dir), local_context(here), "127.0.0.1") == "TLSv1.3"
    public = msgspec.structs.replace(here, tls_ca=None)
    assert (trusted_pem(public), trusted_fingerprint(public)) == (None, None), "systems know that authority"
    again = Brought(tmp_path / "renewed")
    for name in ("cert.pem", "key.pem", "ca.pem"):
        (brought.folder / name).write_bytes((again.folder / name).read_bytes())
    assert set(ensure(here)) == {"server.pem", "server.key"}, "a renewed pair is taken over while serving"


def test_a_wildcard_is_for_one_label(tmp_path: Path) -> None:
    brought = Brought(tmp_path / "theirs", names=("*.example.org",))
    ensure(brought.settings(tmp_path / "data"))
    with pytest.raises(InvalidInputError, match="is for"):
        ensure(brought.settings(tmp_path / "data", "https://a.b.example.org"))


FAULTS: list[tuple[str, Callable[[Brought], object], str]] = [
    (
        "the key of another",
        lambda b: (b.folder / "key.pem").write_bytes(private_pem(new_key())),
        "is not the key",
    ),
    ("a key that is none", lambda b: (b.folder / "key.pem").write_bytes(b"?"), "no private key"),
    ("a certificate that is none", lambda b: (b.folder / "cert.pem").write_bytes(b"?"), "no certificate"),
    ("an authority that is none", lambda b: (b.folder / "ca.pem").write_bytes(b"?"), "no certificate"),
    (
        "another authority",
        lambda b: (b.folder / "ca.pem").write_bytes(load_authority(b.folder / "x").pem),
        "did not sign",
    ),
    ("a file without end", lambda b: (b.folder / "cert.pem").write_bytes(b"x" * (1 << 21)), "too large"),
]


@pytest.mark.parametrize(("spoil", "says"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_what_does_not_fit_is_said(tmp_path: Path, spoil: Callable[[Brought], object], says: str) -> None:
    brought = Brought(tmp_path / "theirs")
    spoil(brought)
    with pytest.raises(InvalidInputError, match=says):
        ensure(brought.settings(tmp_path / "data"))


def test_an_expired_certificate_and_one_for_another_name_are_said(tmp_path: Path) -> None:
    expired = Brought(tmp_path / "expired", life=-dt.timedelta(hours=1))
    with pytest.raises(InvalidInputError, match="expired on"):
        ensure(expired.settings(tmp_path / "data"))
    brought = Brought(tmp_path / "theirs")
    with pytest.raises(InvalidInputError, match=r"is for edge\.example\.org, and .* come to hub\.lan"):
        ensure(brought.settings(tmp_path / "data", "https://hub.lan"))
