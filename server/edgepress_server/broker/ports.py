"""Ports: found to be free, or said to be in use in a sentence, before anything is started."""

from __future__ import annotations

import errno
import socket

from edgepress_server.errors import ConflictError, InvalidInputError


def listen(host: str, port: int, option: str, purpose: str) -> socket.socket:
    """A listening socket; port 0 draws a free one. ``option``: what a person would set instead, "--port".

    Raises ConflictError when the port is in use, InvalidInputError when the address cannot be listened on.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise InvalidInputError(
            "bad_host",
            f"{host!r} is no address of this machine ({error.strerror}). Use 127.0.0.1 or one that it has.",
        ) from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConflictError(
                "port_in_use",
                f"Port {port} on {host}, for {purpose}, is in use by another program. Stop that program, or "
                f"choose another port, for example {option} {port + 1}.",
            ) from error
        raise InvalidInputError(
            "cannot_listen",
            f"{purpose[:1].upper()}{purpose[1:]} cannot listen on {host} port {port}: {error.strerror}. "
            f"Choose another address or {option}.",
        ) from error
    return listener


def free_port(host: str, port: int, option: str, purpose: str) -> int:
    """The port itself, or a free one for 0, after seeing that it can be listened on. Raises as `listen`."""
    with listen(host, port, option, purpose) as listener:
        return int(listener.getsockname()[1])
