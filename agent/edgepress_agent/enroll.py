"""Trading the one-time code for this device's identity, once, over HTTP."""

import base64
import ipaddress
import ssl
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
import urllib3
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgepress_agent import __version__
from edgepress_agent.durable import Disk
from edgepress_agent.enrolment import Enrolment, Mqtt, is_enrolled, read_enrolment, write_enrolment
from edgepress_agent.errors import EnrolmentError, StateFolderError
from edgepress_agent.seal import new_device_key
from edgepress_agent.state_folder import StateFolder
from edgepress_agent.trust import load_root
from edgepress_devices.protocol import DEVICE_NAME, Count, Hardware, Text

ANSWER_MAX_BYTES: Final = 1 << 20
TIMEOUT_S: Final = 20.0


class _Request(msgspec.Struct):
    code: str
    public_key: str  # base64 of the raw X25519 public key
    hardware: Hardware
    agent_version: str


class _Answer(msgspec.Struct):
    device: Annotated[str, msgspec.Meta(pattern=rf"^{DEVICE_NAME.pattern}$")]
    profile: Text
    mqtt: Mqtt
    root: dict[str, Any]
    server_time_ms: Count
    resolved_profile: dict[str, Any] | None = None  # of a profile that no agent ships


class _ErrorBody(msgspec.Struct):
    code: str = ""
    message: str = ""


class _ErrorAnswer(msgspec.Struct):
    error: _ErrorBody


def parse_code(text: str, server: str | None) -> tuple[str, str]:
    """(server URL, code) from ``https://host:port/enroll#CODE``, or from a bare code and ``--server``.

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
    return server.rstrip("/"), code


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
    url, code = parse_code(text, server)
    check_server(url, insecure_http=insecure_http)
    with StateFolder(folder):
        if is_enrolled(folder) and not force:
            raise EnrolmentError(_already(folder))
        key = new_device_key()
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        request = _Request(code, base64.b64encode(public).decode("ascii"), hardware, __version__)
        answer = _post(f"{url}/api/v1/enroll", request, ca)
        root = msgspec.json.encode(answer.root, order="deterministic")
        load_root(root)
        enrolment = Enrolment(
            answer.device,
            answer.profile,
            url,
            answer.mqtt,
            answer.server_time_ms // 1000,
            answer.resolved_profile,
        )
        try:
            write_enrolment(folder, Disk(), enrolment=enrolment, key=key, root=root)
        except OSError as error:
            raise StateFolderError(
                f"the server enrolled this device, but {folder} cannot be written ({error.strerror}):"
                " make room and enrol again with a new code"
            ) from error
    return enrolment


def _post(url: str, request: _Request, ca: Path | None) -> _Answer:
    tls = _tls(ca) if url.startswith("https") else None
    pool = urllib3.PoolManager(retries=False, timeout=TIMEOUT_S, ssl_context=tls)
    try:
        response = pool.request(
            "POST",
            url,
            body=msgspec.json.encode(request),
            headers={"Content-Type": "application/json"},
            preload_content=False,
            redirect=False,
        )
        body = response.read(ANSWER_MAX_BYTES + 1)
    except urllib3.exceptions.HTTPError as error:
        raise EnrolmentError(
            f"the server cannot be reached at {url.removesuffix('/api/v1/enroll')} ({_cause(error)}): is it"
            " running, and is this the right address?"
        ) from error
    finally:
        pool.clear()
    if response.status != 200 or len(body) > ANSWER_MAX_BYTES:
        raise EnrolmentError(_refusal(response.status, body))
    try:
        return msgspec.json.decode(body, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EnrolmentError(
            f"the answer from {url} is not that of an edgepress server ({error}); check the address"
        ) from error


def _refusal(status: int, body: bytes) -> str:
    """What the server says, in its own words where it is an edgepress server."""
    try:
        error = msgspec.json.decode(body, type=_ErrorAnswer).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return (
            f"the server answered with HTTP status {status}, which is not how an edgepress server answers:"
            " check the address"
        )
    said = "".join(c for c in error.message[:500] if c.isprintable())
    return said or f"the server refuses this code (HTTP status {status}): ask its operator for a new one"


def _already(folder: Path) -> str:
    try:
        before = read_enrolment(folder)
    except EnrolmentError as error:
        return str(error)
    return (
        f"this device is already enrolled as {before.device} with {before.server}: use --force to enrol it"
        " again (a new identity), or --state for a second agent on this machine"
    )


def _tls(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise EnrolmentError(f"{ca} cannot be used as certificate authority: {error}") from error


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None or isinstance(getattr(error, "reason", None), BaseException):
        error = getattr(error, "reason", None) or error.__cause__ or error
        if not isinstance(error, BaseException):
            break
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:200]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
