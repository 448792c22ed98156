"""Pushes metrics of devices to an OpenTelemetry collector: a thread of the worker role.

    every interval    read what changed (`device_totals`) -> requests of DEVICES_AT_A_TIME, gzip -> line
    meanwhile         send what is in line, one after the other (`otlp_line`)

How far it was read is noted (a fact) once all is sent: after a restart totals begin there, so nothing is
left out where the pause was shorter than RESUME_MS. What was sent of a reading that a crash cut short is told
again, as part of the new totals.
"""

from __future__ import annotations

import gzip
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import urllib3

from edgepress_devices import __version__
from edgepress_server.ecosystem.device_totals import Changed, DeviceTotals
from edgepress_server.ecosystem.otlp_answer import Outcome, outcome_of
from edgepress_server.ecosystem.otlp_line import Line, Request
from edgepress_server.ecosystem.otlp_messages import DevicePoints, points_in, request_of
from edgepress_server.ecosystem.otlp_status import FACT_READ, FACT_STATUS
from edgepress_server.errors import InvalidInputError, ServerError
from edgepress_server.settings import Settings
from edgepress_server.store import Store, open_store
from edgepress_server.store.exposed import Exposed

log = logging.getLogger(__name__)

PATH: Final = "/v1/metrics"
DEVICES_AT_A_TIME: Final = 200
ANSWER_MAX_BYTES: Final = 65_536
TIMEOUT: Final = urllib3.Timeout(connect=5, read=15)
RESUME_MS: Final = 3_600_000
SAY_AGAIN_S: Final = 600.0


class Collector:
    """One address that takes OTLP/HTTP."""

    def __init__(self, settings: Settings) -> None:
        """Raises InvalidInputError for headers that are none."""
        self.url = metrics_url(settings.otlp_endpoint or "")
        self._headers = {
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "gzip",
            "User-Agent": f"edgepress/{__version__}",
            **read_headers(settings.otlp_headers or ""),
        }
        self._pool = urllib3.PoolManager(
            timeout=TIMEOUT,
            retries=False,
            ca_certs=None if settings.otlp_ca is None else str(settings.otlp_ca),
        )

    def post(self, body: bytes) -> Outcome:
        try:
            response = self._pool.request(
                "POST", self.url, body=body, headers=self._headers, preload_content=False, redirect=False
            )
            try:
                answer = response.read(ANSWER_MAX_BYTES)
            finally:
                response.release_conn() if response.status < 300 else response.close()
        except urllib3.exceptions.HTTPError as error:
            return Outcome(taken=False, try_again=True, saying=f"{self.url} does not answer ({error})"[:300])
        return outcome_of(response.status, answer, response.headers.get("Retry-After"))


def metrics_url(endpoint: str) -> str:
    """The address of metrics: the endpoint's own path, and /v1/metrics unless it ends so."""
    parts = urlsplit(endpoint)
    path = parts.path.rstrip("/")
    return parts._replace(path=path if path.endswith(PATH) else path + PATH).geturl()


def read_headers(text: str) -> dict[str, str]:
    """``name=value,name=value``, values percent-encoded, as OTEL_EXPORTER_OTLP_HEADERS has them."""
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = pair.partition("=")
        name, value = name.strip(), unquote(value.strip())
        if not equals or not name.replace("-", "").isalnum() or not name.isascii() or not value.isprintable():
            raise InvalidInputError(
                "otlp_headers",
                "EDGEPRESS_OTLP_HEADERS must be name=value pairs with commas between them, values "
                "percent-encoded, for example: Authorization=Bearer%20TOKEN",
            )
        found[name] = value
    return found


class OtlpPush:
    """``tick`` until told to stop; not shared between threads."""

    def __init__(self, settings: Settings, store: Store) -> None:
        """Raises InvalidInputError, StoreError."""
        self._settings = settings
        self._store = store
        self._exposed = Exposed(store.database)
        self._collector = Collector(settings)
        self.line = Line()
        now_ms = store.now_ms()
        read: Any = store.facts.get(FACT_READ)
        resumes = isinstance(read, int) and now_ms - RESUME_MS <= read <= now_ms
        self._totals = DeviceTotals(store.series_read, read if resumes else now_ms)
        self._noted_ms = 0
        self._collect_due_s = 0.0
        self._told_due_s = 0.0

    def tick(self, now_s: float) -> None:
        """Read and send what is due. Raises StoreError."""
        if now_s >= self._collect_due_s:
            self._collect_due_s = now_s + self._settings.otlp_interval_s
            self._collect()
        request = self.line.next(now_s)
        if request is None:
            self._note()  # nothing was new
            return
        outcome = self._collector.post(request.body)
        self.line.settle(outcome, now_s)
        if outcome.saying and now_s >= self._told_due_s:
            self._told_due_s = now_s + SAY_AGAIN_S
            log.warning("OpenTelemetry: %s", outcome.saying)
        self._note()

    def _note(self) -> None:
        if not len(self.line) and self._noted_ms != self._totals.end_ms:
            self._noted_ms = self._totals.end_ms
            self._store.facts.set(FACT_READ, self._noted_ms)
            self._store.facts.set(FACT_STATUS, self.status())

    def wait_s(self, now_s: float) -> float:
        """Until there is something to do."""
        due_s = min(self._collect_due_s, self.line.due_s) if len(self.line) else self._collect_due_s
        return max(0.0, due_s - now_s)

    def _collect(self) -> None:
        devices = {row[0]: row for row in self._exposed.described()[: self._settings.otlp_devices]}
        artifacts = self._exposed.artifacts()
        changed = self._totals.advance(devices, self._store.now_ms())
        for first in range(0, len(changed), DEVICES_AT_A_TIME):
            points = [
                self._points(each, devices[each.device], artifacts)
                for each in changed[first : first + DEVICES_AT_A_TIME]
            ]
            body = gzip.compress(request_of(points), compresslevel=5, mtime=0)
            self.line.put(Request(body, sum(map(points_in, points))))
        self._store.facts.set(FACT_STATUS, self.status())

    def _points(
        self,
        each: Changed,
        row: tuple[str, str, str | None, dict[str, str]],
        artifacts: dict[str, tuple[str, str]],
    ) -> DevicePoints:
        name, profile, version, labels = row
        return DevicePoints(
            attributes={
                "service.name": "edgepress-agent",
                "service.version": version or "",
                "service.instance.id": name,
                "host.name": name,
                "edgepress.profile": profile,
                "edgepress.artifact": each.artifact,
                "edgepress.model": artifacts.get(each.artifact, ("", ""))[0],
                **{f"edgepress.label.{key}": value for key, value in labels.items()},
            },
            start_ms=self._totals.start_ms,
            time_ms=self._totals.end_ms,
            total=each.total,
            gauges=each.gauges,
        )

    def status(self) -> dict[str, Any]:
        line = self.line
        return {
            "sent": line.sent_points,
            "rejected": line.rejected_points,
            "refused": line.refused_points,
            "dropped": line.dropped_points,
            "waiting_bytes": line.waiting_bytes,
            "trouble": line.trouble,
        }


def run_push(settings: Settings, stop: threading.Event) -> None:
    """Until told to stop. A store or a collector that cannot be used now is tried again."""
    store = open_store(settings.data_dir)
    try:
        push = OtlpPush(settings, store)
        while not stop.is_set():
            try:
                push.tick(time.monotonic())
            except ServerError as error:
                log.warning("OpenTelemetry: the store cannot be read now, trying again: %s", error.message)
                stop.wait(1.0)
            stop.wait(min(5.0, push.wait_s(time.monotonic())))
    except ServerError as error:
        log.error("OpenTelemetry: nothing is pushed: %s", error.message)
    finally:
        store.close()


@contextmanager
def pushing(settings: Settings) -> Iterator[None]:
    """Push beside whatever the block does, where the settings name a collector."""
    if settings.otlp_endpoint is None:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=run_push, args=(settings, stop), name="otlp", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(2.0)
