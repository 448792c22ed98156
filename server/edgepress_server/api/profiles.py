"""Device profiles: those that ship, this installation's own, and its overrides."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from flask import Response, current_app
from pydantic import ConfigDict, Field, RootModel

from edgepress_devices.profile import PROFILE_MAX_BYTES, DeviceProfile, Kind
from edgepress_server.api.answers import Answer, Asked, answer, answers, nothing, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.store.profiles import Origin, ProfileRow

api = section("profiles", "Kinds of devices, every number with its source.")


class ProfilePath(Asked):
    id: Annotated[str, Field(max_length=80)]


class ProfileQuery(Asked):
    format: Literal["json", "toml"] = Field(
        "json", description="toml: the text as it was written, without what it inherits"
    )


class ProfileText(Asked):
    model_config = ConfigDict(extra="forbid", str_max_length=PROFILE_MAX_BYTES)
    toml: Annotated[str, Field(description="docs/profiles.md shows every field")]


class ProfileAnswer(Answer):
    """A profile with what it inherits filled in (docs/profiles.md), and three numbers from inside it.

    Its calibration has an address of its own.
    """

    model_config = ConfigDict(extra="allow")
    id: str
    name: str
    kind: Kind
    cores: int
    threads: int
    ram_mib: int
    origin: Origin = Field(description="override: of a shipped profile, for this installation")
    inherits: str | None = Field(description="The profile that it stands on")
    updated_at: int | None = Field(description="null: it ships with edgepress")


class ProfileWithText(ProfileAnswer):
    toml: str = Field(description="As it was written, without what it inherits")


class Profiles(RootModel[list[ProfileAnswer]]):
    pass


class ProblemAnswer(Answer):
    path: str = Field(description="The field, such as memory.ram_mib; empty: the whole text")
    message: str
    fix: str = Field(description="What to do")
    level: Literal["error", "warning"]


class Problems(Answer):
    problems: list[ProblemAnswer] = Field(description="Errors first; without an error it can be stored")


def _answers(profiles: list[DeviceProfile]) -> list[ProfileAnswer]:
    stored = {row.id: row for row in context().store.profiles.list()}
    return [_answer(profile, stored.get(profile.id)) for profile in profiles]


def _answer(profile: DeviceProfile, row: ProfileRow | None) -> ProfileAnswer:
    fields: dict[str, Any] = msgspec.to_builtins(profile)
    fields.pop("calibration", None)  # long; /profiles/{id}/calibration has it
    return ProfileAnswer(
        **fields,
        cores=profile.cores,
        threads=profile.threads,
        ram_mib=profile.ram_mib,
        origin="shipped" if row is None else row.origin,
        updated_at=None if row is None else row.updated_at,
    )


@api.get("/profiles", responses={200: Profiles})
@needs("viewer")
def get_profiles() -> Response:
    """All device profiles, as they hold here"""
    store = context().store
    with store.database.snapshot():
        return answers(_answers(store.profiles.all()))


@api.post("/profiles/validate", responses={200: Problems})
@needs("viewer")
def validate_profile_text(body: ProfileText) -> Response:
    """Everything that is wrong with a profile, without storing it"""
    found = context().store.profiles.validate(body.toml)
    return answer(Problems(problems=[ProblemAnswer.model_validate(problem) for problem in found]))


@api.get("/profiles/<id>", responses={200: ProfileWithText})
@needs("viewer")
def get_profile(path: ProfilePath, query: ProfileQuery) -> Response:
    """One device profile, with its text; or the text alone"""
    store = context().store
    with store.database.snapshot():
        text = store.profiles.get_text(path.id)
        if query.format == "toml":
            return current_app.response_class(text, mimetype="application/toml")
        (found,) = _answers([store.profiles.resolve(path.id)])
        return answer(ProfileWithText(**found.model_dump(), toml=text))


@api.put("/profiles/<id>", responses={200: ProfileAnswer})
@needs("operator")
def put_profile(path: ProfilePath, body: ProfileText) -> Response:
    """Store a profile, or an override of a shipped one

    A text under the id of a shipped profile inherits from it (`inherits` = its id) and states what differs
    here. Whoever uses the profile gets the new figures with their next job.
    """
    profiles = context().store.profiles
    return answer(_answers([profiles.put(path.id, body.toml, actor=person().name)])[0])


@api.delete("/profiles/<id>", responses={204: None})
@needs("operator")
def delete_profile(path: ProfilePath) -> Response:
    """Delete a profile of this installation, or an override: then the shipped one holds again"""
    context().store.profiles.delete(path.id, actor=person().name)
    return nothing()
