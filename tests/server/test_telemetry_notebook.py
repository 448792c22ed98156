"""The notebook of the documentation runs, against the real application behind a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from flask_openapi3.openapi import OpenAPI
from telemetry_fleet import Fleet, histogram

from edgepress_devices.protocol import Reading, Sample
from edgepress_server.store import Store, unix_ms

pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas pyarrow")
pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install pandas pyarrow")

NOTEBOOK = Path(__file__).parents[2] / "docs" / "examples" / "telemetry.ipynb"


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(app: OpenAPI, store: Store) -> Iterator[str]:
    httpd = make_server("127.0.0.1", 0, app, handler_class=_Quiet)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_the_notebook_runs(server: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.database, "now_ms", unix_ms)  # notebooks go by the clock on the wall
    now = store.now_ms()
    fleet = Fleet(store)
    for name, profile, slow in (("pi", "raspberry-pi-4", 1.0), ("jet", "jetson", 3.0)):
        fleet.device(name, profile)
        fleet.steady(
            name,
            now - 900_000,
            now,
            lambda at, slow=slow: Sample(  # type: ignore[misc]
                at,
                10_000,
                None,
                2,
                latency_us=histogram(1000 * slow, 1200 * slow),
                power_mw=Reading(2500.0, "ina3221", "board"),
            ),
        )
    researcher = store.people.add("researcher", "a long password", "viewer")
    secret, _ = store.tokens.create(researcher, "notebook")
    monkeypatch.setenv("EDGEPRESS_URL", server)
    monkeypatch.setenv("EDGEPRESS_TOKEN", secret)
    scope: dict[str, object] = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        code = "".join(cell["source"])
        if cell["cell_type"] == "code" and ".plot(" not in code:  # drawing needs a further library
            exec(compile(code, NOTEBOOK.name, "exec"), scope)
    latency_us = scope["latency_us"]
    assert list(latency_us.columns) == ["jetson", "raspberry-pi-4"]  # type: ignore[attr-defined]
    assert latency_us["jetson"].max() == pytest.approx(3600, rel=0.011)  # type: ignore[index]
    assert list(scope["slowest"]["name"]) == ["jet", "pi"]  # type: ignore[index,call-overload]
    assert len(scope["samples"]) == 180  # type: ignore[arg-type]
