"""Mosquitto's files: users, access, configuration. The real one is run in tests/e2e."""

import base64
import hashlib
import stat
from pathlib import Path

import pytest
from fleet_story import Fleet
from msgspec.structs import replace
from server_story import Clock

from edgepress_devices.protocol import DEVICE_NAME
from edgepress_server.broker.driver import DRIVERS, driver
from edgepress_server.broker.dynsec import CONTROL_USER
from edgepress_server.broker.mosquitto import (
    SOCKET_PATH_MOST,
    Mosquitto,
    configuration,
    find_mosquitto,
    find_plugin,
    server_password,
    socket_path,
)
from edgepress_server.broker.mosquitto_files import ACCESS, AccessFiles, hash_password
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


@pytest.mark.parametrize("user", [SERVER_USER, CONTROL_USER])
def test_no_device_can_be_named_like_the_server(user: str) -> None:
    assert DEVICE_NAME.fullmatch(user) is None


def test_the_configuration_lets_nobody_in_without_a_password(settings: Settings) -> None:
    lines = configuration(settings, "access lines here\n").splitlines()
    assert "listener 12345 127.0.0.1" in lines
    assert f"listener 0 {settings.broker_dir}/control.sock" in lines
    assert "allow_anonymous false" in lines
    assert "access lines here" in lines
    assert not [line for line in lines if line.startswith(("certfile", "tls"))]


def test_with_tls_devices_see_a_certificate_and_may_have_to_show_theirs(settings: Settings) -> None:
    with_tls = configuration(replace(settings, tls=True), "").partition("listener 12345")[2].splitlines()
    assert f"certfile {settings.pki_dir}/server.pem" in with_tls
    assert "tls_version tlsv1.2" in with_tls
    assert "require_certificate true" not in with_tls
    both = configuration(replace(settings, tls=True, device_auth="certificate"), "").splitlines()
    for line in ("require_certificate true", "use_identity_as_username true"):
        assert line in both
    assert f"crlfile {settings.pki_dir}/crl.pem" in both


def test_without_the_plugin_a_device_still_reaches_its_own_subtree_only() -> None:
    lines = [line for line in ACCESS.splitlines() if line]
    assert lines[:2] == [f"user {SERVER_USER}", "topic readwrite ep/1/#"]
    assert all(line.startswith("pattern ") for line in lines[2:])


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
    told: list[str] = []
    access = AccessFiles(settings.broker_dir, "server's", lambda: told.append("reload"))
    access.begin(store.devices.mqtt_secrets())
    before = users(settings)
    assert set(before) == {SERVER_USER, "one", "two"}
    assert access.update(store.devices.mqtt_secrets())
    assert told == [], "nothing changed"
    store.devices.revoke("one", actor=None)
    access.update(store.devices.mqtt_secrets())
    after = users(settings)
    assert set(after) == {SERVER_USER, "two"}
    assert after["two"] == before["two"]  # with another salt mosquitto would hang up on everyone
    fleet.devices["two"].enrol()
    access.update(store.devices.mqtt_secrets())
    assert users(settings)["two"] != before["two"]
    assert told == ["reload", "reload"]


def users(settings: Settings) -> dict[str, str]:
    lines = (settings.broker_dir / "passwords").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)


def test_a_missing_mosquitto_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(InvalidInputError, match="apt-get install mosquitto"):
        find_mosquitto()


def test_the_plugin_can_be_named_and_must_then_be_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plugin = tmp_path / "mosquitto_dynamic_security.so"
    monkeypatch.setenv("EDGEPRESS_MOSQUITTO_PLUGIN", str(plugin))
    with pytest.raises(InvalidInputError, match="EDGEPRESS_MOSQUITTO_PLUGIN"):
        find_plugin()
    plugin.touch()
    assert find_plugin() == plugin


def test_certificates_without_the_plugin_are_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, store: Store
) -> None:
    """Nothing else hangs up on a certificate that was revoked."""
    monkeypatch.setenv("EDGEPRESS_MOSQUITTO_PLUGIN", "none")
    Mosquitto(settings, store)
    assert not DRIVERS["mosquitto"].capabilities.certificates
    with pytest.raises(InvalidInputError, match="EDGEPRESS_MOSQUITTO_PLUGIN"):
        Mosquitto(replace(settings, tls=True, device_auth="certificate"), store)


def test_a_path_that_no_socket_can_have_is_said(settings: Settings, tmp_path: Path) -> None:
    deep = replace(settings, data_dir=tmp_path / ("x" * SOCKET_PATH_MOST))
    with pytest.raises(InvalidInputError, match="--data"):
        socket_path(deep)


def test_the_link_speaks_to_the_managed_broker_over_a_private_socket(settings: Settings) -> None:
    address = driver(settings).address(settings)
    assert address.socket == settings.broker_dir / "control.sock"
    assert address.username == SERVER_USER
    assert address.password not in repr(address)
