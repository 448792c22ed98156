"""A budget becomes a model on a device: searched on a real server, measured on a real agent, released in the
browser; and a server killed in the middle of a search goes on with it.
"""

from pathlib import Path
from typing import Any

import pytest
from installation import Installation, wait_for
from playwright.sync_api import expect, sync_playwright
from screenshots import CHROMIUM, CHROMIUM_ARGS, sign_in

pytestmark = pytest.mark.e2e

SEARCH_S = 40


def add_digits(installation: Installation, digits: tuple[Path, Path]) -> None:
    model, data = digits
    installation.cli("dataset", "add", str(data), "--name", "digits")
    installation.cli("model", "add", str(model), "--name", "digits-cnn", "--dataset", "digits")


def start(installation: Installation, **options: Any) -> str:
    body = {
        "model": "digits-cnn",
        "profile": "x86-pc",
        "budget": {"artifact_bytes": 30_000, "max_drop": 0.02},
        "options": {"seconds": SEARCH_S, **options},
    }
    return str(installation.api.post("/searches", body)["id"])


def ended(installation: Installation, search_id: str) -> dict[str, Any]:
    def over() -> dict[str, Any] | None:
        found: dict[str, Any] = installation.api.get(f"/searches/{search_id}")
        return found if found["state"] not in {"queued", "running"} else None

    return wait_for("the search's end", over, 240)


def test_a_budget_is_searched_measured_on_a_device_and_released_in_the_browser(
    installation: Installation, digits: tuple[Path, Path]
) -> None:
    installation.start_server()
    installation.enrol("pi", "x86-pc")
    installation.start_agent("pi")
    add_digits(installation, digits)
    search_id = start(installation, device="pi", trials=5)
    found = ended(installation, search_id)
    assert found["state"] == "done", found["message"]
    assert found["chosen"] is not None, found["blocked"]
    trials = installation.api.get(f"/searches/{search_id}/trials")
    best = trials[found["best"]]
    assert best["within"] and best["figures"]["artifact_bytes"] <= 30_000
    measured = [one for one in trials if one["stage"] == "measured"]
    assert measured, [found["notes"], found["measurements"]]
    assert measured[0]["figures"]["latency_basis"] == "measured on pi"
    assert installation.api.get(f"/artifacts/{found['chosen']}")["report"]["search"]["trial"] == found["best"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        page = browser.new_page()
        sign_in(page, installation.url, "admin", installation.password)
        page.get_by_test_id("nav-searches").click()
        page.get_by_role("link", name="digits-cnn").click()
        expect(page.get_by_test_id("search-state")).to_have_text("found")
        page.get_by_test_id("trial-dot-0").press("Enter")
        expect(page.get_by_test_id("trial-panel")).to_contain_text("Trial 0")
        page.get_by_test_id(f"trial-dot-{found['best']}").press("Enter")
        expect(page.get_by_test_id("trial-panel")).to_contain_text(best["title"])
        expect(page.get_by_test_id("trial-panel")).to_contain_text("within the budget")
        page.get_by_test_id("trial-release").click()
        page.get_by_test_id("release-submit").click()
        expect(page.get_by_test_id("push-state")).to_have_text("done", timeout=60_000)
        browser.close()
    wait_for("the release on the device", lambda: runs(installation, "pi", found["chosen"]))


def runs(installation: Installation, name: str, digest: str) -> bool:
    running = installation.device(name)["running"]
    return running is not None and running["digest"] == digest


def test_a_server_killed_in_the_middle_of_a_search_goes_on_with_it(
    installation: Installation, digits: tuple[Path, Path]
) -> None:
    installation.start_server()
    add_digits(installation, digits)
    search_id = start(installation, trials=6)

    def some_done() -> list[dict[str, Any]] | None:
        found = installation.api.get(f"/searches/{search_id}")
        assert found["state"] in {"queued", "running"}, f"too fast to be killed in the middle: {found}"
        trials: list[dict[str, Any]] = installation.api.get(f"/searches/{search_id}/trials")
        return trials if sum(one["state"] == "done" for one in trials) >= 2 else None

    before = wait_for("two trials", some_done, 120)
    installation.kill_server()
    installation.start_server()
    found = ended(installation, search_id)
    assert found["state"] == "done", found["message"]
    after = installation.api.get(f"/searches/{search_id}/trials")
    assert [one["number"] for one in after] == list(range(len(after)))
    for one in before:
        if one["state"] == "done":
            same = after[one["number"]]
            assert (same["figures"], same["attempts"]) == (one["figures"], 1), "it was done a second time"
    assert max(one["attempts"] for one in after) <= 2
