"""Fixtures of the stories: a fresh installation, the digits model and its data set."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from installation import Installation
from playwright.sync_api import Page, sync_playwright

CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture
def page(installation: Installation) -> Iterator[Page]:
    """A page of a real browser, which closes before the installation does."""
    if CHROMIUM is None:
        missing = "no Chromium here; Debian: sudo apt-get install chromium"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        made = browser.new_page(viewport={"width": 1280, "height": 900})
        made.set_default_timeout(30_000)
        yield made
        browser.close()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(model.onnx, data.npz): a CNN trained here in seconds on scikit-learn's digits."""
    from edgepress_compression.data.digits import make_digits_model, write_digits_npz

    folder = tmp_path_factory.mktemp("digits")
    model, data = folder / "digits-cnn.onnx", folder / "digits.npz"
    model.write_bytes(make_digits_model(seed=0))
    write_digits_npz(data)
    return model, data
