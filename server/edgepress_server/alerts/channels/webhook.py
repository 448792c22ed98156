"""POSTs a notice to an address that an admin gave. What that address can reach is bounded.

* http(s) only, no redirects are followed, the answer is read to ANSWER_BYTES.
* The name is looked up once, every address that it has must be public (unless ``allow_private``), and the
  connection goes to the very address that was checked: a name that points elsewhere a moment later (DNS
  rebinding) changes nothing. TLS is verified for the name.
* Signed: ``Edgepress-Signature: t=SECONDS,v1=HEX``, HMAC-SHA256 of ``SECONDS.`` and the body under the
  channel's secret. Receivers refuse old times and ids (``Edgepress-Delivery``) that they have seen.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
import time
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import urllib3

from edgepress_devices import __version__
from edgepress_server.alerts.channels.bodies import Template, body
from edgepress_server.alerts.channels.delivery import ANSWER_MAX, ANSWER_S, CONNECT_S, DeliveryError
from edgepress_server.errors import InvalidInputError

ANSWER_BYTES: Final = 8_192
URL_MAX: Final = 2_000
SIGNATURE_HEADER: Final = "Edgepress-Signature"
DELIVERY_HEADER: Final = "Edgepress-Delivery"
_FOR_GOOD: Final = frozenset({400, 401, 403, 404, 405, 410, 413, 414, 415, 422})


def check_url(url: str) -> SplitResult:
    """Raises InvalidInputError."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if len(url) > URL_MAX or parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise InvalidInputError("bad_url", f"{url[:80]!r} is no web address; give https://host/path.")
    if not url.isascii():  # header lines and certificates know the ASCII form alone
        raise InvalidInputError(
            "bad_url",
            f"{url[:80]!r} has other letters than ASCII: write the host as xn--..., the rest as %XX.",
        )
    if parts.username or parts.password:
        raise InvalidInputError(
            "bad_url", "Put no password into the address; sign with the channel's secret."
        )
    return parts


def signature(secret: str, at_s: int, sent: bytes) -> str:
    """What the receiver computes, too, and compares."""
    digest = hmac.new(secret.encode(), f"{at_s}.".encode() + sent, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


def send(options: dict[str, Any], secret: str | None, notice: dict[str, Any]) -> str:
    """Bring it there; what was answered. Raises DeliveryError."""
    parts = urlsplit(options["url"])
    template: Template = options.get("template", "edgepress")
    sent = body(template, notice)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"edgepress/{__version__}",
        DELIVERY_HEADER: notice["id"],
        "Host": _ascii(parts.netloc),
    }
    if secret:
        headers[SIGNATURE_HEADER] = signature(secret, int(time.time()), sent)
    address = reachable(parts, allow_private=bool(options.get("allow_private")))
    with _pool(parts, address) as pool:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            response = pool.request(
                "POST",
                target,
                body=sent,
                headers=headers,
                redirect=False,
                preload_content=False,
                retries=False,
                timeout=urllib3.Timeout(connect=CONNECT_S, read=ANSWER_S),
            )
            try:
                raw = response.read(ANSWER_BYTES)
            finally:
                response.close()
        except urllib3.exceptions.HTTPError as error:
            raise DeliveryError(f"{parts.hostname} could not be reached: {_in_words(error)}") from error
    said = f"{response.status} {response.reason or ''}".strip()
    text = " ".join(raw.decode("utf-8", "replace").split())[:ANSWER_MAX]
    if not 200 <= response.status < 300:
        moved = "; redirects are not followed" if 300 <= response.status < 400 else ""
        raise DeliveryError(
            f"it answered {said}{moved}: {text}".rstrip(": "), for_good=response.status in _FOR_GOOD
        )
    return f"{said}: {text}".rstrip(": ")


def reachable(parts: SplitResult, *, allow_private: bool) -> str:
    """The address to connect to. Raises DeliveryError."""
    host = parts.hostname or ""
    try:
        found = socket.getaddrinfo(host, parts.port or _default_port(parts), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DeliveryError(f"there is no host {host}") from error
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    for address in addresses:
        if not allow_private and not is_public(address):
            raise DeliveryError(
                f"{host} is {address}, on this machine or a private network. An admin may allow that for the"
                " channel (allow_private)",
                for_good=True,
            )
    return addresses[0]


def _ascii(netloc: str) -> str:
    """Raises DeliveryError."""
    if not netloc.isascii():
        raise DeliveryError(f"{netloc[:80]} has other letters than ASCII: write it as xn--...", for_good=True)
    return netloc


def is_public(address: str) -> bool:
    """Whether an address is of the internet at large, also where IPv6 carries an IPv4 one."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def _default_port(parts: SplitResult) -> int:
    return 443 if parts.scheme == "https" else 80


def _pool(parts: SplitResult, address: str) -> urllib3.HTTPConnectionPool:
    """Connects to the address, and speaks TLS with the name."""
    port = parts.port or _default_port(parts)
    if parts.scheme == "http":
        return urllib3.HTTPConnectionPool(address, port, maxsize=1)
    return urllib3.HTTPSConnectionPool(
        address,
        port,
        maxsize=1,
        cert_reqs="CERT_REQUIRED",
        assert_hostname=parts.hostname,
        server_hostname=parts.hostname,
    )


def _in_words(error: urllib3.exceptions.HTTPError) -> str:
    """Without the class names and addresses of objects that libraries put into messages."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    match error:
        case urllib3.exceptions.TimeoutError():
            return "it did not answer in time"
        case urllib3.exceptions.SSLError():
            return f"its certificate is not trusted ({error.args[0]})"[:ANSWER_MAX]
    return "the connection broke off"
