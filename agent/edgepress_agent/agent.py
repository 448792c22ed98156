"""The agent as a whole: its threads, and how they stop.

::

    main         signals; waits for the end
    link         paho's network loop and the reconnects               -> only enqueues
    work         wants, chunks, installations, states                 the only one that touches the installer
    telemetry    outbox
    sensors      reads them when telemetry asks; may hang in the kernel
    profiling    a profiling job, in a child process that it starts and ends
    renewal      new credentials, when two thirds of the life of the present ones are over
    watchdog     ends the process when one of link, work, telemetry or an inference hangs
    shadow       a model in trial, beside the one that answers           while a rollout asks for it
    http         one thread a local connection                        the only ones that run inference

Stopping: the state "offline" is published, what is half done stops between two steps or is left as a crash
would leave it, without counting as one.
"""

import logging
import os
import queue
import threading
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from edgepress_agent import __version__
from edgepress_agent.durable import Disk
from edgepress_agent.engine import Engine, check_room, runtime_threads
from edgepress_agent.enrolment import Identity
from edgepress_agent.errors import StoppedError
from edgepress_agent.input_sampling import InputSampler
from edgepress_agent.installer import Installer
from edgepress_agent.journal import Journal
from edgepress_agent.link import Link
from edgepress_agent.local_limits import WatchedLimits
from edgepress_agent.model_watch import ModelWatch
from edgepress_agent.newest import newest_figures
from edgepress_agent.outbox import Outbox
from edgepress_agent.profiling import Profiler, RunningArtifact
from edgepress_agent.renew import Renewal
from edgepress_agent.runtime import DEFAULT_LIMITS, Model, RequestLimits, Runtime
from edgepress_agent.sensor_reader import SensorReader
from edgepress_agent.serve_http import LocalServer
from edgepress_agent.telemetry import Event as TelemetryEvent
from edgepress_agent.telemetry import (
    InputsWithdrawn,
    LinkDown,
    LinkUp,
    ReportReady,
    ServerOnline,
    Telemetry,
    Wake,
)
from edgepress_agent.watchdog import INFERENCE_MAX_S, Hang, Notifier, Pulse, Watchdog
from edgepress_agent.work import Connected, ServerRoots, Stop, Work, route
from edgepress_agent.work import Event as WorkEvent
from edgepress_devices import protocol
from edgepress_devices.energy import EnergyMeter
from edgepress_devices.microbench.plan import forms_of
from edgepress_devices.protocol import Ack, ErrorKinds, ProtocolError, ServerState, from_json
from edgepress_devices.sensors import Sensors, describe_hardware

GOODBYE_S: Final = 1.0  # for the broker to acknowledge the last state
HALT_S: Final = 1.5  # for all threads together to come to a good place

log = logging.getLogger(__name__)


class Agent:
    """``folder`` must be locked (state_folder). Raises EnrolmentError, PortInUseError, OSError."""

    def __init__(
        self,
        folder: Path,
        *,
        http_port: int,
        limits: RequestLimits = DEFAULT_LIMITS,
        disk: Disk | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        disk = disk or Disk()
        self._folder = folder
        self._disk = disk
        self._stop = threading.Event()
        self._failed: str | None = None
        self._notifier = notifier
        self._pulse = Pulse()
        self._identity = Identity(folder, disk)
        enrolment = self._identity.enrolment
        profile = enrolment.device_profile()
        self._runtime = Runtime()
        own = WatchedLimits(folder)
        self._sampler = InputSampler(
            lambda: own.inputs_may_leave(time.monotonic()),
            lambda: _put(self._telemetry.inbox, InputsWithdrawn()),
        )
        self._watch = ModelWatch(self._sampler)
        self._http = LocalServer(http_port, self._runtime, self.status, limits)
        self._journal = Journal(folder / "journal", disk)
        self._installer: Installer[Model] = Installer(
            folder,
            disk=disk,
            journal=self._journal,
            engine=Engine(self._runtime, runtime_threads(profile), self._watch),
            check_room=check_room,
            keep_on=self._keep_on,
            changed=self._changed,
            alive=lambda seconds: self._pulse.beat("work", seconds),
        )
        self._sensors = SensorReader(lambda: Sensors(data_dir=folder, profile=profile))
        outbox = Outbox(folder, disk)
        self._profiler = Profiler(
            folder,
            disk=disk,
            identity=self._identity.fingerprint,
            threads=runtime_threads(profile),
            forms=("fp32",) if profile is None else forms_of(profile),
            reports=outbox.shelf,
            running=self._running,
            answered=self._runtime.answered,
            changed=self._changed,
            reported=self._report_ready,
        )
        self._telemetry = Telemetry(
            outbox=outbox,
            runtime=self._runtime,
            sensors=self._sensors,
            energy=EnergyMeter(profile),
            send=self._send_telemetry,
            stop=self._stop,
            measuring=lambda: self._profiler.measuring,
            alive=lambda: self._pulse.beat("telemetry"),
            model_stats=self._watch.model_stats,
            inputs=self._sampler.take,
        )
        self._work = Work(
            folder,
            disk=disk,
            identity=self._identity,
            hardware=describe_hardware(),
            installer=self._installer,
            profiler=self._profiler,
            started=self._started,
            interval=self._set_interval,
            sampling=self._sampler.set_policy,
            stop=self._stop,
        )
        self._link = Link(
            enrolment.device,
            enrolment.mqtt,
            folder=folder,
            received=self._received,
            up=self._link_up,
            down=self._link_down,
            alive=lambda seconds: self._pulse.beat("link", seconds),
        )
        self._work.link = self._link
        self._renewal = Renewal(folder, disk, renewed=self._link.use, refusals=lambda: self._link.refusals)

        self._watchdog = Watchdog(
            self._pulse,
            longest_s=lambda: self._runtime.longest_s(time.monotonic()),
            wake=self._wake,
            end=self._end,
            notifier=notifier,
        )

    @property
    def url(self) -> str:
        return self._http.url

    def stop(self) -> None:
        """Ask ``run`` to return. For signal handlers and other threads."""
        self._stop.set()

    def run(self) -> str | None:
        """Work until ``stop``. None, or why the agent cannot go on."""
        enrolment = self._identity.enrolment
        log.info("edgepress-agent %s, device %s (%s)", __version__, enrolment.device, enrolment.profile)
        log.info("inference on %s", self.url)
        self._write_address()
        threads = [
            self._thread("http", lambda: self._http.serve_forever(poll_interval=1.0)),
            self._thread("work", self._work.run),
            self._thread("telemetry", self._telemetry.run),
            self._thread("profiling", self._profiler.run),
            self._thread("link", self._link.run),
            self._thread("renewal", lambda: self._renewal.run(self._stop)),
            self._thread("watchdog", lambda: self._watchdog.run(self._stop)),
        ]
        if self._notifier is not None:
            self._notifier.ready()
        self._stop.wait()
        if self._notifier is not None:
            self._notifier.stopping()
        self._halt(threads)
        return self._failed

    def _write_address(self) -> None:
        try:
            self._disk.write_whole(
                self._folder / "http.json", msgspec.json.encode({"url": self.url, "pid": os.getpid()})
            )
        except OSError as error:
            log.error(
                "the state folder %s cannot be written (%s): the model runs, but nothing is kept and"
                " nothing new is installed; programs find this agent by its port only",
                self._folder,
                error.strerror,
            )

    def status(self) -> dict[str, Any]:
        """What this agent does, for people and programs on the device."""
        enrolment, model = self._identity.enrolment, self._runtime.model()
        state = msgspec.structs.asdict(self._work.state())  # every field, those at their defaults too
        state.pop("hardware", None)
        profiling = self._profiler.state()
        state["profiling"] = None if profiling is None else msgspec.structs.asdict(profiling)
        return {
            **state,
            "device": enrolment.device,
            "profile": enrolment.profile,
            "server": enrolment.server,
            "connected": self._link.connected,
            "starting": self._runtime.starting,
            "model": None if model is None else model.name,
            "rate_bytes_s": self._work.rate_bytes_s,
            "telemetry_waiting": self._telemetry.waiting(),
            "requests": {
                "answered": self._runtime.answered(),
                "failed": _named(self._runtime.failed()),
                "waiting": self._runtime.waiting(),
            },
            "newest": newest_figures(self._telemetry.newest),
            "url": self.url,
            "pid": os.getpid(),
        }

    # --- threads ------------------------------------------------------------------------------------------

    def _thread(self, name: str, work: Any) -> threading.Thread:
        def body() -> None:
            try:
                work()
            except OSError as error:
                if self._stop.is_set():
                    log.debug("the %s thread ended: %s", name, error)
                    return
                self._failed = f"the state folder {self._folder} cannot be used: {error}"
            finally:
                if not self._stop.is_set():  # the agent ends with any of its threads: systemd starts it again
                    self._failed = self._failed or f"the {name} thread ended unexpectedly"
                    self._stop.set()

        thread = threading.Thread(target=body, name=name, daemon=True)
        thread.start()
        return thread

    def _halt(self, threads: list[threading.Thread]) -> None:
        _put(self._work.inbox, Stop())
        self._profiler.close()
        _put(self._telemetry.inbox, LinkDown())
        self._link.close(GOODBYE_S)
        self._http.server_close()
        deadline_s = time.monotonic() + HALT_S
        for thread in threads:
            if thread.name != "http":  # its threads wait for requests; they end with the process
                thread.join(max(0.0, deadline_s - time.monotonic()))
        try:
            self._journal.close()  # a trial that did not come to an end in time is not held against the model
            (self._folder / "http.json").unlink(missing_ok=True)
        except OSError as error:
            log.error("the state folder cannot be written: %s", error.strerror)
        self._sensors.close()
        log.info("stopped")

    def _wake(self) -> None:
        for inbox, event in ((self._work.inbox, Stop()), (self._telemetry.inbox, Wake())):
            if inbox.empty():  # who has something to do needs no waking
                _put(inbox, event)

    def _end(self, hang: Hang) -> None:
        """On the watchdog's thread: nothing can be waited for any more."""
        log.critical("%s: the agent ends, to be started again", hang.reason)
        if hang.blameless:  # what runs is not to pay for it
            closing = threading.Thread(target=self._close_journal, daemon=True)
            closing.start()
            closing.join(HALT_S)
        logging.shutdown()
        os._exit(1)

    def _close_journal(self) -> None:
        try:
            self._journal.close()
        except OSError as error:
            log.error("the state folder cannot be written: %s", error.strerror)

    def _keep_on(self) -> None:
        self._pulse.beat("work", INFERENCE_MAX_S)
        if self._stop.is_set():
            raise StoppedError("the agent is stopping")

    def _running(self) -> RunningArtifact | None:
        info = self._installer.running
        slot = None if info is None else self._installer.slots.find(info.digest)
        if info is None or slot is None:
            return None
        return RunningArtifact(info.digest, self._installer.slots.artifact(slot))

    def _report_ready(self) -> None:
        _put(self._telemetry.inbox, ReportReady())

    def _changed(self) -> None:
        self._work.changed()  # which is made after the installer

    # --- between the parts --------------------------------------------------------------------------------

    def _received(self, topic: str, payload: bytes) -> None:
        """On the network thread: enqueue only."""
        event = route(self._identity.enrolment.device, topic, payload)
        if event is not None:
            _put(self._work.inbox, event)
            return
        try:
            if topic == protocol.SERVER_STATE_TOPIC:
                said = from_json(ServerState, payload)
                _put(self._telemetry.inbox, ServerOnline(said.online))
                _put(self._work.inbox, ServerRoots(said.roots))
            elif topic == protocol.down_topic(self._identity.enrolment.device, "ack"):
                _put(self._telemetry.inbox, from_json(Ack, payload))
        except ProtocolError as error:
            log.warning("a message on %s was not understood: %s", topic, error)

    def _link_up(self) -> None:
        _put(self._work.inbox, Connected())
        _put(self._telemetry.inbox, LinkUp())

    def _link_down(self) -> None:
        _put(self._telemetry.inbox, LinkDown())

    def _send_telemetry(self, payload: bytes) -> bool:
        return self._link.publish(protocol.up_topic(self._identity.enrolment.device, "telemetry"), payload)

    def _started(self) -> None:
        self._runtime.starting = False

    def _set_interval(self, seconds: float) -> None:
        self._telemetry.interval_s = seconds


def _named(kinds: ErrorKinds) -> dict[str, int]:
    return msgspec.structs.asdict(kinds)


def _put(inbox: Any, event: WorkEvent | TelemetryEvent) -> None:
    """Full means a flood: what is dropped comes again (retained, asked for, or sent again)."""
    try:
        inbox.put_nowait(event)
    except queue.Full:
        log.warning("too many messages at once; one was dropped")
