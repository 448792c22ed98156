"""The push against a real HTTP collector, which opentelemetry's own classes decode for."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ecosystem_fleet import A, Fleet
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from server_story import Clock

from edgepress_server.ecosystem.otlp_push import OtlpPush
from edgepress_server.settings import Settings
from edgepress_server.store import Store, open_store

pytestmark = pytest.mark.e2e

MINUTE_MS = 60_000


class Collector(ThreadingHTTPServer):
    """Takes what comes while ``status`` is 200; keeps it decoded."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.rejected = 0
        self.requests: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def newest(self, metric: str) -> dict[str, int]:
        """host.name -> the newest cumulative value of a sum."""
        found = {}
        for request in self.requests:
            for resource in request.resource_metrics:
                attributes = {a.key: a.value.string_value for a in resource.resource.attributes}
                for scope in resource.scope_metrics:
                    for each in scope.metrics:
                        if each.name == metric:
                            found[attributes["host.name"]] = each.sum.data_points[0].as_int
        return found


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.status == 200:
            assert self.path == "/v1/metrics"
            self.server.requests.append(ExportMetricsServiceRequest.FromString(gzip.decompress(body)))
            self.server.headers.append(dict(self.headers))
        answer = ExportMetricsServiceResponse(
            partial_success=ExportMetricsPartialSuccess(rejected_data_points=self.server.rejected)
        ).SerializeToString()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_args: object) -> None:
        return


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    made = open_store(tmp_path / "server", clock)
    yield made
    made.close()


def drain(push: OtlpPush, now_s: float) -> float:
    """Tick until nothing is in line; when it was."""
    push.tick(now_s)
    while len(push.line):
        now_s = max(now_s, push.line.due_s)
        push.tick(now_s)
    return now_s


def test_a_collector_gets_every_count_once_though_it_was_away(
    collector: Collector, store: Store, clock: Clock
) -> None:
    settings = Settings(
        data_dir=store.data_dir, otlp_endpoint=collector.url, otlp_headers="Authorization=Bearer%20secret"
    )
    fleet = Fleet(store, clock)
    push = OtlpPush(settings, store)
    now_s = 0.0
    for minute in range(6):
        collector.status = 503 if minute in (2, 3) else 200
        clock.forward(MINUTE_MS)
        fleet.report("pi-1", 30)
        fleet.report("jet-1", 10)
        now_s += 60.0
        if collector.status == 200:
            now_s = drain(push, now_s)
        else:
            push.tick(now_s)
            assert "503" in push.line.trouble
    clock.forward(3 * MINUTE_MS)
    drain(push, now_s + 60.0)
    assert collector.newest("edgepress.inferences") == {"pi-1": 900, "jet-1": 300}
    assert collector.headers[0]["Authorization"] == "Bearer secret"
    assert push.line.trouble == "" and push.status()["dropped"] == 0

    # a restart goes on where all was sent: totals of a new beginning, nothing left out, nothing twice
    sent = len(collector.requests)
    clock.forward(MINUTE_MS)
    fleet.report("pi-1", 20)
    clock.forward(3 * MINUTE_MS)
    drain(OtlpPush(settings, store), 0.0)
    assert len(collector.requests) > sent
    assert collector.newest("edgepress.inferences") == {"pi-1": 100, "jet-1": 300}


def test_what_the_collector_rejects_is_counted(collector: Collector, store: Store, clock: Clock) -> None:
    collector.rejected = 2
    push = OtlpPush(Settings(data_dir=store.data_dir, otlp_endpoint=collector.url), store)
    clock.forward(MINUTE_MS)
    Fleet(store, clock).report("pi-1", 30, artifact=A)
    clock.forward(3 * MINUTE_MS)
    drain(push, 0.0)
    assert push.status()["rejected"] == 2 and push.status()["sent"] > 5


@pytest.mark.fault("collector away", "nobody listens: it is said in words, and tried again later")
def test_nobody_listens(store: Store, clock: Clock) -> None:
    closed = Collector()
    closed.server_close()
    push = OtlpPush(Settings(data_dir=store.data_dir, otlp_endpoint=closed.url), store)
    clock.forward(MINUTE_MS)
    Fleet(store, clock).report("pi-1", 30)
    clock.forward(3 * MINUTE_MS)
    push.tick(0.0)
    assert "does not answer" in push.line.trouble and len(push.line) == 1
