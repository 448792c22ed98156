"""People, sessions and tokens."""

import sqlite3

import pytest
from server_story import Clock

from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.store import Store
from edgepress_server.store.people import SESSION_MS, Person


def test_the_first_start_makes_an_admin_and_later_ones_do_not(store: Store) -> None:
    password = store.people.ensure_admin()
    assert password is not None
    assert store.people.check_password("admin", password) == Person("admin", "admin")
    assert store.people.ensure_admin() is None


def test_a_wrong_password_and_an_unknown_name_are_refused_alike(store: Store) -> None:
    store.people.add("ada", "correct horse", "viewer")
    assert store.people.check_password("ada", "wrong horse") is None
    assert store.people.check_password("bob", "correct horse") is None


@pytest.mark.parametrize("name", ["", "a b", ".a", "a" * 65, "a\n", "<b>"])
def test_names_that_will_not_do(store: Store, name: str) -> None:
    with pytest.raises(InvalidInputError):
        store.people.add(name, "long enough", "viewer")


def test_a_name_is_taken_once(store: Store) -> None:
    store.people.add("ada", "long enough", "viewer")
    with pytest.raises(ConflictError, match="already"):
        store.people.add("ada", "long enough", "admin")


def test_a_session_ends_by_itself(store: Store, clock: Clock) -> None:
    cookie, session = store.people.open_session(store.people.add("ada", "long enough", "viewer"))
    assert store.people.find_session(cookie) == session
    clock.forward(SESSION_MS)
    assert store.people.find_session(cookie) is None


def test_a_revoked_token_is_worth_nothing(store: Store) -> None:
    ada = store.people.add("ada", "long enough", "operator")
    secret, token = store.tokens.create(ada, "laptop")
    assert store.tokens.find(secret) == (ada, token)
    assert store.tokens.revoke(token.id, actor=ada).revoked_at is not None
    assert store.tokens.find(secret) is None


def test_only_an_admin_revokes_the_tokens_of_others(store: Store) -> None:
    ada = store.people.add("ada", "long enough", "operator")
    bob = store.people.add("bob", "long enough", "operator")
    root = store.people.add("root", "long enough", "admin")
    _, token = store.tokens.create(ada, "laptop")
    with pytest.raises(NotFoundError):
        store.tokens.revoke(token.id, actor=bob)
    store.tokens.revoke(token.id, actor=root)


def test_the_file_holds_no_secret_that_lets_anybody_in(store: Store) -> None:
    ada = store.people.add("ada", "long enough", "operator")
    cookie, _ = store.people.open_session(ada)
    secret, _ = store.tokens.create(ada, "laptop")
    code, _ = store.devices.new_code(
        store.devices.register("pi", "raspberry-pi-4", {}, actor=None).name, actor=None
    )
    with sqlite3.connect(store.database.path) as everything:
        dump = "\n".join(everything.iterdump())
    for hidden in ("long enough", cookie, secret, code, code.replace("-", "")):
        assert hidden not in dump
