"""``edgepress device``: many from CSV, codes to print, several revoked; ``login``: whom it trusts."""

import csv
import json
import stat
import time
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from click.testing import CliRunner, Result
from server_story import Browser

from edgepress_server.cli import authority
from edgepress_server.cli import device as device_module
from edgepress_server.cli.client import ApiFailure
from edgepress_server.cli.durations import in_words
from edgepress_server.cli.main import edgepress
from edgepress_server.pki import load_authority
from edgepress_server.store import Store

FLEET = "name,profile,labels,room\npress-1,raspberry-pi-4,site=hall-3,201\npress-2,x86-pc,site=hall-3,\n"


class BrowserApi:
    """The command line's API, answered by the application without a socket."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def _send(self, method: str, path: str, query: dict[str, Any], **more: Any) -> Any:
        url = f"/api/v1{path}?{urlencode(query)}"
        answer = self._browser.client.open(url, method=method, headers=self._browser.headers, **more)
        if answer.status_code >= 400:
            raise ApiFailure(answer.json["error"]["message"], answer.json["error"]["code"])
        return answer.json

    def get(self, path: str, **query: Any) -> Any:
        return self._send("GET", path, query)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        return self._send("POST", path, query, json=body)

    def delete(self, path: str) -> Any:
        return self._send("DELETE", path, {})

    def upload(self, path: str, stream: BytesIO, _size: int, *, content_type: str, **query: Any) -> Any:
        return self._send("POST", path, query, data=stream.read(), content_type=content_type)


class ServerTime:
    """The command runs when the server's clock says."""

    strftime, localtime = time.strftime, time.localtime

    def __init__(self, store: Store) -> None:
        self.time = lambda: store.now_ms() / 1000


@pytest.fixture(autouse=True)
def server(store: Store, operator: Browser, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(device_module, "api", lambda url, token: BrowserApi(operator))
    monkeypatch.setattr(device_module, "time", ServerTime(store))
    return store


def run(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(edgepress, ["device", *words])
    assert "Traceback" not in done.output
    assert done.exit_code == code, done.output
    return done


def test_a_file_of_devices_becomes_codes_and_pictures_for_its_owner_only(tmp_path: Path) -> None:
    fleet, out, pictures = tmp_path / "fleet.csv", tmp_path / "codes.csv", tmp_path / "qr"
    fleet.write_text(FLEET)
    done = run(
        "register", "--csv", str(fleet), "--out", str(out), "--qr-dir", str(pictures), "--expires", "7d"
    )
    assert done.output.startswith("Registered 2 devices: codes in ")
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["device"] for row in rows] == ["press-1", "press-2"]
    assert rows[0]["enrol_url"].endswith(f"/enroll#{rows[0]['code']}")
    assert sorted(path.name for path in pictures.iterdir()) == ["press-1.svg", "press-2.svg"]
    picture = (pictures / "press-1.svg").read_text()
    assert picture.lstrip().startswith("<?xml") or picture.startswith("<svg")
    assert "<title>press-1</title>" in picture and rows[0]["code"] not in picture
    for path in (out, *pictures.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    said = run("codes").output
    assert "press-1" in said and "7 days" in said and rows[0]["code"] not in said


def test_without_files_the_codes_come_as_csv_or_json(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.csv"
    fleet.write_text(FLEET)
    said = run("register", "--csv", str(fleet)).output
    assert [row["device"] for row in csv.DictReader(said.splitlines())] == ["press-1", "press-2"]
    refused = run("register", "--csv", str(fleet), code=1).output
    assert "None of the 2 devices was registered:" in refused and "row 3: There is already" in refused
    again = json.loads(run("register", "--csv", str(fleet), "--replace", "--json").output)
    assert [one["device"] for one in again] == ["press-1", "press-2"]


MISUSES = [
    ("nothing", ["register"], "NAME and --profile"),
    ("a name beside a file", ["register", "a", "--csv", "x"], "none of them beside it"),
    ("a file that is not there", ["register", "--csv", "nowhere.csv"], "cannot be read"),
    ("codes of one into a file", ["register", "a", "--profile", "x86-pc", "--out", "x"], "goes with --csv"),
    ("a time without a unit", ["code", "a", "--expires", "7"], "write 30m, 24h or 7d"),
    ("a time too long", ["code", "a", "--expires", "91d"], "between 1 minute and 90 days"),
    ("nobody to revoke", ["revoke", "--yes"], "give names, or --label"),
    ("labels that nobody has", ["revoke", "--yes", "--label", "a=b"], "no device has these labels"),
    ("somebody unknown", ["revoke", "--yes", "a", "b"], "There is no device 'a'"),
]


@pytest.mark.parametrize(("words", "says"), [m[1:] for m in MISUSES], ids=[m[0] for m in MISUSES])
def test_misuse_is_said(words: list[str], says: str) -> None:
    done = CliRunner().invoke(edgepress, ["device", *words])
    assert done.exit_code != 0 and says in " ".join(done.output.split()), done.output


def test_several_are_revoked_by_name_or_label_after_a_question(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.csv"
    fleet.write_text(FLEET + "stays,x86-pc,site=hall-4,\n")
    run("register", "--csv", str(fleet))
    asked = CliRunner().invoke(edgepress, ["device", "revoke", "--label", "site=hall-3"], input="n\n")
    assert "Revoke 2 devices (press-1, press-2)?" in asked.output and asked.exit_code == 1
    assert "2 devices are revoked" in run("revoke", "--label", "site=hall-3", "--yes").output
    found = {d["name"]: d["status"] for d in json.loads(run("list", "--json").output)}
    assert found == {"press-1": "revoked", "press-2": "revoked", "stays": "registered"}
    assert "stays is revoked" in run("revoke", "stays", "--yes").output


def test_an_open_code_is_taken_back() -> None:
    run("register", "press", "--profile", "x86-pc", "--expires", "30m")
    assert "30 minutes" in run("codes").output
    assert "does not work any more" in run("code", "press", "--cancel").output
    assert "No code is open" in run("codes").output
    assert "has no open enrolment code" in run("code", "press", "--cancel", code=1).output


def test_a_copied_card_is_told_on_the_device(store: Store) -> None:
    run("register", "press", "--profile", "x86-pc")
    assert "warning" not in run("show", "press").output
    with store.transaction() as connection:
        connection.execute("UPDATE devices SET cloned_at = 1800000000000")
    assert "registered, cloned" in run("list").output
    said = " ".join(run("show", "press").output.split())
    assert "two boards use this identity" in said and "edgepress device code press" in said


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 minute"), (119 * 60, "119 minutes"), (86_400, "24 hours"), (7 * 86_400, "7 days")],
)
def test_durations_in_words(seconds: int, words: str) -> None:
    assert in_words(seconds) == words


def test_an_authority_is_kept_for_its_address_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("EDGEPRESS_CA", raising=False)
    made = load_authority(tmp_path / "pki")
    authority.save_authority("https://a", made.pem.decode())
    authority.save_authority("https://b", made.pem.decode())
    assert set(authority.saved_authorities()) == {"https://a", "https://b"}
    known = {one["serialNumber"] for one in authority.context_for("https://a", None).get_ca_certs()}
    assert known == {f"{made.certificate.serial_number:X}".zfill(len(next(iter(known))))}
    assert (
        authority.context_for("https://c", None).get_ca_certs()
        != authority.context_for("https://a", None).get_ca_certs()
    )


@pytest.mark.parametrize("content", [b"", b"?", b"\xff", b"x" * 100_000])
def test_an_authority_that_is_none_is_said(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    done = CliRunner().invoke(
        edgepress, ["login", "--url", "https://a", "--name", "a", "--password", "b", "--ca", str(file)]
    )
    assert done.exit_code == 1 and "no certificate in PEM" in done.output
