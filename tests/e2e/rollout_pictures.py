"""Pictures of three rollouts: one passes, one stops at its canaries and says why, one goes back.

    python tests/e2e/rollout_pictures.py docs

writes rollout-passed.png, rollout-stopped.png and rollout-rolled-back.png there.

The stories are those of `rollout_stories`; the pages are the server's own, in a real browser.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, sync_playwright
from werkzeug.serving import make_server

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY / "tests" / "server"), str(REPOSITORY / "tests" / "agent")]

from dashboard_story import DashboardStory  # noqa: E402 - they stand in the tests' folders
from rollout_stories import RolloutStories  # noqa: E402
from screenshots import CHROMIUM, CHROMIUM_ARGS, settle, sign_in  # noqa: E402

from edgepress_server.api import create_app  # noqa: E402
from edgepress_server.settings import Settings  # noqa: E402

PASSWORD: Final = "for the pictures only"
STORIES: Final = {  # name of the picture -> (story, how many minutes ago it begins, height of the picture)
    "rollout-passed": ("passes", 36, 1180),
    "rollout-stopped": ("stops", 19, 1180),
    "rollout-rolled-back": ("goes_back", 24, 1180),
}
MAX_BYTES: Final = 220_000


@contextmanager
def pages_of(story: RolloutStories | DashboardStory) -> Iterator[str]:
    """The web application on the story's store; its address."""
    story.until_now()
    store = story.store
    store.people.add("admin", PASSWORD, "admin")
    for role in ("web", "link", "worker", "broker"):
        store.facts.heartbeat(role, mqtt_connected=True)  # type: ignore[arg-type]
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = create_app(Settings(data_dir=store.data_dir), store)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        app.extensions["edgepress"].fan.close()
        server.shutdown()
        thread.join(10)
        server.server_close()
        store.close()


def shoot(browser: Browser, name: str, folder: Path) -> Path:
    """One picture; its path. Raises SystemExit when it is larger than a page should carry."""
    lived, ago_minutes, height = STORIES[name]
    with tempfile.TemporaryDirectory() as work:
        story = RolloutStories(Path(work) / "server", ago_minutes=ago_minutes)
        rollout = getattr(story, lived)()
        with pages_of(story) as url:
            context = browser.new_context(
                color_scheme="light", reduced_motion="reduce", viewport={"width": 1280, "height": height}
            )
            page = context.new_page()
            sign_in(page, url, "admin", PASSWORD)
            page.goto(f"{url}/rollouts/{rollout}", wait_until="domcontentloaded")
            page.get_by_test_id("rollout-over-time").wait_for()
            settle(page)
            path = folder / f"{name}.png"
            page.screenshot(path=path)
            context.close()
    if path.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{path} has {path.stat().st_size} bytes; at most {MAX_BYTES} are wanted.")
    return path


def main(folder: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        for name in STORIES:
            path = shoot(browser, name, Path(folder))
            print(f"{path}  {path.stat().st_size / 1000:.0f} KB")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(REPOSITORY / "docs"))
