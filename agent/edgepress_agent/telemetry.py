"""The telemetry thread: reads sensors every interval, keeps the sample, sends it, forgets it once stored."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edgepress_agent.outbox import Outbox
from edgepress_agent.post import Post
from edgepress_agent.runtime import Runtime
from edgepress_devices.energy import EnergyMeter
from edgepress_devices.protocol import Ack, Histogram, InputSample, ModelStats, Sample
from edgepress_devices.sensors import Readings, Sensors

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
        sensors: Sensors,
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
        self._full_disk = False

    def waiting(self) -> int:
        """Batches that the server has not acknowledged."""
        return len(self._outbox.batches())

    def run(self) -> None:
        last = time.monotonic()
        self._sensors.read()  # averages begin here
        self._listen_to(ReportReady())  # one that was finished before the restart
        while not self._stop.is_set():
            self._alive()
            due = last + self.interval_s
            if self._listen(due - time.monotonic()):
                continue
            now = time.monotonic()
            try:
                self._keep(self._samples(now - last))
                self._outbox.add_inputs(self._inputs())
                self._pump(now)
                self._full_disk = False
            except OSError as error:
                if not self._full_disk:  # said once, not every second
                    log.error(
                        "telemetry cannot be kept: %s; samples are lost until there is room", error.strerror
                    )
                self._full_disk = True
            # A machine that slept does not catch up on samples it did not take.
            last = due if now - due < self.interval_s else now

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
        if self._post.has_room() and not self._outbox.has_open():
            self._outbox.add_batch(samples)
        else:
            for sample in samples:
                self._outbox.add(sample)

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
        total = sum(inferences for _, inferences, _, _ in counted)
        power = None if self._measuring() else readings.power_mw
        energy = self._energy.update(power, elapsed_s, total)
        at_ms, interval_ms = time.time_ns() // 1_000_000, round(elapsed_s * 1000)
        # A model that was switched away from in this interval: its counts alone, the board is told of once.
        samples = [_sample(at_ms, interval_ms, row, None) for row in counted[:-1]]
        newest = counted[-1] if counted else (None, 0, 0, None)
        last = _sample(at_ms, interval_ms, newest, readings)
        last.energy_mj = energy
        now_s = time.monotonic()
        if now_s >= self._model_stats_due_s:
            self._model_stats_due_s = now_s + MODEL_STATS_EVERY_S
            last.model = self._model_stats()
        return [*samples, last]


def _sample(
    at_ms: int,
    interval_ms: int,
    row: tuple[str | None, int, int, Histogram | None],
    readings: Readings | None,
) -> Sample:
    artifact, inferences, errors, latency_us = row
    sample = Sample(at_ms, interval_ms, artifact, inferences, errors, latency_us)
    if readings is not None:
        sample.rss_bytes = readings.rss_bytes
        sample.mem_used_bytes = readings.mem_used_bytes
        sample.mem_total_bytes = readings.mem_total_bytes
        sample.cpu_percent = readings.cpu_percent
        sample.temp_c = readings.temp_c
        sample.throttled = readings.throttled
        sample.power_mw = readings.power_mw
        sample.battery_percent = readings.battery_percent
        sample.agent_cpu_percent = readings.agent_cpu_percent
        sample.disk_free_bytes = readings.disk_free_bytes
    return sample
