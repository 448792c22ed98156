"""`edgepress telemetry top`: what keys do, what is drawn, at any size of a terminal."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from edgepress_server.cli import telemetry_top, top_feed
from edgepress_server.cli.client import ApiFailure
from edgepress_server.cli.top_draw import SPARKS, drawn, sparkline
from edgepress_server.cli.top_feed import RETRY_MAX_S, Feed
from edgepress_server.cli.top_keys import ESCAPES, keys_of
from edgepress_server.cli.top_view import SORTS, Page, View, pressed

KEYS = [*sorted(set(ESCAPES.values())), "enter", "escape", "backspace", *"qsSf/jk x"]


def row(n: int, **more: Any) -> dict[str, Any]:
    return {
        "name": f"board-{n:05}",
        "profile": "raspberry-pi-4",
        "status": "online",
        "labels": {"site": "hall 3"},
        "seen_at": None,
        "running": {"digest": "a" * 64, "model": "digits"},
        "step": "idle",
        "reason": None,
        "p50_us": 900.0,
        "p95_us": 12_345.0,
        "inferences_per_s": 12.25,
        "errors": 3,
        "cpu_percent": 45.6,
        "temp_c": 71.2,
        "power_mw": 2510.0,
        "rss_bytes": 41_000_000,
        "agent_version": "0.1.0",
        **more,
    }


def view_of(matching: int, shown: int, offset: int = 0, **more: Any) -> View:
    rows = tuple(row(offset + n) for n in range(shown))
    page = Page(10_000, matching, offset, rows, {"online": 9_990, "offline": 10})
    return View(page=page, offset=offset, **more)


def test_a_terminal_of_80_by_24_shows_the_worst_devices() -> None:
    lines = drawn(view_of(10_000, 20), 80, 24, "12:00:00")
    assert len(lines) == 24 and max(map(len, lines)) <= 80
    assert lines[0].startswith("10,000 devices: 9,990 online, 10 offline") and lines[0].endswith("12:00:00")
    assert lines[1] == "1-20 of 10,000, slowest first"
    assert lines[2].split() == ["DEVICE", "STATE", "P95", "REQ/S", "ERR", "CPU", "TEMP", "POWER"]
    assert (
        lines[3].split() == "> board-00000 online 12.35 ms 12.2 3 46% 71°C 2.5 W".replace("> ", ">").split()
    )
    assert "q: quit" in lines[-1]


@given(
    st.integers(1, 200),
    st.integers(1, 60),
    st.integers(0, 60),
    st.lists(st.sampled_from(KEYS), max_size=30),
    st.text(max_size=300),
)
def test_nothing_is_ever_drawn_beyond_the_terminal(
    width: int, height: int, shown: int, keys: list[str], text: str
) -> None:
    page = Page(shown, shown, 0, tuple(row(n, name=f"{text}{n}", reason=text) for n in range(shown)))
    view = View(page=page, trouble=text[:20])
    for key in keys:
        view = pressed(view, key, height)
        lines = drawn(view, width, height)
        assert len(lines) <= max(1, height) and all(len(line) <= width for line in lines)
        assert all(line.isprintable() for line in lines)


@given(st.integers(0, 300), st.integers(8, 40), st.lists(st.sampled_from(KEYS), max_size=60))
def test_keys_never_leave_the_list(matching: int, height: int, keys: list[str]) -> None:
    view = View(page=Page(matching, matching))
    for key in keys:
        view = pressed(view, key, height)
        fit = height - 4
        assert 0 <= view.offset <= max(0, matching - fit) and 0 <= view.cursor < fit
        assert view.sort in SORTS


def press(view: View, *keys: str, height: int = 24) -> View:
    for key in keys:
        view = pressed(view, key, height)
    return view


def test_moving_through_ten_thousand_devices() -> None:
    view = view_of(10_000, 20)
    assert (press(view, "down", "down", "up").cursor, press(view, "up").offset) == (1, 0)
    assert press(view, *["down"] * 21).offset == 2
    assert press(view, "pagedown", "pagedown").offset == 40
    end = press(view, "end")
    assert (end.offset, end.cursor) == (9_980, 19)
    assert press(end, "home") == view


def test_sorting_goes_round() -> None:
    view = view_of(100, 20)
    assert press(view, "s").sort == "-errors"
    assert press(view, *["s"] * len(SORTS)).sort == view.sort
    assert press(view, "S", "s").sort == view.sort


def test_a_filter_is_typed_applied_and_taken_back() -> None:
    view = press(view_of(100, 20, offset=40), "f", *"pi-q", "backspace")
    assert view.typing == "pi-" and "filter: pi-_" in drawn(view, 80, 24)[-1] and not view.done
    applied = press(view, "enter")
    assert (applied.query, applied.typing, applied.offset) == ("pi-", None, 0)
    assert press(view, "escape").query == ""
    assert press(applied, "escape").query == ""


def test_enter_shows_one_device_with_its_last_hour() -> None:
    view = press(view_of(100, 20), "down", "enter")
    assert view.device == "board-00001"
    assert any("Reading its last hour" in line for line in drawn(view, 80, 24))
    series: dict[str, list[float | None]] = {metric: [1.0, None, 3.0] for metric, _, _ in SPARKS}
    shown = "\n".join(drawn(View(**{**vars(view), "detail": {"series": series}}), 80, 24))
    assert "▁ █" in shown and "temperature" in shown and "site=hall 3" in shown
    nothing = {metric: [None, None] for metric, _, _ in SPARKS}
    silent = "\n".join(drawn(View(**{**vars(view), "detail": {"series": nothing}}), 80, 24))
    assert "no telemetry within the last hour" in silent
    assert press(view, "escape").device is None and press(view, "q").done


def test_a_row_of_a_page_that_is_not_there_yet_cannot_be_entered() -> None:
    assert press(view_of(100, 20), "pagedown", "enter").device is None


def test_sparklines_keep_the_worst_of_what_they_join() -> None:
    assert sparkline([1.0, 2.0, None, 8.0], 10) == "▁▂ █"
    assert sparkline([1.0, 9.0, 1.0, 1.0], 2) == "█▁"
    assert (sparkline([None], 5), sparkline([4.0, 4.0], 5)) == ("", "▁▁")


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1b[Bx", ["up", "down", "x"]),
        (b"\x1b[5~\x1b[6~", ["pageup", "pagedown"]),
        (b"\x1b", ["escape"]),
        (b"\r\x7f\x03", ["enter", "backspace", "ctrl-c"]),
        (b"\x1b[1;5Cq", ["q"]),  # control and right: means nothing here
        ("ü".encode(), ["ü"]),
        (b"\xff\xfeq", ["q"]),
    ],
)
def test_keys_of_a_terminal(data: bytes, keys: list[str]) -> None:
    assert keys_of(data) == keys


@given(st.binary(max_size=60))
def test_any_bytes_are_keys_or_nothing(data: bytes) -> None:
    for key in keys_of(data):
        press(View(page=Page(5, 5)), key)


class Server:
    """Answers as the API does, unless it is away."""

    def __init__(self) -> None:
        self.failure: ApiFailure | None = None

    def get(self, path: str, **query: Any) -> Any:
        if self.failure is not None:
            raise self.failure
        if path == "/telemetry/series":
            return {"series": {"temp_c": [50.0]}}
        offset, limit = query["offset"], query["limit"]
        return {
            "total": 50,
            "matching": 50,
            "offset": offset,
            "devices": [row(n) for n in range(offset, min(50, offset + limit))],
            "statuses": {"online": 50},
        }


@pytest.mark.fault("server away", "top says so, shows what it knew, asks ever more rarely and goes on")
def test_a_lost_connection_is_said_and_goes_by() -> None:
    server = Server()
    told: list[tuple[Page | None, Any, str]] = []
    feed = Feed(server, lambda *what: told.append(what))  # type: ignore[arg-type]
    view = View(device="board-00003")
    assert feed._read(view, 20, 1.0) == top_feed.EVERY_S
    assert told[-1][0] is not None and told[-1][1] == {"series": {"temp_c": [50.0]}} and told[-1][2] == ""
    server.failure = ApiFailure("no edgepress server answers.")
    pause_s = 1.0
    for _ in range(6):
        pause_s = feed._read(view, 20, pause_s)
        assert told[-1][0] is None and "Connection lost" in told[-1][2]
    assert pause_s == RETRY_MAX_S
    server.failure = ApiFailure("The token has expired.", "bad_token", 401)
    assert feed._read(view, 20, 1.0) == RETRY_MAX_S
    assert told[-1][2] == "The token has expired."
    server.failure = None
    assert feed._read(view, 20, RETRY_MAX_S) == top_feed.EVERY_S and told[-1][2] == ""


def test_without_a_terminal_one_frame_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry_top, "api", lambda _url, _token: Server())
    done = CliRunner().invoke(telemetry_top.top, ["--url", "http://127.0.0.1:1"])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].startswith("50 devices: 50 online") and len(lines) == 3 + 46
    assert "\x1b" not in done.output and "q: quit" not in done.output
    machine = CliRunner().invoke(telemetry_top.top, ["--url", "http://127.0.0.1:1", "--json"])
    assert '"matching": 50' in machine.output
