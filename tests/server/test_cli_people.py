"""`edgepress person`, `token` and `audit` against the real API."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask_openapi3.openapi import OpenAPI
from server_story import Browser

from edgepress_server.cli import audit as audit_commands
from edgepress_server.cli import person as person_commands
from edgepress_server.cli import token as token_commands
from edgepress_server.cli.main import edgepress
from edgepress_server.store import Store


class Asked:
    """The command line's `Api`, answered by the application without a socket."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    def get(self, path: str, **query: Any) -> Any:
        return self._ask("GET", path, query_string={k: v for k, v in query.items() if v is not None})

    def post(self, path: str, body: Any = None) -> Any:
        return self._ask("POST", path, json=body)

    def put(self, path: str, body: Any) -> Any:
        return self._ask("PUT", path, json=body)

    def patch(self, path: str, body: Any) -> Any:
        return self._ask("PATCH", path, json=body)

    def delete(self, path: str) -> Any:
        return self._ask("DELETE", path)

    def download(self, path: str, **_query: Any) -> Iterator[bytes]:
        yield self.browser.client.get(f"/api/v1{path}").data

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        answer = self.browser.client.open(
            f"/api/v1{path}", method=method, headers=self.browser.headers, **more
        )
        assert answer.status_code < 400, answer.text
        return answer.json


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, admin: Browser) -> Any:
    for module in (person_commands, token_commands, audit_commands):
        monkeypatch.setattr(module, "api", lambda _url, _token: Asked(admin))

    def command(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(edgepress, arguments)
        assert result.exit_code == code, result.output
        return result.output

    return command


def test_somebody_is_added_changed_and_removed(run: Any, app: OpenAPI) -> None:
    made = json.loads(run("person", "add", "ada", "--role", "operator", "--json"))
    Browser(app.test_client(), "ada", made["password"])
    assert "ada is viewer now" in run("person", "role", "ada", "viewer")
    assert "viewer" in run("person", "list")
    assert "password:" in run("person", "password", "ada")
    assert "have ended" in run("person", "remove", "ada")
    assert "ada" not in run("person", "list")


def test_a_token_with_a_role_and_an_end(run: Any) -> None:
    made = json.loads(run("token", "create", "ci", "--role", "viewer", "--days", "2", "--json"))
    assert made["role"] == "viewer" and made["expires_at"] - made["created_at"] == 2 * 86_400_000


def test_the_log_is_checked_here_and_names_its_first_broken_row(
    run: Any, store: Store, tmp_path: Path
) -> None:
    run("person", "add", "ada")
    said = run("audit", "verify")
    assert said.startswith("All 2 rows hold. Head: 2:")
    head = said.split("Head: ")[1].strip()
    exported = tmp_path / "audit.jsonl"
    assert "2 rows are in" in run("audit", "export", str(exported))
    assert "hold" in run("audit", "verify", str(exported), "--head", head)
    lines = exported.read_text().splitlines()
    exported.write_text("\n".join([lines[0].replace('"admin"', '"eve"'), *lines[1:]]))
    assert "Row 1 does not hold" in run("audit", "verify", str(exported), code=1)
    exported.write_text(lines[0] + "\n")
    assert "the log ends at row 1" in run("audit", "verify", str(exported), "--head", head, code=1)
    exported.write_text("[]\n")
    assert "is no row of an audit log" in run("audit", "verify", str(exported), code=1)
    assert "add_person" in run("audit", "list", "--actor", "admin")
    assert store.audit.head().number == 2
