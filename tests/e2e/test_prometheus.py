"""A real Prometheus scrapes a real server: native histograms arrive, dashboards and rules evaluate."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from installation import Installation, wait_for
from wire_device import WireDevice

from edgepress_devices.histogram import LatencyRecorder, merge, quantile
from edgepress_devices.protocol import Histogram, Sample

pytestmark = pytest.mark.e2e

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = shutil.which("prometheus")


class Prometheus:
    """Debian's Prometheus on a free port of this machine, with native histograms on."""

    def __init__(self, folder: Path, target: str, token: str) -> None:
        folder.mkdir()
        (folder / "token").write_text(token)
        shutil.copy(DEPLOY / "prometheus" / "alerts.yml", folder / "alerts.yml")
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            "rule_files: [alerts.yml]\n"
            "scrape_configs:\n"
            "  - job_name: edgepress\n"
            f"    authorization: {{credentials_file: {folder / 'token'}}}\n"
            f"    static_configs: [{{targets: ['{target}']}}]\n"
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(PROMETHEUS),
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                    "--enable-feature=native-histograms",
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, "GOMAXPROCS": "1"},
            )

    def get(self, path: str, **query: str) -> Any:
        """``data`` of an answer; None while nobody answers."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read()[:500]!r}") from error
        except OSError:
            assert self._process.poll() is None, self.log.read_text()
            return None

    def query(self, expression: str) -> list[Any]:
        found = self.get("query", query=expression)
        return [] if found is None else list(found["result"])

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)


@pytest.fixture
def prometheus(installation: Installation, tmp_path: Path) -> Iterator[Prometheus]:
    if PROMETHEUS is None:
        missing = "no Prometheus here; Debian: sudo apt-get install prometheus"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    installation.start_server()
    token = installation.cli("token", "create", "prometheus", "--role", "viewer")["token"]
    made = Prometheus(tmp_path / "prometheus", installation.url.removeprefix("http://"), token)
    yield made
    made.close()


def test_prometheus_reads_exactly_what_devices_measured(
    prometheus: Prometheus, installation: Installation
) -> None:
    device = enrolled(installation)
    recorder = LatencyRecorder()
    for n in range(1000):
        recorder.record(500.0 * 1.005**n)
    histogram = recorder.take()
    assert histogram is not None
    device.send_batch(1, sample(histogram))
    found = wait_for(
        "the histogram in Prometheus",
        lambda: prometheus.query('edgepress_latency_microseconds{profile="x86-pc"}'),
    )
    native = found[0]["histogram"][1]
    assert int(native["count"]) == 1000
    buckets = [(float(low), float(high), int(n)) for _, low, high, n in native["buckets"]]
    base = 2.0 ** (2.0**-histogram.scale)
    expected = [
        (base ** (histogram.offset + i), base ** (histogram.offset + i + 1), n)
        for i, n in enumerate(histogram.counts)
        if n
    ]
    assert [n for *_, n in buckets] == [n for *_, n in expected]
    for (low, high, _), (want_low, want_high, _) in zip(buckets, expected, strict=True):
        assert (low, high) == (pytest.approx(want_low, rel=1e-12), pytest.approx(want_high, rel=1e-12))
    assert prometheus.query("edgepress_latency_microseconds_bucket") == []  # it did not take the classic ones
    (p95,) = prometheus.query('histogram_quantile(0.95, edgepress_latency_microseconds{profile="x86-pc"})')
    ours = quantile(histogram, 0.95)
    assert ours is not None and float(p95["value"][1]) == pytest.approx(ours, rel=0.022)

    # more of it: counters grow by what came, histograms add up
    before = int(native["count"])
    device.send_batch(2, sample(histogram), sample(histogram))
    wait_for(
        "the newer samples",
        lambda: [
            r
            for r in prometheus.query('histogram_count(edgepress_latency_microseconds{profile="x86-pc"})')
            if float(r["value"][1]) == before + 2000
        ],
    )
    (inferences,) = prometheus.query('edgepress_inferences_total{profile="x86-pc"}')
    assert float(inferences["value"][1]) == 3000
    merged = merge([histogram] * 3)
    assert merged is not None and sum(merged.counts) == 3000

    # every expression of the dashboards and of the example rules is PromQL that evaluates
    count = 0
    for board in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(board.read_text())["panels"]:
            for target in panel["targets"]:
                prometheus.query(filled(target["expr"]))
                count += 1
    assert count > 50
    p95_by_profile = "histogram_quantile(0.95, sum by (profile) (rate(edgepress_latency_microseconds[1m])))"
    assert wait_for("a rate", lambda: prometheus.query(p95_by_profile))
    rules = wait_for("the rules", lambda: prometheus.get("rules"))
    assert {rule["health"] for group in rules["groups"] for rule in group["rules"]} <= {"ok", "unknown"}


def filled(expression: str) -> str:
    text = expression.replace("$__rate_interval", "1m")
    return re.sub(r"\$(profile|artifact|model|device|rollout)\b", ".*", text)


def enrolled(installation: Installation) -> WireDevice:
    made = installation.cli("device", "register", "wire", "--profile", "x86-pc")
    device = WireDevice("wire", installation.url, made["code"])
    device.mqtt |= {"username": None, "password": None}  # the embedded broker knows no users
    device.connect()
    return device


def sample(histogram: Histogram) -> Sample:
    return Sample(
        at_ms=int(time.time() * 1000), interval_ms=1000, inferences=1000, latency_us=histogram, temp_c=50.0
    )
