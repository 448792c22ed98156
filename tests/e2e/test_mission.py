"""The mission, in a real browser: devices by CLI, the model by web UI, telemetry on the dashboard."""

from pathlib import Path

import numpy as np
import pytest
from installation import Installation, wait_for
from playwright.sync_api import Page, expect

import edgepress_agent

pytestmark = pytest.mark.e2e


def test_devices_by_cli_model_by_web_ui_telemetry_on_the_dashboard(
    installation: Installation, digits: tuple[Path, Path], page: Page
) -> None:
    model, data = digits
    installation.start_server()
    fleet = {"shelf-pc": "x86-pc", "shelf-pi": "raspberry-pi-4"}
    for name, profile in fleet.items():
        installation.enrol(name, profile)
        installation.start_agent(name)
    installation.cli("dataset", "add", str(data), "--name", "digits")
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))

    page.goto(installation.url)
    page.get_by_test_id("sign-in-name").fill("admin")
    page.get_by_test_id("sign-in-password").fill(installation.password)
    page.get_by_test_id("sign-in-submit").click()
    for name in fleet:
        expect(page.get_by_test_id(f"device-row-{name}").get_by_test_id("device-status")).to_have_text(
            "online"
        )

    page.goto(f"{installation.url}/models")
    page.get_by_test_id("upload-model").set_input_files(model)
    page.get_by_test_id("upload-dataset-choice").select_option("digits")
    page.get_by_test_id("upload-submit").click()
    expect(page.get_by_test_id("model-row-digits-cnn")).to_be_visible()

    page.goto(f"{installation.url}/models/digits-cnn")
    page.get_by_test_id("push-open").click()
    page.get_by_test_id("push-recipe").select_option("int8")
    for name in fleet:
        page.get_by_test_id(f"push-device-{name}").check()
    page.get_by_test_id("push-submit").click()
    expect(page.get_by_test_id("push-progress")).to_be_visible()

    def both_run_it() -> bool:
        return all((installation.device(name)["running"] or {}).get("recipe") == "int8" for name in fleet)

    wait_for("both devices running the pushed artifact", both_run_it, 120)

    # The page of a device shows its latency without a reload, once a program there uses the model.
    page.goto(f"{installation.url}/devices/shelf-pi")
    with np.load(data) as arrays:
        images = dict(arrays)
    name = next(k for k in images if k not in {"labels", "split"})
    program = edgepress_agent.connect(installation.agent_url("shelf-pi"))

    def latency_is_shown() -> bool:
        program.infer({name: images[name][:1].astype(np.float32)})
        text = page.get_by_test_id("metric-latency-p95").inner_text()
        return any(unit in text for unit in ("ms", "µs", "us"))

    wait_for("the p95 latency on the device's page", latency_is_shown, 30)
    assert "MB" in page.get_by_test_id("metric-memory").inner_text()
    assert complaints == []
