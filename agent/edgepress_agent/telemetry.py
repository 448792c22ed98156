"""The telemetry thread: reads sensors every interval, keeps the sample, sends it, forgets it once stored."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from edgepress_agent.meter import Counted
from edgepress_agent.outbox import Outbox
from edgepress_agent.post import Post
from edgepress_agent.runtime import Runtime
from edgepress_agent.sample_clock import SampleClock
from edgepress_agent.thinning import thinned
from edgepress_devices.energy import EnergyMeter
from edgepress_devices.protocol import Ack, InputSample, ModelStats, Sample
from edgepress_devices.sensors import Readings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LinkUp:
    """The connection to the broker stands."""


@dataclass(frozen=True)
class LinkDown:
    """It is gone."""


@dataclass(frozen=True)
class ServerOnline:
    online: bool


@dataclass(frozen=True)
class ReportReady:
    """A profiling report lies on the shelf."""


@dataclass(frozen=True)
class InputsWithdrawn:
    """The privacy policy lets no input out any more: those that wait here are dropped."""


@dataclass(frozen=True)
class Wake:
    """Say that the thread lives."""


Event = LinkUp | LinkDown | ServerOnline | ReportReady | InputsWithdrawn | Wake | Ack

MODEL_STATS_EVERY_S: Final = 60.0
UNKEPT_MAX: Final = 600  # samples in memory, under a megabyte


class BoardSensors(Protocol):
    def read(self) -> Readings | None: ...


class Telemetry:
    """``send(payload)`` publishes one batch and says whether it went out. ``measuring()``: a profiling job
    loads the board, so what it draws now is neither idle power nor the requests' energy. ``model_stats()``
    is asked about once a minute, ``inputs()`` with every sample, both on this thread; what ``inputs`` gave it
    gives once. ``alive()`` is called in every round.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        runtime: Runtime,
        sensors: BoardSensors,
        energy: EnergyMeter,
        send: Callable[[bytes], bool],
        stop: threading.Event,
        measuring: Callable[[], bool] = lambda: False,
        alive: Callable[[], None] = lambda: None,
        model_stats: Callable[[], ModelStats | None] = lambda: None,
        inputs: Callable[[], list[InputSample]] = list,
    ) -> None:
        self.inbox: queue.Queue[Event] = queue.Queue(maxsize=1000)
        self.interval_s = 1.0  # from the want
        self._outbox = outbox
        self._runtime = runtime
        self._sensors = sensors
        self._energy = energy
        self._send = send
        self._stop = stop
        self._measuring = measuring
        self._alive = alive
        self._model_stats = model_stats
        self._inputs = inputs
        self._model_stats_due_s = time.monotonic() + MODEL_STATS_EVERY_S
        self._post = Post()
        self._clock = SampleClock()
        self._new_epoch = False  # the clock was set back
        self._unkept: list[Sample] = []  # that the disk did not take; in memory until it does
        self.newest: Sample | None = None  # for `status`

    def waiting(self) -> int:
        """Batches that the server has not acknowledged."""
        return len(self._outbox.batches())

    def run(self) -> None:
        last = took = time.monotonic()
        self._sensors.read()  # averages begin here
        self._listen_to(ReportReady())  # one that was finished before the restart
        while not self._stop.is_set():
            self._alive()
            due = last + self.interval_s
            if self._listen(due - time.monotonic()):
                continue
            now = time.monotonic()
            self.tick(now - took, now)
            took = now  # and not when it was due: the intervals of all samples add up to the time that passed
            # A machine that slept does not catch up on samples it did not take.
            last = due if now - due < self.interval_s else now

    def tick(self, elapsed_s: float, now_s: float) -> None:
        """Take a sample of the last ``elapsed_s``, keep it, and send what may go."""
        try:
            self._keep(self._samples(elapsed_s))
            self._outbox.add_inputs(self._inputs())
            self._pump(now_s)
        except OSError as error:
            log.debug("the telemetry outbox: %s", error.strerror)  # _keep has said it, once

    def _listen(self, seconds: float) -> bool:
        """Handle one event, if one comes within this time."""
        try:
            event = self.inbox.get(timeout=max(0.0, seconds)) if seconds > 0 else self.inbox.get_nowait()
        except queue.Empty:
            return False
        self._listen_to(event)
        return True

    def _listen_to(self, event: Event) -> None:
        try:
            self.handle(event, time.monotonic())
        except OSError as error:
            log.error("the telemetry outbox cannot be read or written: %s", error.strerror)

    def handle(self, event: Event, now_s: float) -> None:
        post = self._post
        match event:
            case LinkUp():
                post.connected = True
                post.began()
            case LinkDown():
                post.connected = False
            case ServerOnline(online):
                if online and not post.server_online:
                    post.began()
                post.server_online = online
            case ReportReady():
                self._outbox.take_reports()
            case InputsWithdrawn():
                self._outbox.drop_inputs()
            case Wake():
                return
            case Ack():
                self._outbox.acknowledge(event.epoch, event.number)
                post.acknowledged(self._outbox.batches())
        self._pump(now_s)

    def _keep(self, samples: list[Sample]) -> None:
        """On the disk, or in memory while that takes nothing: thinned past UNKEPT_MAX, and lost with the
        process.
        """
        waited = bool(self._unkept)
        self._unkept += samples
        self._new_epoch = self._new_epoch or self._clock.set_back
        try:
            if self._new_epoch:
                log.warning("the clock of this board was set back: samples go on with the new time")
                self._outbox.begin_epoch()
                self._new_epoch = False
            if self._post.has_room() and not self._outbox.has_open() and not waited:
                self._outbox.add_batch(samples)
                self._unkept.clear()
            while self._unkept:
                self._outbox.add(self._unkept[0])
                del self._unkept[0]
        except OSError as error:
            if not waited:  # said once, not every second
                log.error(
                    "telemetry cannot be kept: %s; samples stay in memory until there is room", error.strerror
                )
            if len(self._unkept) > UNKEPT_MAX:
                self._unkept = thinned(self._unkept)
            raise
        if waited:
            log.info("telemetry is kept on the disk again")

    def _pump(self, now_s: float) -> None:
        """Send what may go: what waits in files becomes a batch when there is room for it."""
        self._send_due(now_s)
        while self._post.has_room() and self._outbox.close_oldest() is not None:
            self._send_due(now_s)

    def _send_due(self, now_s: float) -> None:
        for name in self._post.due(self._outbox.batches(), now_s):
            try:
                payload = self._outbox.payload(name)
            except FileNotFoundError:
                self._outbox.forget(name)
                continue
            if not self._send(payload):
                return  # the connection just went; LinkUp begins again

    def _samples(self, elapsed_s: float) -> list[Sample]:
        readings = self._sensors.read()
        counted = self._runtime.take()
        total = sum(one.inferences for one in counted)
        measured = None if readings is None or self._measuring() else readings.power_mw
        energy = self._energy.update(measured, elapsed_s, total)
        at_ms, interval_ms = self._clock.now_ms(), round(elapsed_s * 1000)
        # A model that was switched away from in this interval: its counts alone, the board is told of once.
        newest = counted[-1].artifact if counted else None
        samples = [_sample(at_ms, interval_ms, one) for one in counted]
        if not samples:
            samples = [Sample(at_ms, interval_ms)]
        last = samples[-1]
        for name, value in () if readings is None else msgspec.structs.asdict(readings).items():
            setattr(last, name, value)
        last.energy_mj = energy
        now_s = time.monotonic()
        if now_s >= self._model_stats_due_s:
            self._model_stats_due_s = now_s + MODEL_STATS_EVERY_S
            stats = self._model_stats()
            last.model = stats if newest is not None else None
        self.newest = last
        return samples


def _sample(at_ms: int, interval_ms: int, counted: Counted) -> Sample:
    return Sample(
        at_ms,
        interval_ms,
        counted.artifact,
        counted.inferences,
        counted.errors,
        counted.latency_us,
        queue_us=counted.queue_us,
        pre_us=counted.pre_us,
        post_us=counted.post_us,
        error_kinds=counted.error_kinds,
    )
