"""The brokers that a server can use, by one interface: what each can do, where it is, how it runs.

embedded    iotcore in the broker role's process: nothing to install, knows no users, loopback only
mosquitto   a child of the broker role, with a user and a subtree per device
external    somebody else runs it; `edgepress broker check URL` tells what it can do
"""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass
from typing import Final, Protocol

from edgepress_server.broker.address import BrokerAddress
from edgepress_server.broker.embedded_limits import RETAINED_PER_FILTER
from edgepress_server.broker.mosquitto import (
    find_mosquitto,
    find_plugin,
    run_mosquitto,
    server_password,
    socket_path,
)
from edgepress_server.errors import InvalidInputError
from edgepress_server.settings import SERVER_USER, BrokerKind, Settings
from edgepress_server.store import Store


@dataclass(frozen=True)
class Capabilities:
    """None: not known before it is asked with real messages."""

    is_ours: bool  # runs and ends with this server
    users: bool | None  # a credential per device, and access to its own topics only
    hangs_up: bool | None  # on a device that is revoked, at once
    tls: bool | None
    certificates: bool | None  # a device may show one instead of a secret
    mqtt5: bool | None
    keeps_retained: bool | None  # over a restart


class Driver(Protocol):
    @property
    def capabilities(self) -> Capabilities: ...

    def prepare(self, settings: Settings) -> None:
        """Before any process starts: what is missing is said here. Raises InvalidInputError, StoreError."""

    def address(self, settings: Settings) -> BrokerAddress:
        """Of the link. Raises InvalidInputError, StoreError."""

    def run(self, settings: Settings, store: Store, stop: threading.Event) -> int:
        """Serve until told to stop; the exit code. Only of brokers that are ours."""


class Embedded:
    capabilities = Capabilities(
        is_ours=True,
        users=False,
        hangs_up=False,
        tls=False,
        certificates=False,
        mqtt5=False,  # on a port of its own, which nobody needs
        keeps_retained=False,
    )

    def prepare(self, settings: Settings) -> None:
        """Comes with the package."""

    def address(self, settings: Settings) -> BrokerAddress:
        return BrokerAddress(
            settings.mqtt_host,
            settings.mqtt_port,
            mqtt5=False,
            retained_per_filter=RETAINED_PER_FILTER,
        )

    def run(self, settings: Settings, store: Store, stop: threading.Event) -> int:
        """Until the process ends: the native broker never returns."""
        from edgepress_server.broker.embedded import run_embedded

        run_embedded(settings)
        return 0


class ManagedMosquitto:
    @property
    def capabilities(self) -> Capabilities:
        has_plugin = find_plugin() is not None
        return Capabilities(
            is_ours=True,
            users=True,
            hangs_up=True,
            tls=True,
            certificates=has_plugin,
            mqtt5=True,
            keeps_retained=True,
        )

    def prepare(self, settings: Settings) -> None:
        find_mosquitto()
        find_plugin()
        socket_path(settings)
        server_password(settings)

    def address(self, settings: Settings) -> BrokerAddress:
        return BrokerAddress(
            settings.mqtt_host,
            settings.mqtt_port,
            SERVER_USER,
            server_password(settings),
            socket=socket_path(settings),
        )

    def run(self, settings: Settings, store: Store, stop: threading.Event) -> int:
        return run_mosquitto(settings, store, stop)


class External:
    capabilities = Capabilities(
        is_ours=False,
        users=None,
        hangs_up=None,
        tls=None,
        certificates=None,
        mqtt5=None,
        keeps_retained=None,
    )

    def prepare(self, settings: Settings) -> None:
        self.address(settings)

    def address(self, settings: Settings) -> BrokerAddress:
        return BrokerAddress(
            settings.mqtt_host,
            settings.mqtt_port,
            settings.mqtt_username,
            settings.mqtt_password,
            _context(settings),
        )

    def run(self, settings: Settings, store: Store, stop: threading.Event) -> int:
        raise InvalidInputError("not_ours", "An external broker is not run by this server.")


DRIVERS: Final[dict[BrokerKind, Driver]] = {
    "embedded": Embedded(),
    "mosquitto": ManagedMosquitto(),
    "external": External(),
}


def driver(settings: Settings) -> Driver:
    """Of the broker that the settings name."""
    return DRIVERS[settings.broker]


def _context(settings: Settings) -> ssl.SSLContext | None:
    if settings.mqtt_ca is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(settings.mqtt_ca))
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(
            "bad_ca", f"{settings.mqtt_ca} is no usable CA certificate (PEM): {error}."
        ) from error
