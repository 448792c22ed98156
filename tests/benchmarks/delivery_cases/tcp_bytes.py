"""How many bytes a TCP connection carried, as the kernel counted them: no proxy in the way.

NETLINK_SOCK_DIAG with INET_DIAG_INFO (Linux, sock_diag(7)); the offsets are those of ``struct tcp_info``.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import psutil

_SOCK_DIAG: Final = 4
_BY_FAMILY, _DUMP, _DONE = 20, 0x301, 3
_INFO: Final = 2  # INET_DIAG_INFO
_MESSAGE_BYTES: Final = 72  # struct inet_diag_msg
_ACKED_AT, _RECEIVED_AT = 120, 128  # tcpi_bytes_acked, tcpi_bytes_received
ESTABLISHED: Final = 1


@dataclass(frozen=True)
class Carried:
    local_port: int
    remote_port: int
    sent_bytes: int  # acknowledged by the other side
    received_bytes: int


def of_process(process: psutil.Process, remote_port: int) -> Carried:
    """Of the process's one connection to this port. Raises LookupError."""
    mine = {c.laddr.port for c in process.net_connections("tcp") if c.raddr and c.raddr.port == remote_port}
    for carried in connections():
        if carried.local_port in mine and carried.remote_port == remote_port:
            return carried
    raise LookupError(f"process {process.pid} has no connection to port {remote_port}")


def connections() -> Iterator[Carried]:
    """All established IPv4 connections of this machine."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as netlink:
        socket_id = struct.pack("!HH16s16sIII", 0, 0, b"", b"", 0, 0xFFFFFFFF, 0xFFFFFFFF)
        request = struct.pack(
            "=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 1 << (_INFO - 1), 0, 1 << ESTABLISHED
        )
        head = struct.pack("=IHHII", 16 + len(request) + len(socket_id), _BY_FAMILY, _DUMP, 1, 0)
        netlink.send(head + request + socket_id)
        while True:
            answer, at = netlink.recv(1 << 18), 0
            while at < len(answer):
                length, kind = struct.unpack_from("=IH", answer, at)
                if kind == _DONE:
                    return
                found = _read(answer[at + 16 : at + length])
                if found is not None:
                    yield found
                at += (length + 3) & ~3


def _read(message: bytes) -> Carried | None:
    local, remote = struct.unpack_from("!HH", message, 4)
    at = _MESSAGE_BYTES
    while at + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        if kind == _INFO and length >= 4 + _RECEIVED_AT + 8:
            sent, received = struct.unpack_from("=QQ", message, at + 4 + _ACKED_AT)
            return Carried(local, remote, sent, received)
        at += (length + 3) & ~3
    return None
