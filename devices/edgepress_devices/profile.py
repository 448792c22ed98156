"""Device profiles: what a kind of device can do, as data, with the source beside every number.

A profile is one TOML file (``profiles/*.toml`` here, or a path of yours); docs/profiles.md explains each
field and how to add one. The one rule: a table that holds a number also holds

    source   where the numbers come from: a datasheet, a specification page, a measurement; never empty
    basis    "datasheet" | "measured" | "derived" | "estimate"

and, where the basis is "derived", ``arithmetic``: the product (or sum of products) that gives the number,
such as ``4 cores x 1.5 GHz x 8 FLOP/cycle``, which is computed again when the file is read. An estimate is
named one: nobody should mistake it for a datasheet. A profile may stand on another (inheritance.py).
"""

from __future__ import annotations

from pathlib import Path

from edgepress_devices.inheritance import (
    PROFILE_MAX_BYTES,
    PROFILES_DIR,
    Lookup,
    shipped_ids,
    shipped_text,
)
from edgepress_devices.profile_check import check_profile, validate_profile
from edgepress_devices.profile_errors import InvalidProfile, Problem, ProfileError, UnknownProfile
from edgepress_devices.profile_schema import (
    Basis,
    Compute,
    DeviceProfile,
    FloatPeak,
    Gpu,
    IntPeak,
    Kind,
    Layout,
)

__all__ = [
    "PROFILES_DIR",
    "PROFILE_MAX_BYTES",
    "Basis",
    "Compute",
    "DeviceProfile",
    "FloatPeak",
    "Gpu",
    "IntPeak",
    "InvalidProfile",
    "Kind",
    "Layout",
    "Lookup",
    "Problem",
    "ProfileError",
    "UnknownProfile",
    "check_profile",
    "file_lookup",
    "list_profiles",
    "load_profile",
    "profile_from_text",
    "read_profile_text",
    "shipped_ids",
    "shipped_text",
    "validate_profile",
]


def load_profile(id_or_path: str | Path) -> DeviceProfile:
    """The profile shipped under this id, or the one in this ``.toml`` file.

    A file may inherit from a file beside it (``inherits = "base"``: base.toml) or from a shipped profile.
    Raises UnknownProfile (with the closest names) and InvalidProfile (with everything to change).
    """
    text = str(id_or_path)
    if isinstance(id_or_path, Path) or text.endswith(".toml") or "/" in text or "\\" in text:
        path = Path(id_or_path)
        return profile_from_text(read_profile_text(path), path, file_lookup(path.parent))
    known = shipped_text(text)
    if known is None:
        raise UnknownProfile(text, shipped_ids())
    return _shipped(text, known)


def list_profiles() -> list[DeviceProfile]:
    """All shipped profiles, by id."""
    return [_shipped(name, shipped_text(name) or "") for name in shipped_ids()]


def profile_from_text(text: str, name: str | Path, lookup: Lookup = shipped_text) -> DeviceProfile:
    """The profile in a TOML text; ``name`` is what an error calls it. Raises InvalidProfile."""
    profile, problems = check_profile(text, lookup)
    if profile is None:
        raise InvalidProfile(name, problems)
    return profile


def read_profile_text(path: Path) -> str:
    """A file's text, of a size that a profile can have. Raises InvalidProfile."""
    if not path.is_file():
        raise _unreadable(path, "there is no such file", "check the path")
    try:
        with path.open("rb") as file:
            raw = file.read(PROFILE_MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, f"it cannot be read ({error.strerror})", "check its rights") from error
    if len(raw) > PROFILE_MAX_BYTES:
        raise _unreadable(path, f"it is larger than {PROFILE_MAX_BYTES} bytes", "shorten it")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"it is not TOML ({error})", "save it as UTF-8 text") from error


def file_lookup(folder: Path) -> Lookup:
    """Finds profiles in a folder of ``<id>.toml`` files first, then the shipped ones."""

    def lookup(profile_id: str) -> str | None:
        path = folder / f"{profile_id}.toml"
        if "/" in profile_id or "\\" in profile_id or not path.is_file():
            return shipped_text(profile_id)
        return read_profile_text(path)

    return lookup


def _shipped(name: str, text: str) -> DeviceProfile:
    path = PROFILES_DIR / f"{name}.toml"
    profile, problems = check_profile(text, shipped=True)
    if profile is None:
        raise InvalidProfile(path, problems)
    if profile.id != name:
        raise _unreadable(path, f"its id is {profile.id!r}", f"name the file {profile.id}.toml")
    return profile


def _unreadable(path: Path, message: str, fix: str) -> InvalidProfile:
    return InvalidProfile(path, [Problem(path="", message=message, fix=fix)])
