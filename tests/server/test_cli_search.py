"""``edgepress search``: what it asks the server, and that nothing predicted reads as measured."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result
from search_story import join, make_trial
from server_story import Browser

from edgepress_server.cli import search as search_module
from edgepress_server.cli.main import edgepress
from edgepress_server.store import Store
from edgepress_server.store.models import ModelFacts
from edgepress_server.store.searches import Kept, Outcome, Seat


class BrowserApi:
    """The command line's API, answered by the application without a socket."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def get(self, path: str, **query: Any) -> Any:
        asked = "&".join(f"{name}={value}" for name, value in query.items() if value is not None)
        return self._browser.get(f"{path}?{asked}" if asked else path)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        return self._browser.post(path, body, 201 if path == "/searches" else 200)


@pytest.fixture(autouse=True)
def server(store: Store, operator: Browser, monkeypatch: pytest.MonkeyPatch) -> Store:
    facts = ModelFacts(100, 8000, 2000, None, [], [])
    store.models.add("lenet", store.blobs.put(b"onnx"), facts, None, actor="ada")
    monkeypatch.setattr(search_module, "api", lambda url, token: BrowserApi(operator))
    return store


def run(*words: str) -> Result:
    done = CliRunner().invoke(edgepress, ["search", *words])
    assert "Traceback" not in done.output
    return done


def start(*more: str) -> Any:
    words = ["start", "lenet", "--profile", "raspberry-pi-4", "--latency", "500us", "--size", "2kB", *more]
    done = run(*words, "--detach", "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def filled(store: Store) -> Seat:
    seat = join(store)
    make_trial(store, seat, b"a" * 8000, accuracy=0.98, drop=0.0, latency_us=1000.0, artifact_bytes=8000)
    make_trial(store, seat, b"b" * 1500, accuracy=0.97, drop=0.01, latency_us=400.0, artifact_bytes=1500)
    return seat


def test_units_become_those_of_the_api() -> None:
    made = start("--seconds", "60", "--workers", "2")
    assert made["budget"]["latency_us"] == 500.0 and made["budget"]["artifact_bytes"] == 2000
    assert made["options"] == {"seconds": 60, "seed": 0, "workers": 2}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--latency", "20"], "has no unit"),
        (["--size", "2 parsecs"], "unknown unit"),
        ([], "say what is needed"),
    ],
)
def test_a_budget_that_cannot_be_meant_is_refused_before_the_server_is_asked(
    words: list[str], said: str, store: Store
) -> None:
    done = run("start", "lenet", "--profile", "raspberry-pi-4", *words)
    assert done.exit_code == 2 and said in done.output
    assert list(store.searches.list()) == []


def test_the_front_marks_what_was_predicted(store: Store) -> None:
    made = start()
    filled(store)
    lines = run("front", made["id"]).output.splitlines()
    assert lines[0].split() == ["TRIAL", "LATENCY", "SIZE", "POINTS", "LOST", "BUDGET", "RECIPE"]
    original, best = lines[1].split(), lines[2].split()
    assert original[:2] == ["0", "~1.00"] and best[:2] == ["1", "~400"]
    assert "1.5 KB" in lines[2] and "~1.5" not in lines[2], "bytes are the file's own"
    assert "met" in best and "missed" in original


def test_showing_a_search_says_what_its_figures_rest_on(store: Store) -> None:
    made = start()
    seat = filled(store)
    shown = run("show", made["id"]).output
    assert "Best so far: trial 1, try 1." in shown
    assert "latency: predicted: datasheet (roofline, expect a factor of 2)" in shown
    digest = store.blobs.put(b"all")
    kept = [Kept(digest, "search", 3, {})]
    store.searches.finish(seat, Outcome(front=[1, 0], best=1, nearest=None, chosen=digest), kept)
    assert "Chosen trial 1, try 1." in run("show", made["id"]).output
    assert made["id"] in run("list").output


def test_an_impossible_budget_says_what_blocks(store: Store) -> None:
    made = start()
    seat = join(store)
    make_trial(store, seat, None, accuracy=0.98, drop=0.0, latency_us=1000.0, artifact_bytes=8000)
    shown = run("show", made["id"]).output
    assert "Nothing is within" in shown and "The nearest is trial 0" in shown
    assert "smallest latency found is 1 ms" in shown


def test_a_recipe_is_printed_as_the_file_that_runs_again(store: Store) -> None:
    made = start()
    filled(store)
    done = run("recipe", made["id"], "1")
    assert done.output.startswith('name = "try-1"\n') and "[[passes]]" in done.output


def test_cancelling_says_what_happens(store: Store) -> None:
    made = start()
    assert "is cancelled" in run("cancel", made["id"]).output


def test_who_stops_waiting_is_told_that_the_search_goes_on_and_how_to_end_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(search_module, "_follow", stopped)
    done = run("start", "lenet", "--profile", "raspberry-pi-4", "--latency", "500us")
    (found,) = store.searches.list()
    assert done.exit_code == 1
    assert f"edgepress search show {found.id} --watch" in done.output
    assert f"edgepress search cancel {found.id}" in done.output
