"""A real `edgepress-agent` process for the stories, and the commands a person types around it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
from protocol_server import ProtocolServer

from edgepress_agent import connect
from edgepress_agent.client import Client

AGENT = [sys.executable, "-c", "from edgepress_agent.cli import main; main()"]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`edgepress-agent ARGUMENTS`, to its end."""
    return subprocess.run([*AGENT, *arguments], capture_output=True, text=True, timeout=60, check=False)


class AgentProcess:
    """One enrolled device; start it, kill it, start it again."""

    def __init__(
        self, server: ProtocolServer, folder: Path, *, device: str = "pi-4", profile: str = "x86-pc"
    ) -> None:
        self.server = server
        self.device = device
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder.with_name(f"{folder.name}.log")
        server.codes[f"CODE-{device}"] = device, profile
        result = command("enroll", f"{server.url}/enroll#CODE-{device}", "--state", str(folder))
        assert result.returncode == 0, result.stderr

    def start(self, program: list[str] | None = None) -> None:
        """``program`` instead of `edgepress-agent`: gets the state folder as its last argument."""
        assert self._process is None
        run = (
            [*program, str(self.folder)]
            if program
            else [*AGENT, "run", "--http-port", "0", "--state", str(self.folder)]
        )
        with self._log.open("ab") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen(run, stdout=log, stderr=log, env=environment)

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self.wait()

    def wait(self, seconds: float = 30.0) -> int:
        """The exit status, once the process ended."""
        assert self._process is not None
        status = self._process.wait(seconds)
        self._process = None
        return status

    def terminate(self) -> tuple[int, float]:
        """SIGTERM: (exit status, seconds it took)."""
        assert self._process is not None
        began = time.monotonic()
        self._process.terminate()
        return self.wait(), time.monotonic() - began

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text()

    def client(self) -> Client:
        """Once its HTTP server answers and what it ran before is loaded again."""

        def written() -> str | None:
            try:
                entry = msgspec.json.decode((self.folder / "http.json").read_bytes())
            except (OSError, msgspec.MsgspecError):
                return None
            return str(entry["url"]) if entry["pid"] == self.pid else None

        client = connect(self.server.wait_for(written))
        self.server.wait_for(lambda: not client.status()["starting"])
        return client
