"""The pages: files as they are, the index for what the UI routes itself, a word when it is not built."""

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from edgepress_server.api import pages, problems


@pytest.fixture
def static(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<p>the UI</p>")
    (folder / "assets" / "app-1234.js").write_text("code")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


def client(static: Path, monkeypatch: pytest.MonkeyPatch, reason: str | None) -> FlaskClient:
    monkeypatch.setattr(pages, "missing_reason", lambda static: reason)
    app = Flask("pages", static_folder=None)
    problems.install(app)
    pages.install(app, static)
    return app.test_client()


def test_addresses_of_the_ui_get_its_index(static: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = client(static, monkeypatch, None)
    for path in ("/", "/devices/pi-4", "/enroll"):
        with browser.get(path) as answer:
            assert (answer.text, answer.headers["Cache-Control"]) == ("<p>the UI</p>", "no-cache")


def test_hashed_files_are_kept_for_good_and_missing_ones_are_404(
    static: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = client(static, monkeypatch, None)
    with browser.get("/assets/app-1234.js") as answer:
        assert "immutable" in answer.headers["Cache-Control"] and answer.text == "code"
    for path in ("/assets/app-9999.js", "/../secret.txt", "/%2e%2e/secret.txt", "/assets/../../secret.txt"):
        assert browser.get(path).status_code == 404


def test_a_ui_that_is_not_built_says_which_command_builds_it(
    static: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = client(static, monkeypatch, "Not built: run `make <web>`.").get("/devices")
    assert answer.status_code == 503 and "run `make &lt;web&gt;`" in answer.text
