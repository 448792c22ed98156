"""What the dynamic security plugin is told. A model of it follows the commands; the real one is in e2e."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgepress_server.broker.dynsec import (
    CONTROL_USER,
    Command,
    changes,
    failures,
    initial_state,
    role_of,
)
from edgepress_server.broker.dynsec_control import DynamicSecurity
from edgepress_server.settings import SERVER_USER

SECRETS = st.sampled_from(["first secret", "second secret", ""])
FLEETS = st.dictionaries(st.sampled_from(["one", "two", "three", "four"]), SECRETS)


class Plugin:
    """The plugin's clients and roles as its documentation tells; errors in its own words."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.disabled: set[str] = set()
        self.roles: set[str] = set()
        self.kicked: list[str] = []

    def run(self, command: Command) -> dict[str, Any]:
        error = self._run(command)
        return {"command": command["command"], **({"error": error} if error else {})}

    def _run(self, command: Command) -> str | None:
        name = command.get("username", "")
        match command["command"]:
            case "createRole":
                if command["rolename"] in self.roles:
                    return "Role already exists"
                self.roles.add(command["rolename"])
            case "deleteRole":
                if command["rolename"] not in self.roles:
                    return "Role not found"
                self.roles.discard(command["rolename"])
            case "createClient":
                if name in self.secrets:
                    return "Client already exists"
                if not all(r["rolename"] in {*self.roles, "device"} for r in command["roles"]):
                    return "Role not found"
                self.secrets[name] = command.get("password", "")
            case _ if name not in self.secrets:
                return "Client not found"
            case "deleteClient":
                del self.secrets[name]
                self.disabled.discard(name)
                self.kicked.append(name)
            case "disableClient":
                self.disabled.add(name)
                self.kicked.append(name)
            case "enableClient":
                self.disabled.discard(name)
            case "setClientPassword":
                self.secrets[name] = command["password"]
            case other:
                raise AssertionError(f"the plugin knows no {other}")
        return None


def state_of(users: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(initial_state(users, "server's", "control's"))
    return found


def role(state: dict[str, Any], name: str) -> set[tuple[str, str]]:
    found = next(r for r in state["roles"] if r["rolename"] == name)
    assert all(acl["allow"] for acl in found["acls"])
    return {(acl["acltype"], acl["topic"]) for acl in found["acls"]}


def test_whatever_nobody_allows_is_denied() -> None:
    state = state_of({})
    assert state["defaultACLAccess"] == {
        "publishClientSend": False,
        "publishClientReceive": False,
        "subscribe": False,
        "unsubscribe": False,
    }


def test_a_device_reaches_its_own_subtree_the_chunks_and_the_servers_state() -> None:
    state = state_of({"pi": "secret"})
    assert role(state, role_of("pi")) == {
        ("publishClientSend", "ep/1/d/pi/up/#"),
        ("publishClientReceive", "ep/1/d/pi/down/#"),
        ("subscribePattern", "ep/1/d/pi/down/#"),
    }
    shared = role(state, "device")
    assert {topic for kind, topic in shared if kind != "unsubscribePattern"} == {
        "ep/1/c/+/+",
        "ep/1/server/#",
    }
    assert "publishClientSend" not in {kind for kind, _ in shared}
    client = next(c for c in state["clients"] if c["username"] == "pi")
    assert [r["rolename"] for r in client["roles"]] == ["device", "device/pi"]


def test_a_device_connects_under_its_own_client_id_only() -> None:
    """Under another's it would hang up on that device."""
    client = next(c for c in state_of({"pi": "secret"})["clients"] if c["username"] == "pi")
    assert client["clientid"] == "edgepress-pi"
    (created,) = [c for c in changes({}, {"pi": "x"})["pi"] if c["command"] == "createClient"]
    assert created["clientid"] == "edgepress-pi"


def test_only_the_control_user_reaches_the_plugin() -> None:
    state = state_of({"pi": "secret"})
    holders = {r["rolename"] for r in state["roles"] if any("$CONTROL" in acl["topic"] for acl in r["acls"])}
    assert holders == {"control"}
    users = [c["username"] for c in state["clients"] if {"rolename": "control"} in c["roles"]]
    assert users == [CONTROL_USER]
    assert role(state, "server") and SERVER_USER in {c["username"] for c in state["clients"]}


def test_secrets_are_not_in_the_file_and_certificates_need_none() -> None:
    text = initial_state({"pi": "the secret", "certified": ""}, "server's", "control's").decode()
    assert "the secret" not in text
    client = next(c for c in json.loads(text)["clients"] if c["username"] == "certified")
    assert "password" not in client


@given(FLEETS, FLEETS, FLEETS)
def test_commands_lead_from_any_fleet_to_any_other(
    first: dict[str, str], second: dict[str, str], third: dict[str, str]
) -> None:
    plugin = Plugin()
    known: dict[str, str | None] = {}
    for wanted in (first, second, third):
        before = dict(plugin.secrets)
        for device, commands in changes(known, wanted).items():
            assert failures([plugin.run(command) for command in commands]) == [], device
        assert set(plugin.secrets) == set(wanted)
        assert {d: s for d, s in plugin.secrets.items() if wanted[d]} == {
            d: s for d, s in wanted.items() if s
        }
        assert plugin.roles == {role_of(device) for device in wanted}
        assert plugin.disabled & set(wanted) == set()
        assert {d for d, s in before.items() if wanted.get(d, None) != s and d not in wanted} <= set(
            plugin.kicked
        )
        known = dict(wanted)


@given(FLEETS, FLEETS, st.data())
def test_after_a_lost_answer_the_same_commands_can_be_sent_again(
    first: dict[str, str], second: dict[str, str], data: st.DataObject
) -> None:
    plugin = Plugin()
    for commands in changes({}, first).values():
        for command in commands:
            plugin.run(command)
    known: dict[str, str | None] = dict(first)
    for device, commands in changes(known, second).items():
        for command in commands[: data.draw(st.integers(0, len(commands)))]:
            plugin.run(command)
        known[device] = None  # the answer was lost somewhere in between
    for commands in changes(known, second).values():
        assert failures([plugin.run(command) for command in commands]) == []
    assert {d for d in plugin.secrets if d not in plugin.disabled} == set(second)
    assert {d: s for d, s in plugin.secrets.items() if second[d]} == {d: s for d, s in second.items() if s}


def test_a_real_failure_is_told() -> None:
    answers = [
        {"command": "createRole", "error": "Role already exists"},
        {"command": "createClient", "error": "no"},
    ]
    assert failures(answers) == ["createClient: no"]


def test_a_fleet_of_ten_thousand_is_written_within_seconds(tmp_path: Path) -> None:
    users = {f"device-{n}": f"{n:064}" for n in range(10_000)}
    started = time.monotonic()
    DynamicSecurity(tmp_path, tmp_path / "plugin.so", "server's", "control's").begin(users)
    assert time.monotonic() - started < 15
    assert (tmp_path / "dynamic-security.json").stat().st_size < 10_000_000
