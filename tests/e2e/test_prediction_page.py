"""A person asks what a model would do on a device they do not have yet: pages, keyboard, phone."""

import re
from pathlib import Path

import pytest
from installation import Installation
from playwright.sync_api import Page, expect
from screenshots import settle, sign_in

pytestmark = pytest.mark.e2e

PATIENCE_MS = 60_000  # the child that looks into the model yields to everything else


def test_a_model_is_predicted_on_devices_that_nobody_has(
    installation: Installation, page: Page, digits: tuple[Path, Path]
) -> None:
    page.set_default_timeout(PATIENCE_MS)
    installation.start_server()
    installation.cli("model", "add", str(digits[0]), "--name", "digits")
    sign_in(page, installation.url, "admin", installation.password)
    page.goto(f"{installation.url}/models/digits")

    latency = page.get_by_test_id("on-device-latency")
    expect(latency).to_contain_text("datasheet (roofline, expect a factor of 2)", timeout=PATIENCE_MS)
    expect(latency).to_contain_text("≈")

    readout = page.get_by_test_id("roofline-readout")
    page.locator("[data-testid=roofline] [data-layer][tabindex='0']").focus()
    page.keyboard.press("Enter")
    expect(readout).to_contain_text("% of the time")
    slowest = readout.inner_text()
    page.keyboard.press("ArrowRight")
    expect(readout).not_to_have_text(slowest)
    expect(page.locator("[data-testid=layers] tr.chosen")).to_have_count(1)

    page.get_by_test_id("on-profile-raspberry-pi-zero-2w").click()
    expect(page).to_have_url(re.compile("on=raspberry-pi-zero-2w"))
    expect(page.get_by_test_id("roofline")).to_contain_text("Raspberry Pi Zero 2 W")
    shown = page.get_by_test_id("on-device-latency").locator(".figure").inner_text()
    predicted = installation.api.get("/models/digits/prediction", profile="raspberry-pi-zero-2w")
    assert shown == f"≈ {predicted['latency_us']:.3g} µs"

    page.set_viewport_size({"width": 390, "height": 844})
    settle(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
