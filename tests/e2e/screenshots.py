"""Screenshots of every page of the web UI of a running server, at desk and phone width.

    python tests/e2e/screenshots.py URL FOLDER --name admin --password ... [--dark] [--only overview ...]

The password may come from the environment instead: EDGEPRESS_PASSWORD. Pages of things (a device, a model, a
rollout) show the most telling one there is. The README's picture, taken while `make demo` runs:

    python tests/e2e/screenshots.py URL FOLDER --dashboard docs/dashboard.png
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WIDTHS = {1280: 800, 390: 844}  # css pixels: width -> height
DASHBOARD_MAX_BYTES = 300_000
READY_MS = 15_000


def pages(page: Page, base: str) -> Iterator[tuple[str, str]]:
    """(name, path) of every page; things are looked up through the API with the browser's own session."""

    def read(path: str) -> Any:
        return page.request.get(f"{base}/api/v1{path}").json()

    yield "overview", "/"
    yield "devices", "/devices"
    devices = read("/devices")
    if devices:
        telling = max(devices, key=lambda d: (d["status"] == "online", d["running"] is not None, d["name"]))
        yield "device", f"/devices/{telling['name']}"
        yield "drift", f"/devices/{telling['name']}/drift"
    yield "groups", "/groups"
    yield "profiles", "/profiles"
    yield "profile", "/profiles/raspberry-pi-4"
    yield "models", "/models"
    models = read("/models")
    if models:
        telling = max(models, key=lambda m: len(m["artifacts"]))
        yield "model", f"/models/{telling['name']}"
        yield "model-field", f"/models/{telling['name']}?tab=field"
    yield "jobs", "/jobs"
    yield "searches", "/searches"
    searches = read("/searches")
    if searches:
        telling = max(searches, key=lambda s: (s["chosen"] is not None, s["trials"]["done"]))
        yield "search", f"/searches/{telling['id']}"
    yield "rollouts", "/rollouts"
    rollouts = read("/rollouts")
    if rollouts:
        telling = next((r for r in rollouts if r["state"] not in ("done", "aborted")), rollouts[0])
        yield "rollout", f"/rollouts/{telling['id']}"
    yield "telemetry", "/telemetry"
    yield "telemetry-spread", "/telemetry?group_by=device&view=spread"
    yield "alerts", "/alerts"
    alerts = read("/alerts?state=all")["alerts"]
    if alerts:
        yield "alert", f"/alerts/{alerts[0]['id']}"
    yield "alert-rules", "/alerts/rules"
    yield "alert-silences", "/alerts/silences"
    yield "alert-channels", "/alerts/channels"
    yield "runbook", "/runbooks/device-offline"
    yield "settings", "/settings"
    yield "people", "/people"
    yield "keys", "/trust"
    yield "audit", "/audit"
    yield "not-found", "/nothing/here"


def settle(page: Page) -> None:
    """Nothing loads any more: no placeholder, and every chart has drawn."""
    page.wait_for_function("() => !document.querySelector('[data-testid=loading]')", timeout=READY_MS)
    page.wait_for_function(
        "() => ![...document.querySelectorAll('.plot.none')].some((p) => p.textContent === 'Loading')",
        timeout=READY_MS,
    )
    page.wait_for_function(
        "() => [...document.querySelectorAll('div.plot')].every((p) => p.querySelector('canvas'))",
        timeout=READY_MS,
    )
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def sign_in(page: Page, base: str, name: str, password: str) -> None:
    page.goto(base, wait_until="domcontentloaded")
    page.get_by_test_id("sign-in-name").fill(name)
    page.get_by_test_id("sign-in-password").fill(password)
    page.get_by_test_id("sign-in-submit").click()
    page.get_by_test_id("nav-fleet").wait_for(timeout=READY_MS)


def shoot(browser: Browser, arguments: argparse.Namespace) -> list[Path]:
    """One picture a page and width; the paths written."""
    base, out = arguments.url.rstrip("/"), Path(arguments.folder)
    out.mkdir(parents=True, exist_ok=True)
    suffix = "-dark" if arguments.dark else ""
    made: list[Path] = []
    context = browser.new_context(
        color_scheme="dark" if arguments.dark else "light",
        reduced_motion="reduce",
        viewport={"width": 1280, "height": WIDTHS[1280]},
    )
    page = context.new_page()

    def picture(name: str) -> None:
        if arguments.only and name not in arguments.only:
            return
        for width, height in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": height})
            settle(page)
            # As high as the page: what sticks to the edge of the screen is then at the edge of the picture.
            tall = page.evaluate("() => document.documentElement.scrollHeight")
            page.set_viewport_size({"width": width, "height": max(height, tall)})
            settle(page)
            path = out / f"{name}-{width}{suffix}.png"
            page.screenshot(path=path)
            made.append(path)
            wide = page.evaluate("() => document.documentElement.scrollWidth")
            if wide > width:
                print(f"{path.name}: the page is {wide} px wide and scrolls sideways", file=sys.stderr)

    page.goto(base, wait_until="domcontentloaded")
    page.get_by_test_id("sign-in-name").wait_for(timeout=READY_MS)
    picture("sign-in")
    sign_in(page, base, arguments.name, arguments.password)
    for name, path in list(pages(page, base)):
        if arguments.only and name not in arguments.only:
            continue
        page.goto(base + path, wait_until="domcontentloaded")
        page.locator("h1").wait_for(timeout=READY_MS)
        picture(name)
    context.close()
    return made


def shoot_dashboard(browser: Browser, arguments: argparse.Namespace) -> Path:
    """The README's picture: the overview as one sees it on a desk, one screen high, under 300 KB."""
    base, target = arguments.url.rstrip("/"), Path(arguments.dashboard)
    context = browser.new_context(
        color_scheme="dark" if arguments.dark else "light",
        reduced_motion="reduce",
        viewport={"width": 1280, "height": 860},
    )
    page = context.new_page()
    sign_in(page, base, arguments.name, arguments.password)
    settle(page)
    page.screenshot(path=target)
    context.close()
    if target.stat().st_size > DASHBOARD_MAX_BYTES:
        raise SystemExit(
            f"{target} has {target.stat().st_size} bytes; at most {DASHBOARD_MAX_BYTES} are wanted."
        )
    return target


def main() -> int:
    parser = argparse.ArgumentParser(description="Screenshots of every page of a running server.")
    parser.add_argument("url", help="for example http://127.0.0.1:8080")
    parser.add_argument("folder", help="where the pictures go")
    parser.add_argument("--name", default="admin")
    parser.add_argument("--password", default=os.environ.get("EDGEPRESS_PASSWORD"))
    parser.add_argument("--dark", action="store_true", help="the dark theme")
    parser.add_argument("--only", nargs="+", default=[], help="names of pages, e.g. overview device")
    parser.add_argument("--dashboard", help="write only the README's picture, to this path")
    arguments = parser.parse_args()
    if not arguments.password:
        parser.error("give --password, or set EDGEPRESS_PASSWORD")
    try:
        made = take(arguments)
    except PlaywrightError as error:
        reason = error.message.splitlines()[0]
        print(f"No pictures: {reason}. Is a server running at {arguments.url}?", file=sys.stderr)
        return 1
    for path in made:
        print(f"{path}  {path.stat().st_size / 1000:.0f} KB")
    return 0


def take(arguments: argparse.Namespace) -> list[Path]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        if arguments.dashboard:
            made = [shoot_dashboard(browser, arguments)]
        else:
            made = shoot(browser, arguments)
        browser.close()
    return made


if __name__ == "__main__":
    sys.exit(main())
