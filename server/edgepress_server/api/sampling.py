"""Sampled inputs: who may be sampled, what came, and who looked at it."""

from __future__ import annotations

import io
import zipfile
from typing import Annotated, Any, Literal

import numpy as np
from flask import Response, current_app
from pydantic import Field, RootModel

from edgepress_devices.protocol import Sampling
from edgepress_server.api.answers import Answer, Asked, answer, answers, nothing, section
from edgepress_server.api.auditing import source
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.errors import InvalidInputError
from edgepress_server.store.sampled_inputs import SampledInput
from edgepress_server.store.sampling import DEVICE, FLEET, GROUP, SamplingPolicy

api = section(
    "sampling", "Inputs that devices send under a privacy policy; by default none ever leaves a device."
)

VALUES_MAX = 65_536  # of one input as JSON; larger ones come as a file


class PolicyAsked(Asked):
    per_hour: Annotated[int, Field(ge=0, le=3600, description="Inputs of one device at most; 0: none")]
    low_confidence_percent: Annotated[
        int, Field(ge=0, le=100, description="Only answers less sure than this; 0: any")
    ] = 0


class PolicyAnswer(Answer):
    subject: str = Field(description="fleet, group/NAME or device/NAME")
    per_hour: int
    low_confidence_percent: int
    updated_at: int
    actor: str | None


class Policies(RootModel[list[PolicyAnswer]]):
    pass


class CountsAnswer(Answer):
    per_hour: int
    low_confidence_percent: int


class DevicePolicyAnswer(Answer):
    own: PolicyAnswer | None = Field(description="Set for this device; null: nothing")
    counts: CountsAnswer = Field(description="What the device is told")


class NamePath(Asked):
    name: Annotated[str, Field(max_length=80)]


class InputPath(Asked):
    id: Annotated[str, Field(max_length=40)]


class InputsQuery(Asked):
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    artifact: Annotated[str, Field(max_length=80)] | None = None


class InputQuery(Asked):
    format: Literal["npz", "json"] = Field("npz", description="json: for at most 65,536 values")


class InputAnswer(Answer):
    """A sampled input without its values."""

    id: str
    device: str
    received_at: int
    at: int = Field(description="Device clock")
    artifact: str
    why: Literal["random", "low confidence", "drift"]
    name: str = Field(description="Of the model's input")
    dtype: str
    shape: list[int]
    label: int | None = Field(description="Class that the model gave")
    confidence: float | None
    bytes: int

    @classmethod
    def of(cls, found: SampledInput) -> InputAnswer:
        return cls(**{**vars(found), "shape": list(found.shape)})


class Inputs(RootModel[list[InputAnswer]]):
    pass


class ValuesAnswer(InputAnswer):
    values: list[Any] = Field(description="Flat, in C order; null where it is no number")


class DeletedAnswer(Answer):
    deleted: int


@api.get("/sampling", responses={200: Policies})
@needs("viewer")
def list_sampling() -> Response:
    """What was set for the fleet, groups and devices; nothing: no input leaves a device"""
    return answers([PolicyAnswer.model_validate(policy) for policy in context().store.sampling.list()])


@api.put("/sampling", responses={200: PolicyAnswer})
@needs("admin")
def set_fleet_sampling(body: PolicyAsked) -> Response:
    """Let every device send inputs, or none"""
    return _set(FLEET, body)


@api.delete("/sampling", responses={204: None})
@needs("admin")
def clear_fleet_sampling() -> Response:
    """Forget what was set for the fleet"""
    return _clear(FLEET)


@api.put("/groups/<name>/sampling", responses={200: PolicyAnswer})
@needs("admin")
def set_group_sampling(path: NamePath, body: PolicyAsked) -> Response:
    """Let the devices of a group send inputs, or none; counts before the fleet's"""
    return _set(GROUP + path.name, body)


@api.delete("/groups/<name>/sampling", responses={204: None})
@needs("admin")
def clear_group_sampling(path: NamePath) -> Response:
    """Forget what was set for a group"""
    return _clear(GROUP + path.name)


@api.get("/devices/<name>/sampling", responses={200: DevicePolicyAnswer})
@needs("viewer")
def get_device_sampling(path: NamePath) -> Response:
    """What was set for a device, and what counts for it"""
    store = context().store
    name = store.devices.get(path.name).name
    own = next((one for one in store.sampling.list() if one.subject == DEVICE + name), None)
    counts = store.sampling.of(name)
    return answer(
        DevicePolicyAnswer(
            own=None if own is None else PolicyAnswer.model_validate(own),
            counts=CountsAnswer.model_validate(counts),
        )
    )


@api.put("/devices/<name>/sampling", responses={200: PolicyAnswer})
@needs("admin")
def set_device_sampling(path: NamePath, body: PolicyAsked) -> Response:
    """Let a device send inputs, or none; counts before its groups' and the fleet's"""
    return _set(DEVICE + path.name, body)


@api.delete("/devices/<name>/sampling", responses={204: None})
@needs("admin")
def clear_device_sampling(path: NamePath) -> Response:
    """Forget what was set for a device"""
    return _clear(DEVICE + path.name)


@api.get("/inputs", responses={200: Inputs})
@needs("viewer")
def list_inputs(query: InputsQuery) -> Response:
    """Sampled inputs of all devices, newest first, without their values"""
    found = context().store.sampled_inputs.list(limit=query.limit, artifact=query.artifact)
    return answers([InputAnswer.of(one) for one in found])


@api.get("/devices/<name>/inputs", responses={200: Inputs})
@needs("viewer")
def list_device_inputs(path: NamePath, query: InputsQuery) -> Response:
    """Sampled inputs of a device, newest first, without their values"""
    store = context().store
    name = store.devices.get(path.name).name
    found = store.sampled_inputs.list(name, limit=query.limit, artifact=query.artifact)
    return answers([InputAnswer.of(one) for one in found])


@api.delete("/devices/<name>/inputs", responses={200: DeletedAnswer})
@needs("operator")
def delete_device_inputs(path: NamePath) -> Response:
    """Delete all sampled inputs of a device"""
    store = context().store
    name = store.devices.get(path.name).name
    return answer(DeletedAnswer(deleted=store.sampled_inputs.delete_of(name)))


@api.get(
    "/inputs/<id>",
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    },
)
@needs("operator")
def get_input(path: InputPath, query: InputQuery) -> Response:
    """One sampled input with its values, as .npz or JSON; the audit log says who looked"""
    store = context().store
    found = store.sampled_inputs.get(path.id)
    array = store.sampled_inputs.array(path.id)
    if query.format == "json" and array.size > VALUES_MAX:
        raise InvalidInputError(
            "input_too_large", f"This input has {array.size} values; ask for it with format=npz."
        )
    store.audit.append(
        "look_at_input",
        f"{found.device} {found.id}",
        actor=person().name,
        source=source(),
        data={"artifact": found.artifact, "at": found.at},
    )
    if query.format == "json":
        return answer(ValuesAnswer(**InputAnswer.of(found).model_dump(), values=_values(array)))
    return current_app.response_class(
        _npz(found.name, array),
        mimetype="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{found.device}-{found.id}.npz"'},
    )


@api.delete("/inputs/<id>", responses={204: None})
@needs("operator")
def delete_input(path: InputPath) -> Response:
    """Delete one sampled input"""
    context().store.sampled_inputs.delete(path.id)
    return nothing()


def _set(whose: str, body: PolicyAsked) -> Response:
    sampling = Sampling(per_hour=body.per_hour, low_confidence_percent=body.low_confidence_percent)
    policy: SamplingPolicy = context().store.sampling.set(whose, sampling, actor=person().name)
    return answer(PolicyAnswer.model_validate(policy))


def _clear(whose: str) -> Response:
    context().store.sampling.clear(whose, actor=person().name)
    return nothing()


def _npz(name: str, array: np.ndarray) -> bytes:
    """As numpy.savez, which cannot take an input that is called `file`."""
    stream = io.BytesIO()
    inside = f"{name.replace('/', '_') or 'input'}.npy"
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(inside, "w") as member:
        np.lib.format.write_array(member, array, allow_pickle=False)
    return stream.getvalue()


def _values(array: np.ndarray) -> list[Any]:
    flat = array.reshape(-1)
    if flat.dtype.kind != "f":
        return [int(value) for value in flat.tolist()]
    return [value if np.isfinite(value) else None for value in flat.astype(np.float64).tolist()]
