"""Releases and keys over the REST API: signatures, withdrawal, and who may see the keys."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from server_story import Browser
from signing_story import MODEL, Vendor

from edgepress_server.api.context import context
from edgepress_server.cli import release as release_commands
from edgepress_server.store import Store
from edgepress_server.trust import key_state


@pytest.fixture
def vendor(store: Store) -> Vendor:
    return Vendor(store)


def make(operator: Browser, *digests: str) -> Any:
    return operator.post("/releases", {"model": MODEL, "artifacts": list(digests)}, status=201)


def test_a_release_says_which_signatures_it_has_and_needs(vendor: Vendor, operator: Browser) -> None:
    made = make(operator, vendor.artifact("a"))
    assert (made["state"], made["signatures"], made["signatures_needed"]) == ("signed", 1, 1)
    vendor.release_keys_elsewhere(3, threshold=2)  # the server reads the keys again by itself
    waiting = make(operator, vendor.artifact("b"))
    assert (waiting["state"], waiting["signatures"], waiting["signatures_needed"]) == (
        "awaiting_signature",
        0,
        2,
    )
    assert operator.get(f"/releases/{waiting['id']}") == waiting
    assert [release["id"] for release in operator.get("/releases")] == [waiting["id"], made["id"]]


def test_a_release_is_withdrawn_by_an_operator_once(
    vendor: Vendor, operator: Browser, viewer: Browser
) -> None:
    made = make(operator, vendor.artifact("a"))
    viewer.post(f"/releases/{made['id']}/withdraw", {"reason": "no"}, status=403)
    done = operator.post(f"/releases/{made['id']}/withdraw", {"reason": "answers nonsense"}, status=200)
    assert (done["state"], done["withdrawn_reason"]) == ("withdrawn", "answers nonsense")
    again = operator.post(f"/releases/{made['id']}/withdraw", {}, status=409)
    assert "was withdrawn before" in again["error"]["message"]
    operator.get("/releases/nothing", status=404)


def test_everybody_signed_in_sees_the_keys_and_nobody_a_private_one(
    vendor: Vendor, viewer: Browser, anyone: FlaskClient
) -> None:
    assert anyone.get("/api/v1/keys").status_code == 401
    vendor.release_keys_elsewhere(3, threshold=2)
    seen = viewer.get("/keys")
    assert (seen["root_version"], seen["pending_root"], seen["warnings"]) == (2, None, [])
    release = next(role for role in seen["roles"] if role["role"] == "release")
    assert (release["threshold"], [key["here"] for key in release["keys"]]) == (2, [False] * 3)
    assert seen["root"]["signed"]["version"] == 2
    assert "PRIVATE" not in json.dumps(seen)


def test_a_root_that_ends_soon_is_said_on_the_health_page(
    vendor: Vendor, anyone: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert anyone.get("/api/v1/health").json["warnings"] == []
    monkeypatch.setattr(key_state, "ROOT_WARNING", timedelta(days=400))
    assert "edgepress keys renew" in anyone.get("/api/v1/health").json["warnings"][0]


def test_a_new_device_pins_the_newest_root(
    vendor: Vendor, store: Store, anyone: FlaskClient, app: Any
) -> None:
    vendor.command("rotate", "release")
    with app.app_context():
        assert context().keys.root_metadata["signed"]["version"] == 2


# --- the commands -----------------------------------------------------------------------------------------


class FakeApi:
    """Answers as the API did above."""

    def __init__(self, releases: list[dict[str, Any]]) -> None:
        self.releases = releases

    def get(self, path: str, **_: Any) -> Any:
        return self.releases if path == "/releases" else self.releases[0]

    def post(self, path: str, body: Any) -> Any:
        return self.releases[0] | {"state": "withdrawn", "withdrawn_reason": body["reason"]}


def run(monkeypatch: pytest.MonkeyPatch, releases: list[dict[str, Any]], *arguments: str) -> str:
    monkeypatch.setattr(release_commands, "api", lambda url, token: FakeApi(releases))
    result = CliRunner().invoke(release_commands.release, [*arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_commands_show_states_in_words(
    vendor: Vendor, operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.release_keys_elsewhere(2, threshold=2)
    made = make(operator, vendor.artifact("a"))
    assert "waits for signatures (0 of 2)" in run(monkeypatch, [made], "list")
    shown = run(monkeypatch, [made], "show", made["id"])
    assert "0 of 2 needed" in shown
    said = run(monkeypatch, [made], "withdraw", made["id"], "--reason", "no")
    assert "is withdrawn: no device is told to install it any more" in said


def test_keys_show_says_where_each_key_is(vendor: Vendor, tmp_path: Path) -> None:
    stick = str(tmp_path / "stick")
    passphrase = ["--passphrase-file", str(vendor.passphrase_file)]
    assert vendor.command("take-offline", "root", stick, *passphrase).exit_code == 0
    shown = vendor.command("show").output
    assert "elsewhere" in shown
    assert shown.count("here, encrypted") == 2
    assert "waits for signatures: 1 by root keys of version 1, 1 by its own" in vendor.command("renew").output
    as_json = json.loads(vendor.command("show", "--json").stdout)
    assert as_json["pending_root"] == 2
    root = next(role for role in as_json["roles"] if role["role"] == "root")
    assert root["keys"] == [{"keyid": root["keys"][0]["keyid"], "here": False, "encrypted": None}]
    assert "The change is dropped" in vendor.command("cancel").output
    assert vendor.store.audit.newest(1)[0].action == "keys_cancel"


def test_keys_are_made_on_any_machine(vendor: Vendor, tmp_path: Path) -> None:
    passphrase = ["--passphrase-file", str(vendor.passphrase_file)]
    made = vendor.command("init", str(tmp_path), "--role", "release", "--count", "3", *passphrase, data=False)
    assert made.exit_code == 0, made.output
    public = sorted(tmp_path.glob("*.pub.pem"))
    assert len(public) == 3
    keys = [part for file in public for part in ("--key", str(file))]
    done = vendor.command("rotate", "release", *keys, "--threshold", "2")
    assert "TUF root 2 is published" in done.output
    assert vendor.reload().threshold("release") == 2
    assert vendor.store.audit.newest(1)[0].data["root"] == 2


def test_what_goes_wrong_is_said_in_a_sentence(vendor: Vendor, tmp_path: Path) -> None:
    (tmp_path / "short").write_text("short\n")
    short = ["--passphrase-file", str(tmp_path / "short")]
    for arguments, words in [
        (["init", str(tmp_path), "--role", "root", *short], "fewer than 8 characters"),
        (["rotate", "release", "--key", str(tmp_path / "short")], "is no public key in PEM"),
        (["export", "root", "-o", str(tmp_path / "b")], "no change of the keys waits"),
        (["export", "nothing", "-o", str(tmp_path / "b")], "There is no release 'nothing'"),
        (["export", "releases", "-o", str(tmp_path / "b")], "no release waits"),
        (["import", str(tmp_path / "short")], "is no bundle"),
        (["revoke", "ffff"], "0 keys begin with 'ffff'"),
    ]:
        result = vendor.command(*arguments, data=arguments[0] != "init")
        assert result.exit_code == 1, arguments
        assert words in result.output
        assert "Traceback" not in result.output
    missing = CliRunner().invoke(release_commands.release, ["show"])
    assert missing.exit_code == 2
