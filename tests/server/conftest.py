"""A store on disk with a clock that tests move, and the web application on it. No sockets, no sleeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from flask_openapi3.openapi import OpenAPI
from server_story import Browser, Clock, sign_in

from edgepress_server.api import create_app
from edgepress_server.settings import Settings
from edgepress_server.store import Store, database, open_store, people


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug and nobody steals the passwords here: do not wait for the disk and for scrypt."""
    monkeypatch.setattr(database, "SYNCHRONOUS", "OFF")
    monkeypatch.setattr(people, "HASH_METHOD", "scrypt:1024:8:1")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    made = open_store(tmp_path / "server", clock)
    yield made
    made.close()


@pytest.fixture
def app(store: Store) -> Iterator[OpenAPI]:
    made = create_app(Settings(data_dir=store.data_dir), store)
    yield made
    made.extensions["edgepress"].fan.close()


@pytest.fixture
def anyone(app: OpenAPI) -> FlaskClient:
    """Nobody is signed in."""
    return app.test_client()


@pytest.fixture
def admin(app: OpenAPI, store: Store) -> Browser:
    return sign_in(app, store, "admin")


@pytest.fixture
def operator(app: OpenAPI, store: Store) -> Browser:
    return sign_in(app, store, "operator")


@pytest.fixture
def viewer(app: OpenAPI, store: Store) -> Browser:
    return sign_in(app, store, "viewer")
