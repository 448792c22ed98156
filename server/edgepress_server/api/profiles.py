"""Device profiles, as shipped."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from flask import Response
from pydantic import ConfigDict, Field, RootModel

from edgepress_devices.profile import DeviceProfile, Kind, UnknownProfile, list_profiles
from edgepress_server.api.answers import Answer, Asked, answer, answers, section
from edgepress_server.api.auth import needs
from edgepress_server.errors import NotFoundError

api = section("profiles", "Kinds of devices, every number with its source.")


class ProfilePath(Asked):
    id: Annotated[str, Field(max_length=80)]


class ProfileAnswer(Answer):
    """A profile as its file has it (docs/profiles.md), and three numbers from inside it."""

    model_config = ConfigDict(extra="allow")
    id: str
    name: str
    kind: Kind
    cores: int
    threads: int
    ram_mib: int


class Profiles(RootModel[list[ProfileAnswer]]):
    pass


def check_profile(profile_id: str) -> DeviceProfile:
    """Only shipped ids, never a path. Raises NotFoundError with the closest names."""
    known = {profile.id: profile for profile in list_profiles()}
    if profile_id not in known:
        close = UnknownProfile(profile_id, sorted(known)).close
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise NotFoundError(
            "profile_unknown",
            f"There is no device profile {profile_id[:80]!r}. {hint}Known: {', '.join(sorted(known))}.",
        )
    return known[profile_id]


def _answer(profile: DeviceProfile) -> ProfileAnswer:
    fields: dict[str, Any] = msgspec.to_builtins(profile)
    return ProfileAnswer(**fields, cores=profile.cores, threads=profile.threads, ram_mib=profile.ram_mib)


@api.get("/profiles", responses={200: Profiles})
@needs("viewer")
def get_profiles() -> Response:
    """All device profiles"""
    return answers([_answer(profile) for profile in list_profiles()])


@api.get("/profiles/<id>", responses={200: ProfileAnswer})
@needs("viewer")
def get_profile(path: ProfilePath) -> Response:
    """One device profile"""
    return answer(_answer(check_profile(path.id)))
