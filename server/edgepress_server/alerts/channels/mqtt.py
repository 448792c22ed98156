"""Keeps one retained message for each rule on a broker, so that any home automation sees what fires.

    PREFIX/{severity}/{rule}   retained   {"state": "firing" or "ok", "alerts": 2, "subjects": 212, ...}

What is published is the state as it is when it is sent, not as it was when the notice was put in line:
sending twice, or late, changes nothing. Each time is a connection of its own, closed after the PUBACK.

Without a host it goes to the broker that this server uses, as the server's own user: devices may neither read
nor write these topics there (broker/access.py). Another program reads them with an account of its own at that
broker; or the channel names the broker that the automation uses, with an account there.
"""

from __future__ import annotations

import secrets
import ssl
import threading
from typing import Any, Final

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from edgepress_devices.protocol import PREFIX
from edgepress_server.alerts.channels.delivery import ANSWER_S, CONNECT_S, DeliveryError
from edgepress_server.alerts.rule import Severity
from edgepress_server.broker.address import BrokerAddress
from edgepress_server.broker.driver import driver
from edgepress_server.settings import Settings
from edgepress_server.store.alerts import Incident

DEFAULT_PREFIX: Final = f"{PREFIX}/alerts"
CLIENT_ID: Final = "edgepress-link-"  # brokers that ask us let this pattern use queues of its own


def address_of(options: dict[str, Any], secret: str | None, settings: Settings) -> BrokerAddress:
    if not options.get("host"):
        return driver(settings).address(settings)
    return BrokerAddress(
        host=str(options["host"]),
        port=int(options.get("port") or (8883 if options.get("tls") else 1883)),
        username=options.get("username") or None,
        password=secret,
        tls=ssl.create_default_context() if options.get("tls") else None,
    )


def state(rule: str, title: str, severity: Severity, firing: list[Incident], at_ms: int) -> bytes:
    """What the retained message says."""
    return msgspec.json.encode(
        {
            "state": "firing" if firing else "ok",
            "rule": rule,
            "title": title,
            "severity": severity,
            "alerts": len(firing),
            "subjects": sum(incident.subjects for incident in firing),
            "acknowledged": bool(firing) and all(incident.acknowledged_by for incident in firing),
            "silenced": bool(firing) and all(incident.silenced for incident in firing),
            "since": min((incident.opened_at for incident in firing), default=None),
            "sentences": [incident.sentence for incident in firing[:10]],
            "at": at_ms,
        }
    )


def topic(options: dict[str, Any], severity: str, rule: str) -> str:
    return f"{options.get('prefix') or DEFAULT_PREFIX}/{severity}/{rule}"


def publish(address: BrokerAddress, messages: dict[str, bytes]) -> str:
    """Retained, QoS 1; returns once the broker has them all. Raises DeliveryError."""
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=CLIENT_ID + secrets.token_hex(8),
        protocol=MQTTProtocolVersion.MQTTv311,
        transport="unix" if address.socket is not None else "tcp",
    )
    client.connect_timeout = CONNECT_S
    if address.username is not None:
        client.username_pw_set(address.username, address.password)
    if address.tls is not None:
        client.tls_set_context(address.tls)
    answered = threading.Event()
    refusal: list[str] = []

    def on_connect(_client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            refusal.append(str(reason))
        answered.set()

    client.on_connect = on_connect
    try:
        if address.socket is not None:
            client.connect(str(address.socket), 1)
        else:
            client.connect(address.host, address.port)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise DeliveryError(f"the broker {address} could not be reached: {why}") from error
    client.loop_start()
    try:
        if not answered.wait(CONNECT_S):
            raise DeliveryError(f"the broker {address} did not answer in time")
        if refusal:
            raise DeliveryError(f"the broker {address} refused the connection: {refusal[0]}")
        for each, payload in messages.items():
            sent = client.publish(each, payload, qos=1, retain=True)
            if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise DeliveryError(f"the broker {address} broke off the connection")
            sent.wait_for_publish(ANSWER_S)
            if not sent.is_published():
                raise DeliveryError(f"the broker {address} did not take {each} in time")
    except (RuntimeError, ValueError) as error:  # paho: the connection broke while it waited
        raise DeliveryError(f"the broker {address} broke off the connection") from error
    finally:
        client.disconnect()
        client.loop_stop()
    return f"retained at {address}: {', '.join(messages)}"
