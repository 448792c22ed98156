"""What the owner of this device allows of its link and of its inputs, ``delivery.json`` in the state folder.

Written by `edgepress-agent limits`, read by the running agent, which notices changes. It makes the server's
rules stricter, never looser.
"""

import logging
import re
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from edgepress_agent.durable import Disk
from edgepress_agent.enrolment import is_enrolled, read_enrolment
from edgepress_agent.errors import StateFolderError
from edgepress_agent.hours import format_hours, parse_hours
from edgepress_devices.delivery_messages import MinuteOfDay

FILE: Final = "delivery.json"
FILE_MAX_BYTES: Final = 4096
LOOK_EVERY_S: Final = 5.0
RATE_MIN_BYTES_S: Final = 1000
_UNITS: Final = {"B": 1, "KB": 1000, "MB": 1_000_000, "GB": 1_000_000_000}

log = logging.getLogger(__name__)


class LocalLimits(msgspec.Struct, frozen=True, omit_defaults=True):
    metered: Literal["yes", "no", "auto"] = "auto"  # auto: as the network manager says
    rate_bytes_s: Annotated[int, msgspec.Meta(ge=RATE_MIN_BYTES_S, le=2**40)] | None = None
    hours: Annotated[list[tuple[MinuteOfDay, MinuteOfDay]], msgspec.Meta(max_length=8)] = []
    inputs: Literal["policy", "never"] = "policy"  # whether inputs may leave where the server's policy asks


def read_local_limits(folder: Path) -> LocalLimits:
    """Without a file: no limits. Raises StateFolderError."""
    path = folder / FILE
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(FILE_MAX_BYTES), type=LocalLimits)
    except FileNotFoundError:
        return LocalLimits()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StateFolderError(
            f"{path} cannot be used ({getattr(error, 'strerror', None) or error}): set the limits again with"
            " `edgepress-agent limits`"
        ) from error


def write_local_limits(folder: Path, limits: LocalLimits, disk: Disk | None = None) -> None:
    """Raises StateFolderError."""
    try:
        (disk or Disk()).write_whole(folder / FILE, msgspec.json.encode(limits) + b"\n")
    except OSError as error:
        raise StateFolderError(f"{folder / FILE} cannot be written: {error.strerror or error}") from error


def changed_limits(
    folder: Path,
    *,
    rate: str | None = None,
    hours: str | None = None,
    metered: str | None = None,
    inputs: str | None = None,
) -> LocalLimits:
    """The limits of this device, after these were changed; each None stays. Raises StateFolderError."""
    if not is_enrolled(folder):
        read_enrolment(folder)  # says what to do, and makes no folder
    changes: dict[str, object] = {}
    if rate is not None:
        changes["rate_bytes_s"] = None if rate == "none" else parse_rate(rate)
    if hours is not None:
        changes["hours"] = [] if hours == "none" else _hours(hours)
    if metered is not None:
        changes["metered"] = metered
    if inputs is not None:
        changes["inputs"] = inputs
    try:
        before = read_local_limits(folder)
    except StateFolderError:
        if not changes:
            raise
        before = LocalLimits()  # a damaged file is replaced
    if not changes:
        return before
    try:
        after = msgspec.convert({**msgspec.structs.asdict(before), **changes}, LocalLimits)
    except msgspec.ValidationError as error:
        raise StateFolderError(f"these limits cannot be set: {error}") from error
    write_local_limits(folder, after)
    return after


def parse_rate(text: str) -> int:
    """``200KB`` -> 200000 bytes a second. Raises StateFolderError."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,3})?)\s*(B|KB|MB|GB)?(?:/s)?", text.strip(), re.IGNORECASE)
    rate = 0 if match is None else round(float(match[1]) * _UNITS[(match[2] or "B").upper()])
    if not RATE_MIN_BYTES_S <= rate <= 2**40:
        raise StateFolderError(
            f"{text[:40]!r} is no rate: it looks like 200KB or 1.5MB (bytes a second), and is"
            f" {RATE_MIN_BYTES_S} or more"
        )
    return rate


def _hours(text: str) -> list[tuple[int, int]]:
    try:
        return parse_hours(text)
    except ValueError as error:
        raise StateFolderError(str(error)) from error


def describe_local_limits(limits: LocalLimits) -> str:
    """For people."""
    rate = "as the server says" if limits.rate_bytes_s is None else f"at most {limits.rate_bytes_s} bytes/s"
    metered = {"yes": "yes", "no": "no", "auto": "as the network manager says"}[limits.metered]
    rows = [
        ("rate", rate),
        ("hours", f"{format_hours(limits.hours)} UTC" if limits.hours else "as the server says"),
        ("metered", metered),
        ("inputs", {"policy": "leave where the server's policy asks", "never": "never leave"}[limits.inputs]),
    ]
    return "\n".join(f"{name:10}{value}" for name, value in rows)


class WatchedLimits:
    """The file as it is now, looked at every few seconds; while it is damaged, as it was."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._limits = LocalLimits()
        self._damaged = False
        self._looked_s = float("-inf")
        self._seen: tuple[int, int] | None = None  # change time in ns, size

    def inputs_may_leave(self, now_s: float) -> bool:
        """Not where the owner forbids it, nor where nobody can tell what the owner said."""
        return self.read(now_s).inputs == "policy" and not self._damaged

    def read(self, now_s: float) -> LocalLimits:
        if now_s - self._looked_s < LOOK_EVERY_S:
            return self._limits
        self._looked_s = now_s
        try:
            stat = (self._folder / FILE).stat()
            seen = stat.st_mtime_ns, stat.st_size
        except OSError:
            seen = 0, 0
        if seen != self._seen:
            self._seen = seen
            try:
                self._limits = read_local_limits(self._folder)
                self._damaged = False
            except StateFolderError as error:
                self._damaged = True
                log.error("%s", error)
        return self._limits
