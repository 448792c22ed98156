"""The agent's connection against a broker that means harm: a socket that speaks as much MQTT as it takes."""

import socket
import threading

import pytest

from edgepress_agent.enrolment import Mqtt
from edgepress_agent.link import PACKET_MAX_BYTES, Link

CONNACK = bytes([0x20, 2, 0, 0])
PUBLISH_OF_256_MB = bytes([0x30, 0xFF, 0xFF, 0xFF, 0x7F])


class EndlessBroker:
    """Lets everybody in, announces the largest packet that MQTT knows, and sends it for as long as it can."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sent_bytes = 0
        self.hung_up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(10)

    def _run(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(10)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
            connection.recv(4096)
            connection.sendall(CONNACK + PUBLISH_OF_256_MB)
            try:
                while self.sent_bytes < 64 << 20:
                    self.sent_bytes += connection.send(bytes(65_536))
            except OSError:
                self.hung_up.set()


@pytest.mark.attack("endless data", "a packet of 256 MB from the broker is not read: the agent hangs up")
def test_a_packet_that_is_too_large_is_not_read() -> None:
    broker = EndlessBroker()
    came: list[bytes] = []
    link = Link(
        "pi-4",
        Mqtt("127.0.0.1", broker.port),
        received=lambda _topic, payload: came.append(payload),
        up=lambda: None,
        down=lambda: None,
    )
    thread = threading.Thread(target=link.run, daemon=True)
    thread.start()
    assert broker.hung_up.wait(15), f"the agent took {broker.sent_bytes} bytes"
    link.close(0.1)
    thread.join(10)
    broker.close()
    assert not thread.is_alive()
    assert came == []
    assert broker.sent_bytes < 16 << 20  # what the kernel's buffers hold
    assert PACKET_MAX_BYTES < 1 << 20
