"""Rollouts as people see them: one passes, one stops at its canaries and says why, one goes back.

The pages are the server's own in a real browser; the fleet is planted (`rollout_stories`).
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from rollout_pictures import PASSWORD, pages_of
from rollout_stories import RolloutStories
from screenshots import CHROMIUM_ARGS, settle, sign_in

from edgepress_server.store import database, people

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


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "SYNCHRONOUS", "OFF")  # nobody pulls the plug here
    monkeypatch.setattr(people, "HASH_METHOD", "scrypt:1024:8:1")


def opened(browser: Browser, url: str, path: str) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(30_000)
    expect.set_options(timeout=30_000)
    sign_in(page, url, "admin", PASSWORD)
    page.goto(url + path, wait_until="domcontentloaded")
    page.get_by_test_id("rollout-over-time").wait_for()
    settle(page)
    return page


def test_a_rollout_that_passes_says_by_what_figures(browser: Browser, tmp_path: Path) -> None:
    story = RolloutStories(tmp_path / "server", ago_minutes=40)
    rollout = story.passes()
    with pages_of(story) as url:
        page = opened(browser, url, f"/rollouts/{rollout}")
        expect(page.get_by_test_id("rollout-state")).to_have_text("done")
        expect(page.get_by_test_id("rollout-saying")).to_contain_text("46 of 48 devices run it")
        expect(page.get_by_test_id("rollout-count-unreached")).to_have_text("2 unreached")
        expect(page.get_by_test_id("rollout-gate-p95 ratio").first).to_contain_text("kept")
        expect(page.get_by_test_id("decision-done")).to_contain_text("46 committed, 2 unreached")

        page.get_by_test_id("rollout-count-unreached").click()  # counts lead to their devices
        expect(
            page.locator("[data-testid^=rollout-device-press-], [data-testid^=rollout-device-gate-]")
        ).to_have_count(2)

        page.get_by_test_id("rollout-rollback").click()
        expect(page.locator("dialog")).to_contain_text("46 devices that run the new model get back")
        page.keyboard.press("Escape")
        page.set_viewport_size({"width": 390, "height": 844})
        settle(page)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390


def test_a_rollout_that_stops_at_its_canaries_says_why(browser: Browser, tmp_path: Path) -> None:
    story = RolloutStories(tmp_path / "server", ago_minutes=25)
    rollout = story.stops()
    with pages_of(story) as url:
        page = opened(browser, url, f"/rollouts/{rollout}")
        expect(page.get_by_test_id("rollout-state")).to_have_text("paused")
        reason = page.get_by_test_id("rollout-reason")
        expect(reason).to_contain_text(re.compile(r"Canaries: gate missed: raspberry-pi-4: p95 \d+\.?\d* ms"))
        expect(reason).to_contain_text("1.1 x allowed")
        gates = page.get_by_test_id("rollout-gates")
        expect(gates.locator("tr", has_text="missed")).to_contain_text("raspberry-pi-4")
        expect(gates.locator("tbody tr")).to_have_count(4)

        page.get_by_test_id("rollout-resume").click()
        expect(page.locator("dialog")).to_contain_text("Its gates judge by figures from now on")
        page.get_by_test_id("rollout-overrule").check()
        page.get_by_test_id("rollout-resume-confirm").click()
        expect(page.get_by_test_id("rollout-state")).to_have_text("canary")
        expect(page.get_by_test_id("decision-overruled")).to_contain_text("by admin")
        page.goto(f"{url}/audit")
        expect(page.locator("tr", has_text="resumed rollout")).to_contain_text("admin")


def test_a_rollout_that_goes_back_names_what_took_it_back(browser: Browser, tmp_path: Path) -> None:
    story = RolloutStories(tmp_path / "server", ago_minutes=30)
    rollout = story.goes_back()
    with pages_of(story) as url:
        page = opened(browser, url, f"/rollouts/{rollout}")
        expect(page.get_by_test_id("rollout-state")).to_have_text("rolled back")
        expect(page.get_by_test_id("rollout-reason")).to_contain_text("rolled back as the policy says")
        expect(page.get_by_test_id("rollout-gates")).to_have_count(0)
        page.get_by_test_id("rollout-rolled-back-by").locator("a").first.click()
        expect(page.get_by_test_id("rollout-state")).to_have_text("done")
        assert story.store.rollouts.summary(rollout).counts["committed"] == 0


def test_a_new_rollout_shows_first_what_it_would_do(browser: Browser, tmp_path: Path) -> None:
    story = RolloutStories(tmp_path / "server", ago_minutes=25)
    with pages_of(story) as url:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(30_000)
        sign_in(page, url, "admin", PASSWORD)
        page.goto(f"{url}/groups")
        page.get_by_test_id("group-open").first.click()
        page.get_by_test_id("group-name").fill("presses")
        page.get_by_test_id("group-query").fill("name = press-0*")
        expect(page.get_by_test_id("query-matches")).to_contain_text("Fits 9 devices now")
        page.get_by_test_id("group-save").click()
        expect(page.get_by_test_id("group-row-presses")).to_contain_text("9")

        page.goto(f"{url}/rollouts")
        page.get_by_test_id("rollout-open").click()
        page.get_by_test_id("rollout-group-presses").check()
        expect(page.get_by_test_id("plan-profile-raspberry-pi-4")).to_contain_text("9 of 9")
        page.get_by_test_id("rollout-query").fill("name = (")
        expect(page.get_by_test_id("rollout-plan-problem")).to_contain_text("here.")
        expect(page.get_by_test_id("rollout-submit")).to_be_disabled()
        page.get_by_test_id("rollout-query").fill("not name = press-01")
        page.get_by_test_id("push-policy").click()
        page.get_by_test_id("push-waves").fill("50, 100")
        page.get_by_test_id("push-advanced").click()
        page.get_by_test_id("push-approve-canary").check()
        expect(page.get_by_test_id("plan-profile-raspberry-pi-4")).to_contain_text("8 of 8")
        page.get_by_test_id("rollout-submit").click()
        page.wait_for_url(re.compile("/rollouts/[0-9a-f]{12}"))
        (newest, *_) = story.store.rollouts.list()
        assert newest.policy.approve_canary and [wave.percent for wave in newest.policy.waves] == [50, 100]
        assert newest.target is not None and newest.target.groups == ["presses"]
