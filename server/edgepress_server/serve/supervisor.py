"""The supervisor: starts the roles, starts again what dies, stops them in order. It does no work of its own.

    stopped --start--> running --exits--> waiting (0.5 s, doubling to 30 s) --> running
                       running for 60 s: the next wait is short again
    before everything was ready once: a role that fails START_TRIES times ends the start, with its last words

Whatever a role started dies with it: it leads a process group, which is ended before the role starts again.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

from edgepress_devices import __version__
from edgepress_server.errors import ServerError, StoreError
from edgepress_server.files import replace_file
from edgepress_server.pki import ensure, local_context, trusted_fingerprint
from edgepress_server.serve.daily_backup import DailyBackup
from edgepress_server.serve.first_start import Prepared, prepare
from edgepress_server.settings import Settings, is_loopback, to_json
from edgepress_server.store.facts import HEARTBEAT_MS, RoleName
from edgepress_server.web_stamp import missing_reason

log = logging.getLogger(__name__)

POLL_S: Final = 0.1
READY_S: Final = 120.0
EXTERNAL_BROKER_S: Final = 10.0  # then the server is ready without it, says so, and goes on trying
STOP_S: Final = 8.0
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MOST_S: Final = 30.0
STEADY_S: Final = 60.0
START_TRIES: Final = 3
RENEWAL_S: Final = 3600.0  # between two looks at what certificates are due
LOG_MAX_BYTES: Final = 16 * 1024 * 1024


class StartError(ServerError):
    """The server did not come up; the message has the last words of what failed."""


class RoleProcess:
    """One role: its process while it runs, and when to start it again."""

    def __init__(self, name: RoleName, settings: Settings, pass_fds: Sequence[int] = ()) -> None:
        self.name = name
        self.failures = 0  # in a row
        self.next_start = 0.0
        self._settings = settings
        self._pass_fds = tuple(pass_fds)
        self._process: subprocess.Popen[bytes] | None = None
        self._started: float | None = None  # None: its turn has not come yet

    @property
    def log_file(self) -> Path:
        return self._settings.log_dir / f"{self.name}.log"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def is_due(self) -> bool:
        """It ran, it does not, and it has waited long enough."""
        return self._started is not None and self._process is None and time.monotonic() >= self.next_start

    def start(self) -> None:
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_MAX_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        command = [sys.executable, "-m", "edgepress_server.serve.role", self.name, *map(str, self._pass_fds)]
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # first the settings, then the lifeline
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=self._pass_fds,
                start_new_session=True,  # its own group; Ctrl-C reaches only the supervisor
            )
        self._started = time.monotonic()
        stdin = self._process.stdin
        if stdin is not None:
            try:
                stdin.write(to_json(self._settings) + b"\n")
                stdin.flush()
            except BrokenPipeError:  # it has died already; seen at the next look
                pass

    def reap(self) -> int | None:
        """The exit code when the process has ended since the last look; ends what it left behind."""
        process = self._process
        if process is None or process.poll() is None:
            return None
        self._end_group(process)
        self._process = None
        lasted_s = time.monotonic() - (self._started or 0.0)
        self.failures = 1 if lasted_s > STEADY_S else self.failures + 1
        wait_s = min(BACKOFF_FIRST_S * 2 ** (self.failures - 1), BACKOFF_MOST_S)
        self.next_start = time.monotonic() + wait_s
        return process.returncode

    def terminate(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def finish(self, until: float) -> None:
        """Wait for its end, and insist when the time is over."""
        process = self._process
        if process is None:
            return
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("%s did not stop in time", self.name)
        self._end_group(process)
        process.wait()
        self._process = None

    def last_words(self) -> str:
        """The last line of its log: where a program names its error."""
        try:
            with self.log_file.open("rb") as file:
                file.seek(max(0, self.log_file.stat().st_size - 8192))
                lines = file.read().decode("utf-8", "replace").split("\n")
        except OSError as error:
            return f"(its log cannot be read: {error})"
        return next((line.strip() for line in reversed(lines) if line.strip()), "(it wrote nothing)")

    @staticmethod
    def _end_group(process: subprocess.Popen[bytes]) -> None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # nobody left in it
            pass
        if process.stdin is not None:
            process.stdin.close()


class Supervisor:
    def __init__(self, prepared: Prepared, stop: threading.Event) -> None:
        self._settings = prepared.settings
        self._store = prepared.store
        self._stop = stop
        self._was_ready = False
        self._next_beat = 0.0
        self._next_renewal = time.monotonic() + RENEWAL_S
        self._problems: list[str] = []  # with the broker, as told
        self._started_at = self._store.now_ms()
        names: list[RoleName] = ["link", "web", "worker"]
        if self._settings.broker != "external":
            names.insert(0, "broker")  # first to start, last to stop
        self._backup = DailyBackup(self._store.database.path, self._settings.backups, stop, tell)
        fd = prepared.web.fileno()
        self._roles = [RoleProcess(n, self._settings, [fd] if n == "web" else []) for n in names]

    def run(self) -> None:
        """Until told to stop. Raises StartError when the server does not come up."""
        try:
            for role in self._roles:
                role.start()
            self._wait_until_ready()
            self._backup.start()
            while not self._stop.wait(POLL_S):
                self._look_after_roles()
                if time.monotonic() >= self._next_beat:
                    self._beat()
                if time.monotonic() >= self._next_renewal:
                    self._renew_certificates()
        finally:
            self._stop.set()
            self._stop_all()
            self._backup.join()

    def _beat(self) -> None:
        """The broker's sign of life, which it cannot write itself."""
        self._next_beat = time.monotonic() + HEARTBEAT_MS / 1000
        self._tell_problems()
        if any(role.name == "broker" and role.is_running for role in self._roles):
            try:
                self._store.facts.heartbeat("broker")
            except ServerError as error:  # busy or full: the next one may succeed
                log.warning("no sign of life written: %s", error)

    def _wait_until_ready(self) -> None:
        started = time.monotonic()
        while not self._stop.is_set():
            self._look_after_roles()
            missing = self._missing()
            waited_s = time.monotonic() - started
            if missing == ["broker"] and self._tell_problems():
                missing = []
            if missing == ["broker"] and self._settings.broker == "external" and waited_s > EXTERNAL_BROKER_S:
                tell(
                    f"Note: the MQTT broker {self._settings.mqtt_host}:{self._settings.mqtt_port} does not "
                    "answer yet. Devices wait until it does."
                )
                missing = []
            if not missing:
                self._say_ready()
                return
            if waited_s > READY_S:
                raise StartError(
                    "not_ready",
                    f"Not ready after {READY_S:.0f} s: {', '.join(missing)} missing. The logs are in "
                    f"{self._settings.log_dir}.",
                )
            self._stop.wait(POLL_S)

    def _tell_problems(self) -> bool:
        """What the link finds wrong with the broker, once; True when there is something."""
        try:
            link = self._store.facts.role("link")
        except StoreError:
            return False
        problems = [] if link is None or link["at"] < self._started_at else list(link.get("problems", []))
        for problem in problems:
            if problem not in self._problems:
                tell(f"Note: {problem}")
        self._problems = problems
        return bool(problems)

    def _missing(self) -> list[str]:
        """What does not answer yet. A sign of life of an earlier run does not count."""
        missing = [] if self._web_answers() else ["web"]
        try:
            link, worker = self._store.facts.role("link"), self._store.facts.role("worker")
        except StoreError:  # busy with its first migration
            return [*missing, "store"]
        for name, life in (("link", link), ("worker", worker)):
            if life is None or life["at"] < self._started_at:
                missing.append(name)
        if "link" not in missing and link is not None and not link.get("mqtt_connected"):
            missing.append("broker")
        return missing

    def _web_answers(self) -> bool:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._settings.host, self._settings.host)  # noqa: S104 - asked, not listened on
        try:
            connection = self._connection(host)
        except StoreError:  # the certificate is being renewed
            return False
        try:
            connection.request("GET", "/api/v1/health")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _connection(self, host: str) -> http.client.HTTPConnection:
        if not self._settings.tls:
            return http.client.HTTPConnection(host, self._settings.port, timeout=2.0)
        context = local_context(self._settings)
        return http.client.HTTPSConnection(host, self._settings.port, timeout=2.0, context=context)

    def _renew_certificates(self) -> None:
        """What is due is made anew; web server and broker see the new files by themselves."""
        self._next_renewal = time.monotonic() + RENEWAL_S
        try:
            changed = ensure(self._settings, self._store.devices.certificates.revoked())
        except (
            ServerError
        ) as error:  # a full disk, or a pair brought along that does not fit: the old serves on
            tell(f"Note: certificates could not be renewed: {error}")
            return
        if changed:
            log.info("certificates renewed: %s", ", ".join(changed))

    def _say_ready(self) -> None:
        self._was_ready = True
        for role in self._roles:
            role.failures = 0
        ready = {"url": self._settings.url, "mqtt_port": self._settings.mqtt_port, "pid": os.getpid()}
        replace_file(self._settings.data_dir / "ready.json", json.dumps(ready).encode() + b"\n")
        web_ui = missing_reason()
        if web_ui is not None:
            tell(f"Note: {web_ui}")
        for note in self._notes():
            tell(f"Note: {note}")
        tell(f"edgepress is ready: {self._settings.url}")

    def _notes(self) -> list[str]:
        """What a person should know about how this server is reached."""
        settings, notes = self._settings, []
        beyond = not is_loopback(settings.host)
        if settings.insecure_http and not settings.tls:
            notes.append(
                "INSECURE: passwords, tokens and device credentials travel in clear text (--insecure-http). "
                "Anyone in the network can read them and take them over."
            )
        if settings.tls and settings.tls_cert is None:
            notes.append(
                f"browsers do not know this server's own authority; import {settings.pki_dir / 'ca.pem'} "
                f"there, or bring a certificate (--tls-cert). Command line: edgepress login --url "
                f"{settings.url} --ca ca.pem. Its fingerprint: {trusted_fingerprint(settings)}"
            )
        if beyond and settings.broker == "embedded":
            notes.append(
                "the embedded broker listens on this machine only: for devices elsewhere use --broker "
                "mosquitto or --broker external."
            )
        return notes

    def _look_after_roles(self) -> None:
        for role in self._roles:
            code = role.reap()
            if code is not None:
                self._report(role, code)
            if role.is_due and not self._stop.is_set():
                role.start()

    def _report(self, role: RoleProcess, code: int) -> None:
        if not self._was_ready and role.failures >= START_TRIES:
            raise StartError(
                "role_fails",
                f"The {role.name} process does not stay up. Its last words: {role.last_words()}\n"
                f"All of them are in {role.log_file}.",
            )
        how = f"signal {-code}" if code < 0 else f"code {code}"
        wait_s = max(0.0, role.next_start - time.monotonic())
        tell(
            f"The {role.name} process ended ({how}); starting it again in {wait_s:.1f} s. "
            f"Log: {role.log_file}"
        )

    def _stop_all(self) -> None:
        """Web and worker first, then the link, which says goodbye through the broker, which goes last."""
        until = time.monotonic() + STOP_S
        self._settings.data_dir.joinpath("ready.json").unlink(missing_ok=True)
        for names in (("web", "worker"), ("link",), ("broker",)):
            stopping = [role for role in self._roles if role.name in names]
            for role in stopping:
                role.terminate()
            for role in stopping:
                role.finish(until)


def tell(text: str) -> None:
    """To the person who started the server."""
    try:
        print(text, flush=True)
    except (BrokenPipeError, ValueError):  # nobody reads any more; the server serves on
        pass


def run_server(settings: Settings) -> None:
    """See `edgepress_server.serve.serve`."""
    stop = threading.Event()
    tell(f"edgepress {__version__}")
    prepared = prepare(settings, tell)
    supervisor = Supervisor(prepared, stop)
    handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(number, lambda _signal, _frame: stop.set()) for number in handled]
    try:
        tell("Starting ...")
        supervisor.run()
        tell("edgepress has stopped.")
    finally:
        for number, handler in zip(handled, before, strict=True):
            signal.signal(number, cast(signal.Handlers, handler))
        prepared.web.close()
        prepared.store.close()
        os.close(prepared.lock)
