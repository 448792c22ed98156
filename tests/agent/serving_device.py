"""The agent's real engine, installer and local HTTP server in this process, without a broker."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from edgepress_agent.durable import Disk
from edgepress_agent.engine import Engine
from edgepress_agent.installer import Installer
from edgepress_agent.job import Fetch, Step, Wait
from edgepress_agent.journal import Journal
from edgepress_agent.runtime import Model, Runtime
from edgepress_agent.serve_http import LocalServer
from edgepress_agent.trust import Accepted
from edgepress_devices.protocol import CHUNK_PLAIN_BYTES, Shadow, Statement, Want, chunk_count

NAME = "digits"


class ServingDevice:
    """``want`` installs an artifact, or none, as a signed want would; ``switches`` counts what took over."""

    def __init__(self, folder: Path) -> None:
        self.runtime = Runtime()
        self.installer: Installer[Model] = Installer(
            folder,
            disk=Disk(),
            journal=Journal(folder / "journal", Disk()),
            engine=Engine(self.runtime, 1),
            check_room=lambda *_: None,
        )
        self.http = LocalServer(0, self.runtime, dict)
        self.switches = 0
        self._counter = 0
        self._now_s = 0.0
        self._data = b""

    def __enter__(self) -> Self:
        self.installer.start("me")
        self.runtime.starting = False
        self._thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.http.shutdown()
        self._thread.join()
        self.http.server_close()

    def want(self, data: bytes | None, shadow: Shadow | None = None) -> str:
        """The step that it ends in."""
        self.accept(data, shadow)
        self.work(lambda: False)
        return self.installer.journal.record.step

    def accept(self, data: bytes | None, shadow: Shadow | None = None) -> None:
        self._counter += 1
        want = Want("pi-4", 1000 + self._counter)
        statement = None
        if data is not None:
            self._data = data
            want.digest, want.size = hashlib.sha256(data).hexdigest(), len(data)
            want.chunks, want.shadow = chunk_count(len(data)), shadow
            statement = Statement("x86-pc", NAME, want.chunks)
        self.installer.accept(Accepted(self._counter, want, 10**10, statement, self._counter))

    def work(self, enough: Callable[[], bool]) -> Step:
        """Until it rests, or ``enough``. In shadow it looks every 50 ms of real time."""
        while True:
            before = self.runtime.model()
            step = self.installer.advance(self._now_s, 2000)
            self.switches += self.runtime.model() is not before
            if enough():
                return step
            if isinstance(step, Wait):
                if self.installer.have().shadow != "running":
                    return step
                threading.Event().wait(0.05)
            if isinstance(step, Fetch):
                fetch = self.installer.fetch
                assert fetch is not None
                pieces = [
                    (n, self._data[n * CHUNK_PLAIN_BYTES :][:CHUNK_PLAIN_BYTES]) for n in fetch.missing()
                ]
                self.installer.store_chunks(pieces, self._now_s)

    def look(self) -> Step:
        """A minute later."""
        self._now_s += 60
        return self.work(lambda: False)
