"""Under which rules devices fetch: of the fleet, and of one device."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from flask import Response
from pydantic import Field

from edgepress_devices.protocol import Delivery
from edgepress_server.api.answers import Answer, Asked, answer, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.errors import InvalidInputError
from edgepress_server.store.delivery import DeliveryRules

api = section("delivery", "Under which rules devices fetch: how fast, when, and by what way.")

Rate = Annotated[int, Field(ge=1000, le=2**40, description="Bytes a second")]
Hours = Annotated[
    list[Annotated[str, Field(max_length=20)]],
    Field(max_length=8, description="Only then, such as 22:00-06:00; empty: always"),
]


class RulesAsked(Asked):
    """All rules: what is left out is not limited."""

    rate_bytes_s: Rate | None = Field(None, description="Of one device")
    hours: Hours = Field(default_factory=list)
    timezone: Annotated[str, Field(max_length=64, description="IANA name, of the hours")] = "UTC"
    metered: Literal["allow", "wait"] = Field("allow", description="wait: not over a metered link")
    transport: Literal["auto", "mqtt", "https"] = Field(
        "auto", description="auto: MQTT, and HTTPS where that brings nothing"
    )
    start_within_s: Annotated[
        int, Field(ge=0, le=7 * 86_400, description="Each begins at a moment drawn from so many seconds")
    ] = 0
    fleet_rate_bytes_s: Rate | None = Field(None, description="Of all downloads together; the fleet's only")


class RulesAnswer(Answer):
    rate_bytes_s: int | None
    hours: list[str]
    timezone: str
    metered: Literal["allow", "wait"]
    transport: Literal["auto", "mqtt", "https"]
    start_within_s: int
    fleet_rate_bytes_s: int | None


class CountsAnswer(Answer):
    """What a device is told: the strictest of both, hours in minutes of the day in UTC."""

    rate_bytes_s: int | None
    hours: list[tuple[int, int]]
    metered: Literal["allow", "wait"]
    transport: Literal["auto", "mqtt", "https"]
    start_within_s: int


class DeviceDeliveryAnswer(Answer):
    own: RulesAnswer = Field(description="Set for this device")
    fleet: RulesAnswer
    counts: CountsAnswer


class DeliveryPath(Asked):
    name: Annotated[str, Field(max_length=80)]


@api.get("/delivery", responses={200: RulesAnswer})
@needs("viewer")
def get_delivery() -> Response:
    """The fleet's rules"""
    return answer(RulesAnswer.model_validate(context().store.delivery.fleet()))


@api.put("/delivery", responses={200: RulesAnswer})
@needs("operator")
def put_delivery(body: RulesAsked) -> Response:
    """Replace the fleet's rules; downloads under way are told"""
    rules = context().store.delivery.set_fleet(_rules(body), actor=person().name)
    return answer(RulesAnswer.model_validate(rules))


@api.get("/devices/<name>/delivery", responses={200: DeviceDeliveryAnswer})
@needs("viewer")
def get_device_delivery(path: DeliveryPath) -> Response:
    """A device's own rules, the fleet's, and what counts"""
    return answer(_of_device(path.name))


@api.put("/devices/<name>/delivery", responses={200: DeviceDeliveryAnswer})
@needs("operator")
def put_device_delivery(path: DeliveryPath, body: RulesAsked) -> Response:
    """Replace a device's own rules; a download under way is told"""
    store = context().store
    name = store.devices.get(path.name).name
    store.delivery.set_device(name, _rules(body), actor=person().name)
    return answer(_of_device(name))


def _of_device(name: str) -> DeviceDeliveryAnswer:
    store = context().store
    device = store.devices.get(name).name
    counts: Delivery = store.delivery.rules(device)
    return DeviceDeliveryAnswer(
        own=RulesAnswer.model_validate(store.delivery.device(device)),
        fleet=RulesAnswer.model_validate(store.delivery.fleet()),
        counts=CountsAnswer.model_validate(counts),
    )


def _rules(body: RulesAsked) -> DeliveryRules:
    try:
        return msgspec.convert(body.model_dump(exclude_none=True), DeliveryRules)
    except msgspec.ValidationError as error:
        raise InvalidInputError("delivery_rules", f"The rules are not usable: {error}.") from error
