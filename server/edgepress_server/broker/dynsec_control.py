"""Sends commands to mosquitto's dynamic security plugin and waits for its answers.

    $CONTROL/dynamic-security/v1            {"commands": [...]}    each with our correlationData
    $CONTROL/dynamic-security/v1/response   {"responses": [...]}   in the same order

One request at a time, over the private socket that only this user can open. Any failure ends the connection;
the next request makes a new one.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edgepress_server.broker.dynsec import CONTROL_USER, Command, changes, failures, initial_state
from edgepress_server.broker.reader import Reader
from edgepress_server.errors import StoreError
from edgepress_server.files import replace_file

log = logging.getLogger(__name__)

REQUEST_TOPIC: Final = "$CONTROL/dynamic-security/v1"
RESPONSE_TOPIC: Final = f"{REQUEST_TOPIC}/response"
ANSWER_S: Final = 10.0
BATCH_S: Final = 0.25  # for so long a batch may keep the broker from everybody else
BATCH_MOST: Final = 50  # devices


class ControlError(StoreError):
    """The plugin did not do what it was asked to; trying again may help."""

    def __init__(self, message: str) -> None:
        super().__init__("broker_control", message)


class Control:
    """A connection to the plugin."""

    def __init__(self, socket: Path, password: str) -> None:
        self._socket = socket
        self._password = password
        self._client: paho.Client | None = None
        self._answers: queue.Queue[list[dict[str, Any]] | None] = queue.Queue()

    def request(self, commands: list[Command]) -> list[dict[str, Any]]:
        """The answers. Raises ControlError when none come."""
        client = self._client or self._connect()
        mark = secrets.token_hex(8)
        body = msgspec.json.encode({"commands": [{**c, "correlationData": mark} for c in commands]})
        client.publish(REQUEST_TOPIC, body, qos=1)
        until = time.monotonic() + ANSWER_S + 0.2 * len(commands)
        while True:
            answers = self._next(until)
            if answers and answers[0].get("correlationData") == mark:
                return answers

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def _connect(self) -> paho.Client:
        answers: queue.Queue[list[dict[str, Any]] | None] = queue.Queue()
        client = paho.Client(CallbackAPIVersion.VERSION2, transport="unix", reconnect_on_failure=False)
        client.username_pw_set(CONTROL_USER, self._password)
        ready = threading.Event()

        def on_connect(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            if reason.is_failure:
                answers.put(None)
            else:
                client.subscribe(RESPONSE_TOPIC, qos=1)

        def on_message(_client: Any, _data: Any, message: paho.MQTTMessage) -> None:
            try:
                answers.put(msgspec.json.decode(message.payload, type=_Answer).responses)
            except msgspec.DecodeError as error:
                log.warning("the broker's security plugin answers what cannot be read: %s", error)

        client.on_connect = on_connect
        client.on_subscribe = lambda *_: ready.set()
        client.on_message = on_message
        client.on_disconnect = lambda *_: answers.put(None)
        self._answers, self._client = answers, client
        try:
            client.connect(str(self._socket))
        except OSError as error:
            self._client = None
            raise ControlError(f"mosquitto does not answer at {self._socket}: {error}.") from error
        client.loop_start()
        if not ready.wait(ANSWER_S):
            self.close()
            raise ControlError("mosquitto does not let the server drive its security plugin.")
        return client

    def _next(self, until: float) -> list[dict[str, Any]]:
        try:
            answers = self._answers.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            answers = None
        if answers is None:
            self.close()
            raise ControlError("mosquitto's security plugin did not answer in time.")
        return answers


class _Answer(msgspec.Struct):
    responses: list[dict[str, Any]]


class DynamicSecurity:
    """Keeps the plugin's clients equal to the store's devices."""

    def __init__(
        self,
        folder: Path,
        plugin: Path,
        server_password: str,
        control_password: str,
        reader: Reader | None = None,
    ) -> None:
        self._file = folder / "dynamic-security.json"
        self._plugin = plugin
        self._server_password = server_password
        self._control_password = control_password
        self._reader = reader
        self._control = Control(folder / "control.sock", control_password)
        self._known: dict[str, str | None] = {}  # device -> secret; None: a command about it was not answered
        self._batch = 4

    @property
    def configuration(self) -> str:
        return f"plugin {self._plugin}\nplugin_opt_config_file {self._file}\n"

    def begin(self, users: Mapping[str, str]) -> None:
        """Before mosquitto starts: the whole state as its file."""
        state = initial_state(users, self._server_password, self._control_password, self._reader)
        replace_file(self._file, state)
        self._known = dict(users)

    def update(self, users: Mapping[str, str]) -> bool:
        """One batch of what differs; True when nothing is left. Raises ControlError."""
        todo = changes(self._known, users)
        devices = list(todo)[: self._batch]
        if not devices:
            return True
        for device in devices:
            self._known[device] = None  # until it is answered
        started = time.monotonic()
        responses = self._control.request([command for device in devices for command in todo[device]])
        took_s = time.monotonic() - started
        wrong = failures(responses)
        if wrong:
            raise ControlError(f"mosquitto's security plugin refuses: {'; '.join(wrong[:3])}.")
        for device in devices:
            if device in users:
                self._known[device] = users[device]
            else:
                del self._known[device]
        self._batch = max(1, min(BATCH_MOST, int(len(devices) * BATCH_S / max(took_s, 0.001))))
        return len(todo) == len(devices)

    def close(self) -> None:
        self._control.close()
