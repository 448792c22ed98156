"""A device's life in the store: registered, enrolled, heard from, revoked, enrolled again."""

import pytest
from server_story import Clock

from edgepress_devices.protocol import Hardware
from edgepress_server.errors import ConflictError, GoneError, InvalidInputError, NotFoundError
from edgepress_server.store import Store
from edgepress_server.store.devices import CODE_MS, Device

KEY = "a2V5" * 10


def registered(store: Store, name: str = "pi") -> str:
    store.devices.register(name, "raspberry-pi-4", {"room": "lab"}, actor="ada")
    return store.devices.new_code(name, actor="ada")[0]


def enrolled(store: Store, name: str = "pi") -> Device:
    return store.devices.enrol(registered(store, name), KEY, Hardware(machine="aarch64"), "0.1.0")


def test_a_code_gives_credentials_once(store: Store) -> None:
    code = registered(store)
    device = store.devices.enrol(code, KEY, Hardware(machine="aarch64"), "0.1.0")
    assert (device.status, device.public_key, device.hardware) == (
        "offline",
        KEY,
        Hardware(machine="aarch64"),
    )
    assert len(device.mqtt_secret or "") >= 40
    with pytest.raises(GoneError, match="used already"):
        store.devices.enrol(code, KEY, Hardware(), "0.1.0")


def test_a_code_is_read_as_people_type_it(store: Store) -> None:
    code = registered(store)
    typed = code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert store.devices.enrol(typed, KEY, Hardware(), "0.1.0").status == "offline"


def test_a_code_expires(store: Store, clock: Clock) -> None:
    code = registered(store)
    clock.forward(CODE_MS)
    with pytest.raises(GoneError, match="expired"):
        store.devices.enrol(code, KEY, Hardware(), "0.1.0")


def test_a_new_code_makes_the_unused_one_worthless(store: Store) -> None:
    old = registered(store)
    new, _ = store.devices.new_code("pi", actor="ada")
    with pytest.raises(NotFoundError, match="not known here"):
        store.devices.enrol(old, KEY, Hardware(), "0.1.0")
    store.devices.enrol(new, KEY, Hardware(), "0.1.0")


def test_a_new_code_leaves_the_old_credentials_until_it_is_used(store: Store) -> None:
    before = enrolled(store)
    code, _ = store.devices.new_code("pi", actor="ada")
    assert store.devices.get("pi").mqtt_secret == before.mqtt_secret
    after = store.devices.enrol(code, KEY, Hardware(), "0.1.0")
    assert after.mqtt_secret != before.mqtt_secret


def test_revoking_takes_credentials_and_codes_and_a_new_code_is_the_way_back(store: Store) -> None:
    enrolled(store)
    waiting, _ = store.devices.new_code("pi", actor="ada")
    device = store.devices.revoke("pi", actor="ada")
    assert (device.status, device.mqtt_secret, device.public_key) == ("revoked", None, None)
    with pytest.raises(NotFoundError):
        store.devices.enrol(waiting, KEY, Hardware(), "0.1.0")
    with pytest.raises(ConflictError, match="let it in again make a new code"):
        store.devices.register("pi", "raspberry-pi-4", {}, actor="ada")
    code, _ = store.devices.new_code("pi", actor="ada")
    assert store.devices.get("pi").status == "revoked"
    assert store.devices.enrol(code, KEY, Hardware(), "0.1.0").status == "offline"


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a/b", "a" * 64, "ä", "a b", "+", "a\n"])
def test_names_that_would_break_topics_are_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidInputError, match="no device name"):
        store.devices.register(name, "raspberry-pi-4", {}, actor=None)


@pytest.mark.parametrize(
    "labels", [{"": "x"}, {"A": "x"}, {"a": "x" * 121}, {"a": "\x00"}, {f"k{n}": "" for n in range(33)}]
)
def test_labels_that_will_not_do(store: Store, labels: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        store.devices.register("pi", "raspberry-pi-4", labels, actor=None)
