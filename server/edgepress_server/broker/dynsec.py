"""What mosquitto's dynamic security plugin is told: roles, clients, and the commands that change them.

Plain values; `dynsec_control` sends them. The plugin (2.0.11) knows no placeholder for a user's name, so each
device has a role of its own beside the one that all share:

    role device          receive and subscribe to chunks (no #) and server/#; unsubscribe anything
    role device/NAME     publish below d/NAME/up; receive and subscribe below d/NAME/down
    role server          everything below ep/1: the link; publish below Home Assistant's prefix
    role reader          receive and subscribe to what is announced to Home Assistant
    role control         $CONTROL/dynamic-security/# and nothing else: who drives the plugin

All four default ACLs deny, so nobody reaches $SYS, $CONTROL or another device's topics.

The whole state is written as the plugin's file before mosquitto starts (10,000 devices: seconds), so
whatever differed from the store is put right then. Later changes are commands. The plugin writes its whole
file after each (75 ms at 10,000 devices) and serves nobody meanwhile, so they go out in small batches. Each
list of commands brings a device to its state from whatever it is in: after a lost answer it is sent again.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from edgepress_devices.protocol import PREFIX
from edgepress_server.broker.access import CLIENT_ID_PREFIX
from edgepress_server.broker.mosquitto_files import PBKDF2_ROUNDS, pbkdf2
from edgepress_server.broker.reader import READER_USER, Reader
from edgepress_server.settings import SERVER_USER

CONTROL_USER: Final = "edgepress_control"  # "_" is in no device's name
DEVICE_ROLE: Final = "device"

Command = dict[str, Any]

# Answers that say: it is so already. With them a list of commands can be sent twice.
HARMLESS: Final = {
    ("createRole", "Role already exists"),
    ("createClient", "Client already exists"),
    ("deleteClient", "Client not found"),
    ("deleteRole", "Role not found"),
    ("disableClient", "Client not found"),
}


def initial_state(
    users: Mapping[str, str],
    server_password: str,
    control_password: str,
    reader: Reader | None = None,
) -> bytes:
    """The plugin's file: ``users`` is device -> secret; "" where a device shows a certificate instead."""
    reader = reader or Reader()
    roles = [
        _role("control", _acls("$CONTROL/dynamic-security/#", "send", "receive", "subscribe")),
        _role(
            "server",
            [
                *_acls(f"{PREFIX}/#", "send", "receive", "subscribe", "unsubscribe"),
                *_acls(f"{reader.prefix}/#", "send"),
            ],
        ),
        _role("reader", [acl for topic in reader.filters for acl in _acls(topic, "receive", "subscribe")]),
        _role(
            DEVICE_ROLE,
            [
                *_acls(f"{PREFIX}/c/+/+", "receive", "subscribe"),
                *_acls(f"{PREFIX}/server/#", "receive", "subscribe"),
                *_acls("#", "unsubscribe"),  # what nobody subscribed to cannot be left either
            ],
        ),
        *(_role(role_of(device), _own_acls(device)) for device in users),
    ]
    clients = [
        _client(CONTROL_USER, control_password, "control"),
        _client(SERVER_USER, server_password, "server"),
        *([] if reader.password is None else [_client(READER_USER, reader.password, "reader")]),
        *(
            {**_client(device, secret, DEVICE_ROLE, role_of(device)), "clientid": client_id_of(device)}
            for device, secret in users.items()
        ),
    ]
    denied = dict.fromkeys(("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"), False)
    return msgspec.json.encode({"defaultACLAccess": denied, "clients": clients, "groups": [], "roles": roles})


def role_of(device: str) -> str:
    return f"device/{device}"


def client_id_of(device: str) -> str:
    """The only one that it may use: with another's it would hang up on that device."""
    return f"{CLIENT_ID_PREFIX}{device}"


def admit(device: str, secret: str) -> list[Command]:
    """Commands after which the device may connect with this secret, and nobody with an older one still is."""
    named = {"username": device}
    with_password = {"password": secret} if secret else {}
    commands: list[Command] = [
        {"command": "createRole", "rolename": role_of(device), "acls": _own_acls(device)},
        {
            "command": "createClient",
            **named,
            "clientid": client_id_of(device),
            **with_password,
            "roles": [{"rolename": DEVICE_ROLE}, {"rolename": role_of(device)}],
        },
    ]
    return commands


def renew(device: str, secret: str) -> list[Command]:
    """The same for a device that is known: whoever is connected as it is hung up on first."""
    return [
        {"command": "disableClient", "username": device},
        *admit(device, secret),
        *([{"command": "setClientPassword", "username": device, "password": secret}] if secret else []),
        {"command": "enableClient", "username": device},
    ]


def expel(device: str) -> list[Command]:
    """Commands after which nobody is connected as this device, nor can be."""
    return [
        {"command": "disableClient", "username": device},  # hangs up, without the will
        {"command": "deleteClient", "username": device},
        {"command": "deleteRole", "rolename": role_of(device)},
    ]


def changes(known: Mapping[str, str | None], wanted: Mapping[str, str]) -> dict[str, list[Command]]:
    """device -> commands, those who leave first. ``known``: device -> secret; None: not certain."""
    leaving = {device: expel(device) for device in known if device not in wanted}
    joining: dict[str, list[Command]] = {}
    for device, secret in wanted.items():
        if device not in known:
            joining[device] = admit(device, secret)
        elif known[device] != secret:
            joining[device] = renew(device, secret)
    return leaving | joining


def failures(responses: list[dict[str, Any]]) -> list[str]:
    """What went wrong, without what is harmless."""
    return [
        f"{answer.get('command')}: {answer['error']}"
        for answer in responses
        if "error" in answer and (answer.get("command"), answer["error"]) not in HARMLESS
    ]


_KINDS: Final = {
    "send": "publishClientSend",
    "receive": "publishClientReceive",
    "subscribe": "subscribePattern",
    "unsubscribe": "unsubscribePattern",
}


def _acls(topic: str, *kinds: str) -> list[dict[str, Any]]:
    return [{"acltype": _KINDS[kind], "topic": topic, "priority": 0, "allow": True} for kind in kinds]


def _own_acls(device: str) -> list[dict[str, Any]]:
    base = f"{PREFIX}/d/{device}"
    return [*_acls(f"{base}/up/#", "send"), *_acls(f"{base}/down/#", "receive", "subscribe")]


def _role(name: str, acls: list[dict[str, Any]]) -> dict[str, Any]:
    return {"rolename": name, "acls": acls}


def _client(name: str, secret: str, *roles: str) -> dict[str, Any]:
    client: dict[str, Any] = {"username": name, "roles": [{"rolename": role} for role in roles]}
    if secret:
        salt = secrets.token_bytes(12)
        client |= {
            "password": base64.b64encode(pbkdf2(secret, salt)).decode(),
            "salt": base64.b64encode(salt).decode(),
            "iterations": PBKDF2_ROUNDS,
        }
    return client
