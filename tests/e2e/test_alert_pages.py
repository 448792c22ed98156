"""Alerts as an operator sees them: what is wrong, where, since when; who is on it; what is watched.

The pages are the server's own in a real browser; the alerts come from the real engine (`alert_stories`).
"""

import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from rollout_pictures import PASSWORD, pages_of
from screenshots import CHROMIUM_ARGS, settle, sign_in

from edgepress_server.store import database, people

from .alert_stories import CALM, HALL_4, AlertStories
from .conftest import CHROMIUM

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        missing = "no Chromium here; Debian: sudo apt-get install chromium"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        yield made
        made.close()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AlertStories, str]]:
    """The story and the address of its pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "SYNCHRONOUS", "OFF")  # nobody pulls the plug here
        patch.setattr(people, "HASH_METHOD", "scrypt:1024:8:1")
        made = AlertStories(tmp_path_factory.mktemp("alerts") / "server")
        made.tell()
        with pages_of(made) as url:
            yield made, url


@pytest.fixture
def page(browser: Browser, story: tuple[AlertStories, str]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    made = context.new_page()
    made.set_default_timeout(30_000)
    expect.set_options(timeout=30_000)
    sign_in(made, story[1], "admin", PASSWORD)
    yield made
    context.close()


def alert_of(story: AlertStories, rule: str) -> str:
    return next(incident.id for incident in story.store.alerts.firing() if incident.rule == rule)


def test_the_list_says_what_is_wrong_where_and_since_when(
    page: Page, story: tuple[AlertStories, str]
) -> None:
    told, url = story
    page.goto(f"{url}/alerts")
    rows = page.get_by_test_id("alert-list").locator("> li")
    expect(rows).to_have_count(3)
    expect(rows.last).to_contain_text("Board is hot")  # a warning, below what is critical
    away = page.get_by_test_id(f"alert-{alert_of(told, 'away')}")
    expect(away).to_contain_text("4 devices of site hall-4: offline for longer than 5 min")
    expect(page.get_by_test_id("alert-badge")).to_have_text(re.compile("3"))

    page.get_by_test_id(f"silence-{alert_of(told, 'away')}").click()
    expect(page.get_by_test_id("silence-query")).to_have_value("label.site = hall-4")
    expect(page.get_by_test_id("query-matches")).to_contain_text("Fits 4 devices now")
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 390, "height": 844})
    settle(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390


def test_an_alert_shows_its_measure_its_limit_its_story_and_what_to_do(
    page: Page, story: tuple[AlertStories, str]
) -> None:
    told, url = story
    page.goto(f"{url}/alerts/{alert_of(told, 'hot')}")
    expect(page.get_by_test_id("alert-sentence")).to_contain_text("above 80 °C (press-05 is the worst)")
    chart = page.get_by_test_id("alert-chart")
    expect(chart.locator("canvas")).to_have_count(1)
    expect(chart.locator(".legend li")).to_have_count(5)
    expect(chart).to_contain_text(re.compile(r"press-05\s*87\.0 °C"))
    expect(page.get_by_test_id("alert-timeline")).to_contain_text("fires again")
    expect(page.get_by_test_id("alert-runbook")).to_contain_text("How to look")

    page.get_by_test_id("alert-acknowledge").click()
    page.get_by_test_id("acknowledge-note").fill("a fan is on its way")
    page.get_by_test_id("acknowledge-submit").click()
    expect(page.get_by_test_id("alert-acknowledged")).to_contain_text("a fan is on its way")
    expect(page.get_by_test_id("alert-state")).to_have_text("acknowledged")
    expect(page.get_by_test_id("alert-badge")).to_have_text(re.compile("2"))
    page.get_by_test_id("alert-unacknowledge").click()
    expect(page.get_by_test_id("alert-state")).to_have_text("warning")


def test_a_rule_is_tried_on_the_last_day_before_it_is_saved(
    page: Page, story: tuple[AlertStories, str]
) -> None:
    told, url = story
    page.goto(f"{url}/alerts/rules")
    page.get_by_test_id("rule-open").click()
    page.get_by_test_id("rule-title").fill("Presses are warm")
    page.get_by_test_id("rule-metric").select_option("temp_c")
    page.get_by_test_id("rule-fire-at").fill("82.5")
    page.get_by_test_id("rule-resolve-at").fill("90")
    expect(page.locator("dialog")).to_contain_text("at or below the value at which it fires")
    expect(page.get_by_test_id("rule-save")).to_be_disabled()
    page.get_by_test_id("rule-resolve-at").fill("80")
    page.get_by_test_id("rule-test").click()
    expect(page.get_by_test_id("rule-dry-run")).to_contain_text(
        re.compile(r"Would have fired \d+ times in 1 d")
    )
    page.get_by_test_id("rule-save").click()
    row = page.get_by_test_id("rule-row-presses-are-warm")
    expect(row).to_contain_text("above 82.5 °C")
    page.get_by_test_id("rule-enabled-presses-are-warm").uncheck()
    expect(row).to_contain_text("off")
    kept = told.store.alerts.rules.get("presses-are-warm").rule
    assert (kept.fire_at, kept.resolve_at, kept.enabled) == (82.5, 80.0, False)
    page.get_by_test_id("rule-remove-presses-are-warm").click()
    page.get_by_test_id("rule-remove-confirm").click()
    expect(row).to_have_count(0)


def test_a_channel_is_tested_by_a_message_that_really_goes_out(
    page: Page, story: tuple[AlertStories, str]
) -> None:
    _, url = story
    came: list[str] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"thank you")

        def log_message(self, *_: object) -> None:
            pass

    receiver = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=receiver.serve_forever, daemon=True)
    thread.start()
    try:
        page.goto(f"{url}/alerts/channels")
        page.get_by_test_id("channel-open").click()
        page.get_by_test_id("channel-name").fill("here")
        page.get_by_test_id("channel-url").fill(f"http://127.0.0.1:{receiver.server_port}/hook")
        page.get_by_test_id("channel-secret").fill("a secret of ours")
        page.get_by_test_id("channel-private").check()
        page.get_by_test_id("channel-save").click()
        page.get_by_test_id("channel-test-here").click()
        expect(page.get_by_test_id("channel-answer-here")).to_contain_text("thank you")
        assert len(came) == 1 and "a secret of ours" not in came[0]
    finally:
        receiver.shutdown()
        thread.join(10)
        receiver.server_close()


def test_what_is_found_is_told_at_once_wherever_one_is(page: Page, story: tuple[AlertStories, str]) -> None:
    told, url = story
    page.goto(f"{url}/profiles")
    expect(page.get_by_test_id("alert-badge")).to_be_visible()
    for name in HALL_4:
        told.watched.fleet.devices[name].report("idle")
    told.watched.say(**{HALL_4[0].replace("-", "_"): {**CALM, "temp_c": 95.0}})
    told.watched.minutes(4)
    toast = page.get_by_test_id("toast").filter(has_text="Board is hot")
    expect(toast).to_contain_text("gate-01")
    toast.get_by_role("link").click()
    expect(page.get_by_test_id("alert-sentence")).to_contain_text("gate-01: temperature 95 °C")
