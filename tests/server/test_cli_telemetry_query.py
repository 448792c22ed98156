"""``edgepress telemetry query``: answered by the real application, without a socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from click.testing import CliRunner, Result
from server_story import Browser
from telemetry_fleet import Fleet, histogram

from edgepress_devices.protocol import Sample
from edgepress_server.cli import telemetry_query
from edgepress_server.cli.client import ApiFailure
from edgepress_server.cli.main import edgepress
from edgepress_server.cli.telemetry_query import sparkline
from edgepress_server.store import Store


class BrowserApi:
    url = "http://server:8080"

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def _send(self, path: str, query: dict[str, Any]) -> Any:
        present = {name: value for name, value in query.items() if value is not None}
        answer = self._browser.client.get(f"/api/v1{path}?{urlencode(present)}")
        if answer.status_code >= 400:
            raise ApiFailure(answer.json["error"]["message"], answer.json["error"]["code"])
        return answer

    def get(self, path: str, **query: Any) -> Any:
        return self._send(path, query).json

    def download(self, path: str, **query: Any) -> Iterator[bytes]:
        yield self._send(path, query).data


@pytest.fixture
def run(viewer: Browser, store: Store, monkeypatch: pytest.MonkeyPatch) -> Any:
    fleet = Fleet(store)
    now = store.now_ms()
    for name, site, slow in (("pi-1", "hall-3", 1.0), ("pi-2", "hall-3", 2.0), ("pi-3", "hall-4", 9.0)):
        fleet.device(name, site=site)
        fleet.steady(
            name,
            now - 600_000,
            now,
            lambda at, slow=slow: Sample(at, 10_000, None, 2, latency_us=histogram(1000 * slow, 1100 * slow)),  # type: ignore[misc]
        )
    monkeypatch.setattr(telemetry_query, "api", lambda url, token: BrowserApi(viewer))

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(edgepress, ["telemetry", "query", *arguments], catch_exceptions=False)

    return invoke


def test_a_table_has_a_line_for_each_series_with_a_curve(run: Any) -> None:
    found = run("--metric", "latency", "--group-by", "label:site", "--aggregate", "p95")
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines()
    assert lines[0].split()[:2] == ["SERIES", "TOTAL"]
    assert lines[1].startswith("hall-3") and "2.2" in lines[1] and "▁" in lines[1]
    assert lines[2].startswith("hall-4") and "9.85 ms" in lines[2]
    assert lines[3].startswith("Latency, p95, ")


def test_where_leaves_devices_out(run: Any) -> None:
    found = run("--metric", "inferences", "--aggregate", "sum", "--where", "site = hall-4")
    assert "120" in found.stdout.splitlines()[1]


def test_a_file_is_written_as_it_is_asked_for(run: Any, tmp_path: Path) -> None:
    target = tmp_path / "latency.csv"
    found = run("--metric", "latency", "--group-by", "device", "--format", "csv", "-o", str(target))
    assert found.exit_code == 0 and "Wrote" in found.stderr
    header, first, *_ = target.read_text().splitlines()
    assert header == "time_ms,series,title,metric,aggregate,unit,value"
    assert first.split(",")[1:6] == ["pi-3", "pi-3", "latency_us", "p95", "us"]
    assert run("--metric", "latency", "--format", "parquet").stdout_bytes[:4] == b"PAR1"


def test_the_link_names_the_question_as_the_page_reads_it(run: Any) -> None:
    found = run("--metric", "latency", "--where", "site = hall-3", "--last", "6h", "--step", "5m", "--link")
    parts = urlsplit(found.stdout.strip())
    assert (parts.netloc, parts.path) == ("server:8080", "/telemetry")
    assert parse_qs(parts.query) == {
        "metric": ["latency"],
        "group_by": ["none"],
        "where": ["site = hall-3"],
        "last_ms": ["21600000"],
        "step_ms": ["300000"],
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metric", "speed"], "metric: 'speed' is none"),
        (
            ["--metric", "cpu_percent", "--aggregate", "p95"],
            "Quantiles are kept of latency, queue, pre, post",
        ),
        (["--metric", "latency", "--group-by", "colour"], "group_by: 'colour' is none"),
        (["--metric", "latency", "--where", "site = = 3"], "^ here"),
        (["--metric", "latency", "--artifact", "abc"], "artifact: 'abc' is none that this server knows"),
        (["--metric", "latency", "--step", "soon"], "'soon' is no step; write 10s, 5m, 1h or 1d"),
        ([], "Name a --metric"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(run: Any, arguments: list[str], said: str) -> None:
    found = run(*arguments)
    assert found.exit_code != 0 and said in found.output


def test_the_list_says_what_can_be_asked(run: Any) -> None:
    text = run("--list").stdout
    assert "latency_us" in text and "p95" in text and "label:site" in text


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], ""),
        ([None, None], ""),
        ([5.0, 5.0], "▁▁"),
        ([0.0, None, 7.0], "▁ █"),
        ([float(n) for n in range(64)], None),
    ],
)
def test_a_curve_of_characters(values: list[float | None], drawn: str | None) -> None:
    found = sparkline(values)
    assert len(found) == 32 if drawn is None else found == drawn
