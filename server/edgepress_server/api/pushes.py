"""Push: put a model on devices, in one request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from flask import Response
from pydantic import Field

from edgepress_server.api.answers import Answer, Asked, answer, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.api.jobs import JobAnswer
from edgepress_server.api.recipes import check_recipe
from edgepress_server.api.rollouts import Names, PolicyAsked
from edgepress_server.errors import ConflictError, InvalidInputError
from edgepress_server.store.devices import Device
from edgepress_server.store.pushes import Push, PushState

api = section("push", "Compress what is missing, release, roll out, in one request.")


class PushPath(Asked):
    id: Annotated[str, Field(max_length=40)]


class PushAsked(Asked):
    """To the named devices, or to every enrolled device of the profiles: what a recipe makes, or one artifact
    that is there."""

    model: Annotated[str, Field(max_length=80)]
    recipe: Annotated[str, Field(max_length=80)] | None = None
    artifact: Annotated[str | None, Field(max_length=80, description="Digest, in place of a recipe")] = None
    devices: Names | None = None
    profiles: Names | None = None
    dataset: Annotated[str, Field(max_length=80)] | None = Field(None, description="null: the model's own")
    policy: PolicyAsked = Field(default_factory=PolicyAsked)


class PushAnswer(Answer):
    id: str
    model: str
    recipe: str
    dataset: str | None
    devices: list[str]
    state: PushState
    jobs: list[JobAnswer] = Field(description="Empty where every artifact was there already")
    artifacts: dict[str, str] = Field(description="Profile -> digest, as far as known")
    release: str | None
    rollout: str | None
    message: str
    created_at: int
    finished_at: int | None
    actor: str | None


def _answer(push: Push, status: int = 200) -> Response:
    jobs = [JobAnswer.model_validate(context().store.jobs.get(job)) for job in push.jobs.values()]
    return answer(PushAnswer(**{**vars(push), "jobs": jobs}), status)


@api.post("/push", responses={201: PushAnswer})
@needs("operator")
def push_model(body: PushAsked) -> Response:
    """Put a model on devices

    Artifacts that are missing for the devices' profiles are made first; then a release is signed and rolled
    out.
    """
    store = context().store
    model = store.models.get(body.model)
    dataset = body.dataset if body.dataset is not None else model.dataset
    if dataset is not None:
        store.datasets.get(dataset)
    if (body.recipe is None) == (body.artifact is None):
        raise InvalidInputError("push_what", "Say what to push: either `recipe` or `artifact`.")
    if body.recipe is not None:
        check_recipe(body.recipe, dataset=dataset)
    with store.transaction():
        targets = _targets(body.devices, body.profiles)
        jobs: dict[str, str] = {}
        if body.recipe is not None:
            recipe = body.recipe
            artifacts, jobs = _made_by(model.name, recipe, dataset, targets)
        else:
            recipe, artifacts = _made_already(model.name, body.artifact or "", targets)
        push = store.pushes.create(
            model=model.name,
            recipe=recipe,
            dataset=dataset,
            devices=[device.name for device in targets],
            policy=body.policy.plain(),
            jobs=jobs,
            artifacts=artifacts,
            actor=person().name,
        )
    return _answer(push, 201)


@api.get("/push/<id>", responses={200: PushAnswer})
@needs("viewer")
def get_push(path: PushPath) -> Response:
    """How far a push is"""
    return _answer(context().store.pushes.get(path.id))


def _made_by(
    model: str, recipe: str, dataset: str | None, targets: Sequence[Device]
) -> tuple[dict[str, str], dict[str, str]]:
    """Profile -> the newest artifact of a recipe, and profile -> the job that makes what is missing."""
    store = context().store
    artifacts: dict[str, str] = {}
    jobs: dict[str, str] = {}
    for profile in sorted({device.profile for device in targets}):
        store.profiles.resolve(profile)
        made = store.artifacts.newest(model=model, profile=profile, recipe=recipe, dataset=dataset)
        if made is not None:
            artifacts[profile] = made.digest
            continue
        job = store.jobs.submit(
            model=model, recipe=recipe, profile=profile, dataset=dataset, actor=person().name
        )
        jobs[profile] = job.id
    return artifacts, jobs


def _made_already(model: str, digest: str, targets: Sequence[Device]) -> tuple[str, dict[str, str]]:
    """The recipe's name, and profile -> this artifact. Raises NotFoundError, ConflictError."""
    artifact = context().store.artifacts.get(digest)
    if artifact.model != model:
        raise ConflictError(
            "another_model", f"Artifact {digest[:12]} was made from model {artifact.model}, not {model}."
        )
    others = sorted({device.profile for device in targets} - {artifact.profile})
    if others:
        raise ConflictError(
            "artifact_profile",
            f"Artifact {digest[:12]} is for {artifact.profile}; leave out devices of {', '.join(others)}.",
        )
    return artifact.recipe, {artifact.profile: artifact.digest}


def _targets(names: Sequence[str] | None, profiles: Sequence[str] | None) -> list[Device]:
    """The devices meant. Raises InvalidInputError, NotFoundError, ConflictError."""
    devices = context().store.devices
    if names and not profiles:
        chosen = [devices.get(name) for name in dict.fromkeys(names)]
        for device in chosen:
            if device.status in ("registered", "revoked"):
                why = "has not enrolled yet" if device.status == "registered" else "is revoked"
                raise ConflictError(
                    "device_not_enrolled", f"Device {device.name} {why}; enrol it first, or leave it out."
                )
        return chosen
    if profiles and not names:
        chosen = [d for d in devices.list() if d.profile in profiles and d.status in ("online", "offline")]
        if not chosen:
            raise ConflictError(
                "no_devices", f"No enrolled device has the profile {' or '.join(profiles)}. Enrol one first."
            )
        return chosen
    raise InvalidInputError("push_target", "Say which devices: either `devices` or `profiles`.")
