"""The fleet's page in Chromium while a thousand samples a second arrive: when it can be used, its frames, its
memory."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from playwright.sync_api import CDPSession, Page, sync_playwright

from edgepress_server.web_stamp import missing_reason
from telemetry_cases.case import Options, Row
from telemetry_cases.pages import seeded, updates

TITLE: Final = "Browser: the fleet's page in Chromium, 10,000 devices, 1,000 samples/s arriving"
INTERACTIVE_S: Final = 1.5
FRAME_MS: Final = 100.0
GROWTH: Final = 1.10  # of the live heap, last third against first third
GROWTH_BYTES: Final = 1_000_000
LOADS: Final = 5
ARGUMENTS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
]

# What the page does by itself is watched from its first line on: frames, and tasks above 50 ms.
WATCH: Final = """
    window.__tasks = []; window.__frames = []; window.__last = 0;
    new PerformanceObserver(list => {
        for (const entry of list.getEntries()) __tasks.push([entry.startTime, entry.duration]);
    }).observe({type: "longtask", buffered: true});
    const frame = now => {
        if (__last) __frames.push([now, now - __last]);
        __last = now;
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
"""
# Interactive: the whole fleet is drawn, and the task that drew it is over.
READY: Final = """() => document.querySelector('[data-testid=overview-ready]')
    && document.querySelector('[data-testid=fleet-charts]') && document.querySelector('.heat-card canvas')"""


def measure(options: Options) -> Iterator[Row]:
    chromium = shutil.which("chromium")
    assert chromium is not None, "no Chromium here; Debian: apt-get install chromium"
    stale = missing_reason()
    assert stale is None, stale
    with seeded(options) as (server, _, made), updates(server, made.devices, options.seconds + 120.0):
        installation = server.installation
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.add_init_script(WATCH)
            _sign_in(page, installation.url, installation.password)
            usable = [_interactive_ms(page, installation.url) for _ in range(LOADS)]
            yield _usable(usable, made.devices)
            yield from _watched(page, options.seconds)
            browser.close()


def _sign_in(page: Page, url: str, password: str) -> None:
    page.goto(url)
    page.get_by_test_id("sign-in-name").fill("admin")
    page.get_by_test_id("sign-in-password").fill(password)
    page.get_by_test_id("sign-in-submit").click()
    page.wait_for_function(READY, timeout=60_000)


def _interactive_ms(page: Page, url: str) -> float:
    page.goto(url, wait_until="commit")
    page.wait_for_function(READY, timeout=60_000, polling="raf")
    drawn: float = page.evaluate("() => performance.now()")
    page.wait_for_timeout(500)
    tasks: list[list[float]] = page.evaluate("() => __tasks")
    return max([drawn, *(start + lasted for start, lasted in tasks if start < drawn)])


def _usable(ms: list[float], devices: int) -> Row:
    median = float(np.median(ms))
    return Row(
        case="browser",
        what=f"time to interactive, {devices} devices",
        measured=f"{median / 1000:.2f} s (median of {len(ms)}, most {max(ms) / 1000:.2f} s)",
        target=f"{INTERACTIVE_S} s",
        met=median <= INTERACTIVE_S * 1000,
        numbers={"ms": ms},
    )


def _watched(page: Page, seconds: float) -> Iterator[Row]:
    """The page is left open, a person scrolls now and then."""
    session = page.context.new_cdp_session(page)
    began_ms: float = page.evaluate(
        "() => { __frames.length = 0; __tasks.length = 0; return performance.now(); }"
    )
    heap: list[float] = []
    every = max(2.0, min(20.0, seconds / 12))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        page.wait_for_timeout(every * 1000)
        page.mouse.wheel(0, 300 if len(heap) % 2 else -300)
        heap.append(_live_heap_bytes(session))
    found: dict[str, Any] = page.evaluate("() => ({frames: __frames, tasks: __tasks})")
    frames = [delta for at, delta in found["frames"] if at > began_ms]
    tasks = [lasted for _, lasted in found["tasks"]]
    yield Row(
        case="browser",
        what=f"  frames over {seconds:.0f} s",
        measured=f"longest {max(frames):.0f} ms, p99 {np.percentile(frames, 99):.0f} ms",
        peer=f"{len(tasks)} tasks above 50 ms, longest {max(tasks, default=0.0):.0f} ms",
        target=f"none over {FRAME_MS:.0f} ms",
        met=max(frames) <= FRAME_MS,
        numbers={"longest_ms": max(frames), "frames": len(frames), "tasks": tasks},
    )
    third = max(1, len(heap) // 3)
    first, last = float(np.mean(heap[:third])), float(np.mean(heap[-third:]))
    yield Row(
        case="browser",
        what="  live JavaScript heap",
        measured=f"{first / 1e6:.1f} MB at first, {last / 1e6:.1f} MB at last",
        target="flat: 10 % and 1 MB more at most",
        met=last <= first * GROWTH + GROWTH_BYTES,
        numbers={"heap_bytes": heap},
    )


def _live_heap_bytes(session: CDPSession) -> float:
    session.send("HeapProfiler.collectGarbage")
    used: float = session.send("Runtime.getHeapUsage")["usedSize"]
    return used
