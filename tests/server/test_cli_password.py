"""A lost password: whoever owns the server's data folder gets back in."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from server_story import Browser

from edgepress_server.cli.main import edgepress
from edgepress_server.store import Store
from edgepress_server.store.people import Person


def run(store: Store, *arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(edgepress, ["password", *arguments, "--data", str(store.data_dir)], input=typed)


def test_a_new_random_password_signs_in_and_the_old_one_does_not(store: Store) -> None:
    first = store.people.ensure_admin()
    assert first is not None
    done = run(store, "--json")
    new = json.loads(done.stdout)["password"]
    assert store.people.check_password("admin", new) == Person("admin", "admin")
    assert store.people.check_password("admin", first) is None


def test_the_password_is_printed_for_a_person_too(store: Store) -> None:
    store.people.ensure_admin()
    done = run(store)
    new = done.stdout.rsplit("password:", 1)[1].split()[0]
    assert store.people.check_password("admin", new) is not None


def test_browsers_are_signed_out_and_programs_are_not(viewer: Browser, store: Store) -> None:
    person = Person("viewer", "viewer")
    secret, token = store.tokens.create(person, "ci")
    assert viewer.get("/session")["person"] == "viewer"
    assert run(store, "viewer").exit_code == 0
    viewer.get("/session", status=401)
    assert store.tokens.find(secret) == (person, token)


def test_a_chosen_password_comes_from_a_pipe_and_is_not_printed(store: Store) -> None:
    store.people.add("ada", "long enough", "viewer")
    done = run(store, "ada", "--ask", typed="correct horse\n")
    assert done.exit_code == 0 and "correct horse" not in done.output
    assert store.people.check_password("ada", "correct horse") is not None


@pytest.mark.parametrize(
    ("arguments", "typed", "said"),
    [(["bob"], None, "no person 'bob'. Known: admin"), (["--ask"], "short\n", "8 to 256 characters")],
)
def test_what_will_not_do_is_said(store: Store, arguments: list[str], typed: str | None, said: str) -> None:
    password = store.people.ensure_admin()
    done = run(store, *arguments, typed=typed)
    assert (done.exit_code, said in done.output) == (1, True), done.output
    assert password is not None and store.people.check_password("admin", password) is not None


def test_a_folder_without_a_store_is_not_made_into_one(tmp_path: Path) -> None:
    done = CliRunner().invoke(edgepress, ["password", "--data", str(tmp_path / "typo")])
    assert done.exit_code == 1 and "--data" in done.output
    assert not (tmp_path / "typo").exists()
