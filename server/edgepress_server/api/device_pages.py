"""Devices in pages: sorted, searched, filtered; made for fleets of ten thousand."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field

from edgepress_devices.protocol import JobStep
from edgepress_server.api.answers import Answer, Asked, answer, section
from edgepress_server.api.auth import needs
from edgepress_server.api.telemetry_desk import desk
from edgepress_server.store.devices import Status
from edgepress_server.telemetry_query.device_list import LIMIT_MAX, SORTS, ListedDevice, page

api = section("device pages", "Devices in pages.")


class PageQuery(Asked):
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = 50
    sort: Annotated[str, Field(max_length=40)] = Field(
        "name", description=f"{', '.join(SORTS)}; - before it: descending. What is absent comes last"
    )
    q: Annotated[str, Field(max_length=200)] = Field(
        "", description="Words, each of which is in the name, profile, status, model or value of a label"
    )
    where: Annotated[str, Field(max_length=2000)] = Field("", description="The language of rollouts' targets")


class RunsAnswer(Answer):
    digest: str
    model: str | None = Field(description="null: an artifact this server does not know")
    recipe: str | None
    release_counter: int | None


class ListedAnswer(Answer):
    """A device with what its newest sample says; null: not measured."""

    name: str
    profile: str
    status: Status
    labels: dict[str, str]
    created_at: int
    seen_at: int | None
    agent_version: str | None
    running: RunsAnswer | None
    step: JobStep
    reason: str | None
    cloned_at: int | None = Field(description="When two boards were last seen with this identity")
    at_ms: int | None = Field(description="Of the newest sample")
    p50_us: float | None
    p95_us: float | None
    rss_bytes: int | None
    mem_ratio: float | None
    cpu_percent: float | None
    temp_c: float | None
    throttled: bool | None
    power_mw: float | None
    power_method: str | None
    inferences_per_s: float | None
    errors: int | None
    battery_percent: float | None
    disk_free_bytes: int | None


class PageAnswer(Answer):
    total: int = Field(description="All devices")
    matching: int
    offset: int
    limit: int
    devices: list[ListedAnswer]
    statuses: dict[Status, int] = Field(description="Of all devices, for filters")
    profiles: dict[str, int] = Field(description="Without revoked devices")


@api.get("/devices/page", responses={200: PageAnswer})
@needs("viewer")
def page_devices(query: PageQuery) -> Response:
    """Some of the devices, in an order

    The list is up to two seconds old; a newly registered device is there at once.
    """
    found = desk().lists.newest()
    shown = page(found, offset=query.offset, limit=query.limit, sort=query.sort, q=query.q, where=query.where)
    return answer(
        PageAnswer(
            total=shown.total,
            matching=shown.matching,
            offset=query.offset,
            limit=query.limit,
            devices=[_listed(device) for device in shown.devices],
            statuses=found.statuses,  # type: ignore[arg-type]
            profiles=found.profiles,
        )
    )


def _listed(device: ListedDevice) -> ListedAnswer:
    row, sample = device.row, device.sample
    power = None if sample is None else sample.power_mw
    return ListedAnswer(
        name=row.name,
        profile=row.profile,
        status=row.status,  # type: ignore[arg-type]
        labels=row.labels,
        created_at=row.created_at,
        seen_at=row.seen_at,
        agent_version=row.agent_version,
        running=None
        if row.running is None
        else RunsAnswer(
            digest=row.running,
            model=None if device.artifact is None else device.artifact.model,
            recipe=None if device.artifact is None else device.artifact.recipe,
            release_counter=row.release,
        ),
        step=row.step,  # type: ignore[arg-type]
        reason=row.reason,
        cloned_at=row.cloned_at,
        at_ms=None if sample is None else sample.at_ms,
        p50_us=device.p50_us,
        p95_us=device.p95_us,
        rss_bytes=None if sample is None else sample.rss_bytes,
        mem_ratio=device.mem_ratio,
        cpu_percent=None if sample is None else sample.cpu_percent,
        temp_c=None if sample is None else sample.temp_c,
        throttled=None if sample is None else sample.throttled,
        power_mw=None if power is None else power.value,
        power_method=None if power is None else power.method,
        inferences_per_s=device.inferences_per_s,
        errors=None if sample is None else sample.errors,
        battery_percent=None if sample is None else sample.battery_percent,
        disk_free_bytes=None if sample is None else sample.disk_free_bytes,
    )
