"""Free questions about telemetry: all of a question is in its address; answers are the API's own."""

import csv
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from rollout_pictures import PASSWORD, pages_of
from screenshots import CHROMIUM_ARGS, settle, sign_in

from edgepress_server.store import database, people

from .alert_stories import AlertStories
from .conftest import CHROMIUM

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "SYNCHRONOUS", "OFF")  # nobody pulls the plug here
        patch.setattr(people, "HASH_METHOD", "scrypt:1024:8:1")
        made = AlertStories(tmp_path_factory.mktemp("query") / "server")
        made.tell()
        with pages_of(made) as address:
            yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        missing = "no Chromium here; Debian: sudo apt-get install chromium"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    made = context.new_page()
    made.set_default_timeout(30_000)
    expect.set_options(timeout=30_000)
    sign_in(made, url, "admin", PASSWORD)
    yield made
    context.close()


def asked(page: Page) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(page.url).query).items()}


def test_a_question_is_its_address_and_a_reload_asks_the_same(page: Page, url: str) -> None:
    page.goto(f"{url}/telemetry")
    expect(page.get_by_test_id("series-raspberry-pi-4")).to_contain_text("ms")
    page.get_by_test_id("preset-hottest-devices").click()
    page.get_by_test_id("query-where").fill("site = hall-3")
    page.get_by_test_id("query-where").press("Enter")
    expect(page.get_by_test_id("answer-facts")).to_contain_text("8 devices")
    expect(page.get_by_test_id("series-press-08")).to_contain_text("88.0 °C")
    expect(page.get_by_test_id("series-gate-01")).to_have_count(0)
    assert asked(page) == {
        "metric": "temp_c", "aggregate": "max", "group_by": "device", "where": "site = hall-3",
    }  # fmt: skip
    page.reload()
    expect(page.get_by_test_id("query-where")).to_have_value("site = hall-3")
    expect(page.get_by_test_id("series-press-08")).to_contain_text("88.0 °C")
    expect(page.get_by_test_id("answer-chart").locator(".legend li")).to_have_count(8)

    page.set_viewport_size({"width": 390, "height": 844})
    settle(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390


def test_a_range_drawn_on_the_chart_is_looked_at_and_a_double_click_goes_back(page: Page, url: str) -> None:
    page.goto(f"{url}/telemetry?metric=temp_c&group_by=none")
    over = page.get_by_test_id("answer-chart").locator(".u-over")
    over.wait_for()
    settle(page)
    box = over.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.6, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, y, steps=4)
    page.mouse.move(box["x"] + box["width"] * 0.8, y, steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile("from="))
    drawn = asked(page)
    assert abs(int(drawn["to"]) - int(drawn["from"]) - 12 * 60_000) < 60_000  # a fifth of the hour
    settle(page)
    page.get_by_test_id("answer-chart").locator(".u-over").dblclick()
    page.wait_for_function("() => !location.search.includes('from=')")


def test_what_is_taken_along_is_what_is_shown(page: Page, url: str) -> None:
    page.goto(f"{url}/telemetry?metric=temp_c&aggregate=max&group_by=label:site")
    expect(page.get_by_test_id("series-hall-3")).to_contain_text("88.0 °C")
    with page.expect_download() as download:
        page.get_by_test_id("export-csv").click()
    path: Path = download.value.path()
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    highest = max(float(row["value"]) for row in rows if row["series"] == "hall-3" and row["value"])
    assert highest == 88.0


def test_what_is_wrong_with_a_question_is_said_where_it_is_asked(page: Page, url: str) -> None:
    page.goto(f"{url}/telemetry?where=name%20%3D%20(")
    expect(page.get_by_test_id("query-problem")).to_contain_text("here.")
    page.goto(f"{url}/telemetry?metric=nothing")
    expect(page.get_by_test_id("error")).to_contain_text("There is no metric nothing")
    page.goto(f"{url}/telemetry?metric=gpu_percent")
    expect(page.get_by_test_id("empty")).to_contain_text("Nothing was measured")


def test_a_failing_server_is_said_and_the_page_recovers(page: Page, url: str) -> None:
    page.goto(f"{url}/telemetry?metric=temp_c")
    expect(page.get_by_test_id("answer-chart")).to_be_visible()
    page.route("**/api/v1/telemetry/query?**", lambda route: route.fulfill(status=503, body="away"))
    page.get_by_test_id("query-aggregate").select_option("max")
    expect(page.get_by_test_id("error").first).to_contain_text("does not answer")
    expect(page.get_by_test_id("answer-chart")).to_be_visible()  # what was known stays
    page.unroute("**/api/v1/telemetry/query?**")
    expect(page.get_by_test_id("error")).to_have_count(0)
