"""The addresses of this machine, as others may know it."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

import psutil

# Never asked: connecting a UDP socket sends nothing, it only makes the system choose the way out (RFC 5737).
_SOMEWHERE: Final = ("192.0.2.1", 9)
_WILDCARDS: Final = ("0.0.0.0", "::")  # noqa: S104 - recognized, not listened on


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name: it may be reachable from anywhere
        return False


def is_wildcard(host: str) -> bool:
    """Listening there means listening on every address of the machine."""
    return host in _WILDCARDS


def reached_at(host: str) -> str:
    """The address that others use when a server listens on ``host``.

    For a wildcard it is the address of the way out of this machine, else its name.
    """
    if not is_wildcard(host):
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(_SOMEWHERE)
            found = str(asked.getsockname()[0])
        except OSError:  # no way out: not on any network now
            return socket.gethostname()
    return found if not is_loopback(found) else socket.gethostname()


def own_addresses() -> list[str]:
    """The IP addresses of this machine's interfaces, loopback among them; link-local IPv6 left out."""
    found = set()
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            parsed = ipaddress.ip_address(address.address.partition("%")[0])
            if not parsed.is_link_local:
                found.add(str(parsed))
    return sorted(found)
