"""Devices: register, look after, revoke."""

from __future__ import annotations

import io
from typing import Annotated, Literal

import segno
from flask import Response
from pydantic import Field, RootModel

from edgepress_devices.protocol import JobStep
from edgepress_server.api.answers import Answer, Asked, answer, answers, nothing, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.api.device_credentials import renew_revocations
from edgepress_server.api.enrolment_codes import CodeOptions, Life, enrol_url
from edgepress_server.api.samples import SampleAnswer
from edgepress_server.store.device_view import DeviceView
from edgepress_server.store.devices import CODE_MS, Device, Status

api = section("devices", "Register, look after, revoke.")

Name = Annotated[str, Field(max_length=80, description="1 to 63 of a-z, 0-9 and -")]
Labels = Annotated[dict[str, str], Field(max_length=64)]


class DevicePath(Asked):
    name: Name


class DeviceAsked(Asked):
    name: Name
    profile: Annotated[str, Field(max_length=80)]
    labels: Labels = Field(default_factory=dict)
    expires_in_s: Life = CODE_MS // 1000
    replace: bool = Field(False, description="If it exists: a new code, and this profile and these labels")


class Revocation(Asked):
    names: Annotated[list[Name], Field(min_length=1, max_length=10_000)]


class Revoked(Answer):
    devices: list[str]


class DeviceChange(Asked):
    labels: Labels | None = Field(None, description="All labels: those left out are removed")
    profile: Annotated[str, Field(max_length=80)] | None = None


class HardwareAnswer(Answer):
    machine: str
    system: str
    board: str | None
    cores: int | None
    ram_bytes: int | None
    python: str | None
    onnxruntime: str | None


class RunningAnswer(Answer):
    digest: str
    model: str | None = Field(description="null: an artifact this server does not know")
    recipe: str | None
    release_counter: int | None


class WantAnswer(Answer):
    digest: str | None = Field(description="null: run nothing")
    counter: int
    rollout: str | None


class TrialAnswer(Answer):
    """What the newest trial or shadow run saw; null: not measured."""

    requests: int = Field(description="Live requests that both models answered")
    agreed: int
    p95_us: int | None
    base_p95_us: int | None = Field(description="Of the old model on the same inputs")
    rss_bytes: int | None


class DeviceAnswer(Answer):
    name: str
    profile: str
    labels: dict[str, str]
    created_at: int
    enrolled_at: int | None
    revoked_at: int | None
    credentials_at: int | None = Field(description="When what it shows to the broker was made")
    certificate_expires_at: int | None = Field(description="null: it shows a secret")
    cloned_at: int | None = Field(description="When two boards were last seen with this identity")
    status: Status
    seen_at: int | None
    agent_version: str | None
    hardware: HardwareAnswer | None
    running: RunningAnswer | None
    step: JobStep
    reason: str | None
    staged: str | None = Field(description="Digest of the artifact being fetched or tried")
    chunks_have: int | None
    chunks_total: int | None
    waiting: str | None = Field(description="Why its download does not go on now: hours, metered link, start")
    received_bytes: int | None = Field(description="Of chunks, for this job, by whatever way")
    via: Literal["mqtt", "https"] | None = Field(description="How chunks come, or came")
    delta: bool = Field(description="The job fetches, or fetched, a delta")
    root: int | None = Field(description="Version of the TUF root that it trusts")
    trial: TrialAnswer | None
    want: WantAnswer | None
    latest: SampleAnswer | None


class Devices(RootModel[list[DeviceAnswer]]):
    pass


class Registration(Answer):
    device: DeviceAnswer
    code: str = Field(description="Works once, until expires_at")
    expires_at: int
    enrol_url: str = Field(description="What `edgepress-agent enroll` takes; the code is in its fragment")
    qr_svg: str = Field(description="enrol_url as a QR code, an inline SVG element")


def _answer(view: DeviceView, certificate_expires_at: int | None) -> DeviceAnswer:
    device, state = view.device, view.device.state
    return DeviceAnswer(
        name=device.name,
        profile=device.profile,
        labels=device.labels,
        created_at=device.created_at,
        enrolled_at=device.enrolled_at,
        revoked_at=device.revoked_at,
        credentials_at=device.credentials_at,
        certificate_expires_at=certificate_expires_at,
        cloned_at=device.cloned_at,
        status=device.status,
        seen_at=device.seen_at,
        agent_version=device.agent_version,
        hardware=HardwareAnswer.model_validate(device.hardware) if device.hardware is not None else None,
        running=RunningAnswer(
            digest=state.running,
            model=view.running_model,
            recipe=view.running_recipe,
            release_counter=state.running_release,
        )
        if state is not None and state.running is not None
        else None,
        step=state.step if state is not None else "idle",
        reason=state.reason if state is not None else None,
        staged=state.staged if state is not None else None,
        chunks_have=state.chunks_have if state is not None else None,
        chunks_total=state.chunks_total if state is not None else None,
        waiting=state.waiting if state is not None else None,
        received_bytes=state.received_bytes if state is not None else None,
        via=state.via if state is not None else None,
        delta=state.delta if state is not None else False,
        root=(state.root or None) if state is not None else None,
        trial=TrialAnswer.model_validate(state.trial) if state is not None and state.trial else None,
        want=WantAnswer.model_validate(view.want) if view.want is not None else None,
        latest=SampleAnswer.of(view.latest) if view.latest is not None else None,
    )


def _one(name: str) -> DeviceAnswer:
    store = context().store
    certificate = store.devices.certificates.find(name, "current")
    return _answer(store.device_views.get(name), certificate.expires_at if certificate else None)


def _registration(name: str, status: Literal[200, 201], code: str, expires_at: int) -> Response:
    url = enrol_url(code)
    svg = io.BytesIO()
    segno.make(url, micro=False).save(svg, kind="svg", xmldecl=False, svgns=True, scale=4, border=2)
    body = Registration(
        device=_one(name),
        code=code,
        expires_at=expires_at,
        enrol_url=url,
        qr_svg=svg.getvalue().decode().strip(),
    )
    return answer(body, status)


@api.get("/devices", responses={200: Devices})
@needs("viewer")
def list_devices() -> Response:
    """All devices, by name; revoked ones too"""
    store = context().store
    expiries = store.devices.certificates.expiries()
    return answers([_answer(view, expiries.get(view.device.name)) for view in store.device_views.all()])


@api.post("/devices", responses={201: Registration})
@needs("operator")
def register_device(body: DeviceAsked) -> Response:
    """Register a device and get its enrolment code"""
    store, actor, life_ms = context().store, person().name, body.expires_in_s * 1000
    store.profiles.resolve(body.profile)
    with store.transaction():
        if body.replace and store.devices.find(body.name) is not None:
            store.devices.change(body.name, labels=body.labels, profile=body.profile, actor=actor)
        else:
            store.devices.register(body.name, body.profile, body.labels, actor=actor)
        code, expires_at = store.devices.new_code(body.name, actor=actor, life_ms=life_ms)
        return _registration(body.name, 201, code, expires_at)


@api.get("/devices/<name>", responses={200: DeviceAnswer})
@needs("viewer")
def get_device(path: DevicePath) -> Response:
    """One device"""
    return answer(_one(path.name))


@api.patch("/devices/<name>", responses={200: DeviceAnswer})
@needs("operator")
def change_device(path: DevicePath, body: DeviceChange) -> Response:
    """Change a device's labels or profile"""
    if body.profile is not None:
        context().store.profiles.resolve(body.profile)
    device: Device = context().store.devices.change(
        path.name, labels=body.labels, profile=body.profile, actor=person().name
    )
    return answer(_one(device.name))


@api.delete("/devices/<name>", responses={200: DeviceAnswer})
@needs("operator")
def revoke_device(path: DevicePath) -> Response:
    """Revoke a device: its credentials die at once, the row stays"""
    context().store.devices.revoke(path.name, actor=person().name)
    renew_revocations()
    return answer(_one(path.name))


@api.post("/devices/revoke", responses={200: Revoked})
@needs("operator")
def revoke_devices(body: Revocation) -> Response:
    """Revoke several devices, all or none"""
    revoked = context().store.devices.revoke_all(body.names, actor=person().name)
    renew_revocations()
    return answer(Revoked(devices=[device.name for device in revoked]))


@api.post("/devices/<name>/code", responses={200: Registration})
@needs("operator")
def new_device_code(path: DevicePath, query: CodeOptions) -> Response:
    """A new enrolment code; unused older ones die

    The old credentials stay good until the new code is used. For a revoked device, or a board that was
    re-flashed, this is the way back in.
    """
    code, expires_at = context().store.devices.new_code(
        path.name, actor=person().name, life_ms=query.expires_in_s * 1000
    )
    return _registration(path.name, 200, code, expires_at)


@api.delete("/devices/<name>/code", responses={204: None})
@needs("operator")
def cancel_code(path: DevicePath) -> Response:
    """Take back a device's open enrolment code"""
    context().store.codes.cancel(path.name, actor=person().name)
    return nothing()
