"""The agent's connection over TLS, written to by one thread while another reads: nothing is lost or torn."""

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from edgepress_agent.enrolment import Mqtt
from edgepress_agent.link import Link
from edgepress_server.broker.ports import free_port
from edgepress_server.pki import ensure, trusted_pem
from edgepress_server.settings import Settings

pytestmark = pytest.mark.e2e

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
MESSAGES = 2000
AHEAD = 200  # sent and not come back


@pytest.mark.skipif(MOSQUITTO is None, reason="no mosquitto here; Debian: sudo apt-get install mosquitto")
def test_publishing_while_messages_arrive_tears_no_record(tmp_path: Path) -> None:
    """OpenSSL allows one thread at a time; two gave "bad record mac" within the first hundred messages."""
    settings = Settings(data_dir=tmp_path, tls=True)
    ensure(settings)
    port = free_port("127.0.0.1", 0, "--port", "the test")
    (tmp_path / "conf").write_text(
        f"user {os.environ.get('USER', 'root')}\nlistener {port} 127.0.0.1\nallow_anonymous true\n"
        f"certfile {settings.pki_dir}/server.pem\nkeyfile {settings.pki_dir}/server.key\n"
        "max_queued_messages 10000\n"
    )
    came, losses, is_up, arrived = 0, 0, threading.Event(), threading.Semaphore(AHEAD)

    def received(_topic: str, _payload: bytes) -> None:
        nonlocal came
        came += 1
        arrived.release()

    def down() -> None:
        nonlocal losses
        losses += 1

    broker = subprocess.Popen([MOSQUITTO or "", "-c", tmp_path / "conf"], stderr=subprocess.DEVNULL)
    address = Mqtt("127.0.0.1", port, True, ca=trusted_pem(settings))
    link = Link("press", address, received=received, up=is_up.set, down=down)
    thread = threading.Thread(target=link.run, daemon=True)
    try:
        thread.start()
        assert is_up.wait(30)
        link.subscribe(["round/trip"])
        sent, until_s = 0, time.monotonic() + 30
        while sent < MESSAGES and time.monotonic() < until_s and losses == 0:
            assert arrived.acquire(timeout=30), f"{came} of {sent} came back"
            sent += link.publish("round/trip", b"z" * 300)
        for _ in range(AHEAD):
            assert arrived.acquire(timeout=30), f"{came} of {sent} came back"
        assert (came, losses) == (MESSAGES, 0)
    finally:
        link.close(1.0)
        thread.join(10)
        broker.terminate()
        broker.wait(10)
