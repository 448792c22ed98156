"""The fleet page, the list of devices and the page of one, as people see them.

The pages are the server's own in a real browser; the fleet and its telemetry are planted (`dashboard_story`).
"""

import os
import re
from collections.abc import Iterator

import pytest
from dashboard_story import DashboardStory
from playwright.sync_api import Browser, Page, expect, sync_playwright
from rollout_pictures import PASSWORD, pages_of
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


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DashboardStory, str]]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(database, "SYNCHRONOUS", "OFF")  # nobody pulls the plug here
        patched.setattr(people, "HASH_METHOD", "scrypt:1024:8:1")
        story = DashboardStory(tmp_path_factory.mktemp("fleet") / "server")
        with pages_of(story) as url:
            yield story, url


@pytest.fixture
def page(browser: Browser, fleet: tuple[DashboardStory, str]) -> Iterator[Page]:
    """Signed in; a script that fails, fails the test."""
    _, url = fleet
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=url)
    made = context.new_page()
    made.set_default_timeout(30_000)
    expect.set_options(timeout=30_000)
    complaints: list[str] = []
    made.on("pageerror", lambda error: complaints.append(str(error)))
    sign_in(made, url, "admin", PASSWORD)
    yield made
    context.close()
    assert complaints == []


def narrow(page: Page) -> int:
    """The page's width on a phone of 390 px."""
    page.set_viewport_size({"width": 390, "height": 844})
    settle(page)
    return int(page.evaluate("() => document.documentElement.scrollWidth"))


def test_the_fleet_page_says_what_is_wrong_where_and_with_which_model(page: Page) -> None:
    page.goto("/")
    page.get_by_test_id("overview-ready").wait_for()
    problems = page.get_by_test_id("problems")
    throttled = problems.get_by_test_id("problem-throttled")
    expect(throttled).to_contain_text("belt-2")
    expect(throttled.get_by_role("link", name="keyword-spotter", exact=True)).to_be_visible()
    expect(page.get_by_test_id("fleet-online")).to_have_text("10 of 12")
    expect(page.get_by_test_id("fleet-latency-p95")).to_have_text(re.compile(r"^\d+(\.\d+)? ms$"))
    expect(page.get_by_test_id("running")).to_contain_text("keyword-spotter")
    settle(page)
    assert narrow(page) <= 390

    throttled.get_by_role("link", name="belt-2", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("belt-2")


def test_the_heat_map_is_read_with_the_keyboard_and_leads_to_a_device(page: Page) -> None:
    page.goto("/?heat=temp_c")
    heat = page.get_by_test_id("heat-map")
    expect(heat).to_have_attribute("data-cells", "12")
    canvas = heat.locator("canvas")
    canvas.focus()
    page.keyboard.press("Home")
    said = heat.locator("[aria-live]")
    expect(said).to_contain_text(re.compile(r"^gate-1, jetson-orin-nano, online, Temperature: 5\d\.\d °C"))
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(said).to_contain_text("gate-4")
    expect(said).to_contain_text("not enrolled")
    page.keyboard.press("ArrowDown")  # into the next group, the same column
    expect(said).to_contain_text("belt-4")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("belt-4")


def test_a_new_sample_and_a_new_device_appear_without_a_reload(
    page: Page, fleet: tuple[DashboardStory, str]
) -> None:
    story, _ = fleet
    page.goto("/devices/gate-1?last=5m")
    expect(page.get_by_test_id("metric-latency-p95")).to_have_text(re.compile(r"^3\.\d+ ms$"))
    story.report("gate-1", p95_us=70_000)
    expect(page.get_by_test_id("metric-latency-p95")).to_have_text(re.compile(r"^(69|70)(\.\d)? ms$"))
    expect(page.get_by_test_id("chart-latency")).to_contain_text(re.compile(r"p95\s*(69|70)(\.\d)? ms"))

    page.goto("/devices?q=fresh")
    expect(page.get_by_text("No device matches")).to_be_visible()
    story.register("fresh-1")
    expect(page.get_by_test_id("device-row-fresh-1")).to_contain_text("not enrolled")
    story.store.devices.revoke("fresh-1", actor=None)  # the other tests count twelve


def test_devices_are_found_by_words_filters_and_queries_that_a_link_keeps(page: Page) -> None:
    page.goto("/devices")
    rows = page.locator("[data-testid^=device-row-]")
    page.get_by_test_id("device-search").fill("belt")
    expect(rows).to_have_count(4)
    page.get_by_test_id("device-search").fill("")
    page.get_by_test_id("device-status-filter").select_option("offline")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("gate-3")
    page.reload()
    expect(rows).to_have_count(1)

    page.goto("/devices?sort=-temp_c")
    expect(rows.first).to_contain_text("belt-2")
    page.get_by_role("button", name="Device", exact=True).click()
    expect(page).to_have_url(re.compile(r"sort=name"))
    expect(rows.first).to_contain_text("belt-1")

    page.get_by_test_id("device-by-query").click()
    page.get_by_test_id("device-where").fill("place = gate and row < 3")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(2)
    page.get_by_test_id("device-where").fill("place = ")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("devices-problem")).to_be_visible()
    page.goto("/devices")
    settle(page)
    assert narrow(page) <= 390


def test_a_device_shows_what_it_measures_in_any_range_and_what_it_cannot_tell(page: Page) -> None:
    page.goto("/devices/belt-2?last=1h")
    for chart in ("latency", "stages", "errors", "memory", "cpu", "clock", "temperature", "power", "network"):
        expect(page.get_by_test_id(f"chart-{chart}").locator("canvas").first).to_be_visible()
    expect(page.get_by_test_id("chart-temperature")).to_contain_text("shaded: throttled")
    expect(page.get_by_test_id("chart-power")).to_contain_text("estimate")
    expect(page.get_by_test_id("latency-distribution")).to_contain_text(re.compile(r"p50\s*(8|9)(\.\d+)? ms"))
    silent = page.get_by_test_id("cannot-tell")
    expect(silent).to_contain_text("a GPU")
    expect(silent).not_to_contain_text("its temperature")
    expect(page.get_by_test_id("chart-gpu")).to_have_count(0)

    page.get_by_test_id("range").get_by_text("24 h", exact=True).click()
    expect(page).to_have_url(re.compile(r"last=24h"))
    expect(page.get_by_test_id("chart-latency").locator("canvas").first).to_be_visible()
    page.get_by_test_id("range").locator("label", has_text="From … to").first.click()
    expect(page).to_have_url(re.compile(r"from=\d+&to=\d+"))
    expect(page.get_by_test_id("range-from")).to_be_visible()

    page.goto("/devices/belt-2?last=1h")
    link = page.get_by_test_id("export-csv").get_attribute("href")
    assert link is not None
    text = page.request.get(link).text()
    assert text.startswith("device,")
    assert text.count("\nbelt-2,") >= 170
    settle(page)
    assert narrow(page) <= 390


def test_a_device_without_telemetry_says_so_and_one_that_went_away_says_since_when(page: Page) -> None:
    page.goto("/devices/shelf-1")
    expect(page.get_by_test_id("no-telemetry")).to_contain_text("No telemetry yet")
    page.goto("/devices/gate-3?last=1h")
    expect(page.get_by_test_id("telemetry-old")).to_contain_text(
        re.compile(r"The newest sample is \d+ min old")
    )
    expect(page.get_by_test_id("chart-latency").locator("canvas").first).to_be_visible()


def test_figures_that_cannot_be_renewed_stay_and_say_of_when_they_are(
    page: Page, fleet: tuple[DashboardStory, str]
) -> None:
    story, _ = fleet
    page.goto("/")
    page.get_by_test_id("overview-ready").wait_for()
    page.route("**/api/v1/telemetry/overview*", lambda route: route.abort())
    story.report("belt-3", p95_us=9_000)  # something to read
    expect(page.get_by_test_id("overview-stale")).to_contain_text("The server does not answer")
    expect(page.get_by_test_id("fleet-online")).to_have_text("10 of 12")
    page.unroute("**/api/v1/telemetry/overview*")
    expect(page.get_by_test_id("overview-stale")).to_have_count(0)
    page.route("**/api/v1/telemetry/overview*", lambda route: route.abort())
    page.reload()
    expect(page.get_by_test_id("overview-failed")).to_contain_text("Try again")
