"""Trading the one-time code for this device's identity, once, over HTTP.

The address that `edgepress device register` prints carries the fingerprint of the server's authority. Then
nothing is sent before that authority has been fetched and compared, and from then on this device trusts it
and no other, for the web server and for the broker.
"""

import base64
import ipaddress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgepress_agent import __version__
from edgepress_agent.ask_server import CA_MAX_BYTES, ask, fetch_authority
from edgepress_agent.credentials import certificate_request, new_key, write_certificate
from edgepress_agent.durable import Disk
from edgepress_agent.enrolment import Enrolment, Mqtt, is_enrolled, read_enrolment, write_enrolment
from edgepress_agent.errors import EnrolmentError, StateFolderError
from edgepress_agent.seal import new_device_key
from edgepress_agent.state_folder import StateFolder
from edgepress_agent.trust import load_root
from edgepress_devices.enrolment_rules import Invitation
from edgepress_devices.protocol import DEVICE_NAME, Count, Hardware, Text


class _Request(msgspec.Struct):
    code: str
    public_key: str  # base64 of the raw X25519 public key
    hardware: Hardware
    agent_version: str
    csr: str  # PEM; a server that gives out secrets ignores it


class _Answer(msgspec.Struct):
    device: Annotated[str, msgspec.Meta(pattern=rf"^{DEVICE_NAME.pattern}$")]
    profile: Text
    mqtt: Mqtt
    root: dict[str, Any]
    server_time_ms: Count
    resolved_profile: dict[str, Any] | None = None  # of a profile that no agent ships
    certificate: str | None = None  # PEM
    ca: str | None = None  # PEM, of the web server
    renew_at_s: Count = 0


def parse_code(text: str, server: str | None) -> Invitation:
    """``https://host:port/enroll#CODE.FINGERPRINT``, or a bare CODE or CODE.FINGERPRINT and ``--server``.

    Raises EnrolmentError.
    """
    text = text.strip()
    if "://" in text:
        page, _, code = text.partition("#")
        server = server or page.removesuffix("/").removesuffix("/enroll")
    else:
        code = text
    if not code or len(code) > 200 or not code.isprintable():
        raise EnrolmentError(
            "that is no enrolment code: copy the whole line that `edgepress device register` printed,"
            " in quotes"
        )
    if not server:
        raise EnrolmentError(
            "a bare code does not say where the server is: give it with --server https://HOST:PORT, or use"
            " the whole address that `edgepress device register` printed"
        )
    code, dot, fingerprint = code.partition(".")
    return Invitation(server.rstrip("/"), code, fingerprint.upper() if dot else None)


def check_server(url: str, *, insecure_http: bool) -> None:
    """Credentials travel in clear text only to this machine, or when asked to. Raises EnrolmentError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise EnrolmentError(f"{url!r} is no address of a server: {error}") from error
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise EnrolmentError(f"{url!r} is no address of a server: it looks like https://HOST:PORT")
    if parts.scheme == "http" and not insecure_http and not _is_loopback(host):
        raise EnrolmentError(
            f"{url} is not encrypted, and this device's credentials would travel in clear text: use its https://"
            " address, or --insecure-http in a network that you trust"
        )


def enroll(
    folder: Path,
    text: str,
    *,
    server: str | None,
    hardware: Hardware,
    ca: Path | None = None,
    insecure_http: bool = False,
    force: bool = False,
) -> Enrolment:
    """Enrol this device and store its identity. Raises EnrolmentError, StateFolderError."""
    invitation = parse_code(text, server)
    check_server(invitation.server, insecure_http=insecure_http)
    with StateFolder(folder):
        if is_enrolled(folder) and not force:
            raise EnrolmentError(_already(folder))
        pinned = _authority(invitation, ca)
        key, shown = new_device_key(), new_key()
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        request = _Request(
            invitation.code,
            base64.b64encode(public).decode("ascii"),
            hardware,
            __version__,
            certificate_request(shown),
        )
        answer = ask(invitation.server, "/enroll", request, _Answer, pinned)
        root = msgspec.json.encode(answer.root, order="deterministic")
        load_root(root)
        disk = Disk()
        try:
            # Whatever the server says about files of this device: it names them itself.
            mqtt = msgspec.structs.replace(answer.mqtt, certificate=None, key=None)
            if answer.certificate is not None:
                names = write_certificate(folder, disk, answer.certificate, shown)
                mqtt = msgspec.structs.replace(mqtt, certificate=names[0], key=names[1])
            enrolment = Enrolment(
                answer.device,
                answer.profile,
                invitation.server,
                mqtt,
                answer.server_time_ms // 1000,
                answer.resolved_profile,
                pinned or answer.ca,
                answer.renew_at_s,
            )
            write_enrolment(folder, disk, enrolment=enrolment, key=key, root=root)
        except OSError as error:
            raise StateFolderError(
                f"the server enrolled this device, but {folder} cannot be written ({error.strerror}):"
                " make room and enrol again with a new code"
            ) from error
    return enrolment


def _authority(invitation: Invitation, ca: Path | None) -> str | None:
    """PEM to trust from here on; None: the system's authorities. Raises EnrolmentError."""
    if ca is not None:
        return _read_ca(ca)
    if invitation.fingerprint is None:
        return None
    if not invitation.server.startswith("https"):
        raise EnrolmentError(
            f"the code names an authority, which {invitation.server} has no use for without TLS: use the"
            " https:// address that `edgepress device register` printed"
        )
    return fetch_authority(invitation.server, invitation.fingerprint)


def _read_ca(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(CA_MAX_BYTES + 1)
        if len(data) > CA_MAX_BYTES:
            raise EnrolmentError(f"{path} is too large to be a certificate")
        return data.decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise EnrolmentError(f"{path} cannot be used as certificate authority: {error}") from error


def _already(folder: Path) -> str:
    try:
        before = read_enrolment(folder)
    except EnrolmentError as error:
        return str(error)
    return (
        f"this device is already enrolled as {before.device} with {before.server}: use --force to enrol it"
        " again (a new identity), or --state for a second agent on this machine"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
