"""Mosquitto's files: users, access, configuration. The real one is run in tests/e2e."""

import base64
import hashlib
import stat

import pytest
from fleet_story import Fleet
from server_story import Clock

from edgepress_devices.protocol import DEVICE_NAME
from edgepress_server.broker.mosquitto import (
    ACCESS,
    Mosquitto,
    configuration,
    find_mosquitto,
    hash_password,
    server_password,
)
from edgepress_server.errors import InvalidInputError
from edgepress_server.settings import SERVER_USER, Settings
from edgepress_server.store import Store


@pytest.fixture
def settings(store: Store) -> Settings:
    return Settings(data_dir=store.data_dir, broker="mosquitto", mqtt_port=12345)


def test_passwords_are_in_mosquittos_own_form() -> None:
    """$7$ rounds $ salt $ PBKDF2-HMAC-SHA512 of 64 bytes (mosquitto 2.0, mosquitto_passwd.c)."""
    kind, rounds, salt, digest = hash_password("secret", b"twelve bytes").split("$")[1:]
    assert (kind, rounds, base64.b64decode(salt)) == ("7", "101", b"twelve bytes")
    expected = hashlib.pbkdf2_hmac("sha512", b"secret", b"twelve bytes", 101, 64)
    assert base64.b64decode(digest) == expected


def test_no_device_can_be_named_like_the_server() -> None:
    assert DEVICE_NAME.fullmatch(SERVER_USER) is None


def test_the_configuration_lets_nobody_in_without_a_password(settings: Settings) -> None:
    lines = configuration(settings).splitlines()
    assert "listener 12345 127.0.0.1" in lines
    assert "allow_anonymous false" in lines
    assert f"acl_file {settings.broker_dir}/acl" in lines
    assert all(
        line.split()[0] != "topic" or "readwrite ep/1/#" in line for line in ACCESS.splitlines() if line
    )


def test_the_servers_password_is_drawn_once_and_private(settings: Settings) -> None:
    first = server_password(settings)
    assert server_password(settings) == first
    assert len(first) >= 40
    assert stat.S_IMODE((settings.broker_dir / "server-password").stat().st_mode) == 0o600


def test_enrolled_devices_are_users_and_revoked_ones_are_not(
    settings: Settings, store: Store, clock: Clock
) -> None:
    fleet = Fleet(store, clock)
    fleet.enrol("one", "two")
    store.devices.register("not-yet", "x86-pc", {}, actor=None)
    settings.broker_dir.mkdir()
    mosquitto = Mosquitto(settings, store)
    mosquitto.write_users()
    before = users(settings)
    assert set(before) == {SERVER_USER, "one", "two"}
    store.devices.revoke("one", actor=None)
    mosquitto.write_users()
    after = users(settings)
    assert set(after) == {SERVER_USER, "two"}
    assert after["two"] == before["two"]  # with another salt mosquitto would hang up on everyone
    fleet.devices["two"].enrol()
    mosquitto.write_users()
    assert users(settings)["two"] != before["two"]


def users(settings: Settings) -> dict[str, str]:
    lines = (settings.broker_dir / "passwords").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)


def test_a_missing_mosquitto_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(InvalidInputError, match="apt-get install mosquitto"):
        find_mosquitto()
