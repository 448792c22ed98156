"""A real installation for the stories: `edgepress serve` and agents as processes, used by CLI and API."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from edgepress_server.cli.client import Api

Value = TypeVar("Value")

EDGEPRESS = [sys.executable, "-m", "edgepress_server.cli.main"]
AGENT = [sys.executable, "-m", "edgepress_agent"]
# One thread per process: two cores carry the server, the agents and the browser.
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def wait_for(what: str, ready: Callable[[], Value | None], seconds: float = 60.0) -> Value:
    """Poll until ``ready`` gives something; an assertion error that names ``what`` otherwise."""
    deadline = time.monotonic() + seconds
    while True:
        value = ready()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.05)


class Installation:
    """One server folder and any number of agents. ``close`` ends what still runs."""

    def __init__(self, folder: Path, broker: str = "embedded") -> None:
        self.folder = folder
        self.data_dir = folder / "server"
        self.broker = broker
        self.agent_command = AGENT
        self.password = ""
        self.url = ""
        self._server: subprocess.Popen[bytes] | None = None
        self._agents: dict[str, subprocess.Popen[bytes]] = {}
        self._env = ENV

    def start_server(self) -> None:
        ready = self.data_dir / "ready.json"
        ready.unlink(missing_ok=True)
        command = [*EDGEPRESS, "serve", "--data", str(self.data_dir), "--broker", self.broker]
        command += ["--port", "0", "--mqtt-port", "0"]
        self._server = self._start("server", command)

        def is_ready() -> dict[str, Any] | None:
            assert self._server is not None
            assert self._server.poll() is None, f"the server ended:\n{self.log('server')}"
            try:
                found: dict[str, Any] = json.loads(ready.read_text())
            except (FileNotFoundError, ValueError):
                return None
            return found

        self.url = wait_for("the server's start", is_ready)["url"]
        if not self.password:
            lines = [line.strip() for line in self.log("server").splitlines()]
            self.password = next(
                li.split(":", 1)[1].strip() for li in lines if li.lower().startswith("password")
            )
            token = Api(self.url, None).sign_in("admin", self.password).post("/tokens", {"name": "tests"})
            self._env = {**ENV, "EDGEPRESS_URL": self.url, "EDGEPRESS_TOKEN": token["token"]}

    @property
    def api(self) -> Api:
        return Api(self.url, self._env["EDGEPRESS_TOKEN"])

    def kill_server(self) -> None:
        """kill -9 of the supervisor: what a crash, the OOM killer or an impatient operator does."""
        assert self._server is not None
        os.kill(self._server.pid, signal.SIGKILL)
        self._server.wait()

    def cli(self, *args: str) -> Any:
        """``edgepress ARGS --json`` as a person's shell runs it."""
        done = subprocess.run(
            [*EDGEPRESS, *args, "--json"],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"edgepress {' '.join(args)} failed:\n{done.stderr}\n{done.stdout}"
        return json.loads(done.stdout)

    def enrol(self, name: str, profile: str) -> None:
        made = self.cli("device", "register", name, "--profile", profile)
        done = subprocess.run(
            [*self.agent_command, "enroll", made["enrol_url"], "--state", str(self.agent_dir(name))],
            env=ENV, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def agent_dir(self, name: str) -> Path:
        return self.folder / name

    def start_agent(self, name: str) -> None:
        command = [*self.agent_command, "run", "--state", str(self.agent_dir(name)), "--http-port", "0"]
        self._agents[name] = self._start(name, command)

    def kill_agent(self, name: str) -> None:
        process = self._agents.pop(name)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def agent_pid(self, name: str) -> int:
        return self._agents[name].pid

    def agent_url(self, name: str) -> str:
        found = wait_for(f"{name}'s local address", lambda: self._read(self.agent_dir(name) / "http.json"))
        return str(found["url"])

    def device(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"/devices/{name}")
        return found

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        processes = [*self._agents.values(), *([self._server] if self._server else [])]
        for process in processes:
            if process.poll() is None:
                process.terminate()
        for process in processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, env=ENV, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @staticmethod
    def _read(path: Path) -> Any:
        try:
            return json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            return None
