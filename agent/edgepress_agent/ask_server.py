"""One question to the server that this device belongs to, over HTTP: bounded, and in words when it fails."""

import ssl
import warnings
from typing import Any, Final, TypeVar

import msgspec

from edgepress_agent.errors import EnrolmentError
from edgepress_agent.tls import client_context, in_words
from edgepress_devices.enrolment_rules import fingerprint_fits, is_fingerprint

ANSWER_MAX_BYTES: Final = 1 << 20
CA_MAX_BYTES: Final = 65_536
TIMEOUT_S: Final = 20.0

Kind = TypeVar("Kind")


class _ErrorBody(msgspec.Struct):
    code: str = ""
    message: str = ""


class _ErrorAnswer(msgspec.Struct):
    error: _ErrorBody


class RefusedError(EnrolmentError):
    """The server answered, and the answer is no; ``code`` is the API's."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


def ask(server: str, path: str, question: msgspec.Struct, kind: type[Kind], ca: str | None) -> Kind:
    """POST to ``server``/api/v1``path``. ``ca``: PEM to trust, None = the system's authorities.

    Raises EnrolmentError (RefusedError where the server said no).
    """
    url = f"{server}/api/v1{path}"
    context = trusting(ca) if server.startswith("https") else None
    status, body = _exchange("POST", url, server, context, msgspec.json.encode(question), ANSWER_MAX_BYTES)
    if status != 200 or len(body) > ANSWER_MAX_BYTES:
        raise _refusal(status, body)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EnrolmentError(
            f"the answer from {url} is not that of an edgepress server ({error}); check the address"
        ) from error


def fetch_authority(server: str, fingerprint: str) -> str:
    """The authority of the server (PEM), believed because it has this fingerprint and for nothing else.

    Raises EnrolmentError.
    """
    if not is_fingerprint(fingerprint):
        raise EnrolmentError(
            "the fingerprint at the end of that address is damaged: copy the whole line that `edgepress"
            " device register` printed, in quotes"
        )
    from urllib3.exceptions import InsecureRequestWarning

    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE  # what comes is compared before anything is sent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InsecureRequestWarning)  # it is meant
        status, body = _exchange("GET", f"{server}/api/v1/ca.pem", server, unverified, None, CA_MAX_BYTES)
    try:
        pem = body.decode("ascii")
        der = ssl.PEM_cert_to_DER_cert(pem) if status == 200 else b""
    except ValueError:  # UnicodeDecodeError too
        der = b""
    if not fingerprint_fits(fingerprint, der):
        raise EnrolmentError(
            f"the server at {server} is not the one that this code is from: its authority has another"
            " fingerprint. Nothing was sent to it. Check the address; if it is right, somebody may stand in"
            " between, or the server lost its pki folder: ask its operator for a new code"
        )
    return ssl.DER_cert_to_PEM_cert(der)  # what was compared, and nothing that may stand after it


def trusting(ca: str | None) -> ssl.SSLContext:
    """Raises EnrolmentError."""
    try:
        return client_context(ca)
    except OSError as error:
        raise EnrolmentError(f"the certificate authority to be trusted cannot be used: {error}") from error


def _exchange(
    method: str, url: str, server: str, tls: ssl.SSLContext | None, body: bytes | None, most: int
) -> tuple[int, bytes]:
    """(status, at most ``most`` + 1 bytes)."""
    import urllib3  # megabytes that a device needs when it enrols and, years later, when it renews

    pool = urllib3.PoolManager(retries=False, timeout=TIMEOUT_S, ssl_context=tls)
    options: dict[str, Any] = {"preload_content": False, "redirect": False}
    try:
        response = pool.request(
            method, url, body=body, headers={"Content-Type": "application/json"} if body else {}, **options
        )
        return response.status, response.read(most + 1)
    except urllib3.exceptions.HTTPError as error:
        raise EnrolmentError(
            f"the server cannot be reached at {server} ({in_words(error)}): is it running, and is this the"
            " right address?"
        ) from error
    finally:
        pool.clear()


def _refusal(status: int, body: bytes) -> RefusedError:
    """What the server says, in its own words where it is an edgepress server."""
    try:
        error = msgspec.json.decode(body, type=_ErrorAnswer).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return RefusedError(
            f"the server answered with HTTP status {status}, which is not how an edgepress server answers:"
            " check the address",
            "unknown",
        )
    said = "".join(c for c in error.message[:500] if c.isprintable())
    return RefusedError(
        said or f"the server refuses this (HTTP status {status}): ask its operator for a new code", error.code
    )
