"""Probation: for a while after a model took over, what goes wrong is held against it.

Rules
-----
1. Probation lasts until the model ran ``PROBATION_S`` and answered ``PROBATION_REQUESTS``, at most
   ``PROBATION_MAX_S`` of running. What counts is on the disk: a restart does not begin it anew.
2. A death is a start that no orderly end came before. A reboot of the board is none (power cuts are not the
   model's fault; the kernel's boot id tells), and none is a death in something else: in loading or trying a
   model, which are counted for themselves, or in applying a delta.
3. ``DEATHS_MAX`` deaths are a crash loop. So are ``ERRORS_MIN_REQUESTS`` requests of which more than half
   failed, where the model before it did not fail as often. Then the model is condemned: the device goes back
   to the last good one.
"""

from pathlib import Path
from typing import Final

import msgspec

from edgepress_devices.protocol import Digest

PROBATION_S: Final = 600
PROBATION_REQUESTS: Final = 100
PROBATION_MAX_S: Final = 86_400
DEATHS_MAX: Final = 3
ERRORS_MIN_REQUESTS: Final = 20
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Probation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of the model that runs; kept in the journal until it is over."""

    digest: Digest
    boot: str = ""  # boot id of the board when this was written last; "" = the board has none
    ran_s: int = 0
    answered: int = 0  # live requests
    failed: int = 0  # of those that reached the model, more than ``answered``
    deaths: int = 0
    open: bool = False  # a process runs it, or died doing so
    fragile_before: bool = False  # the model before it failed more than half of the requests, too


def read_boot_id(path: Path = BOOT_ID) -> str:
    """What the kernel draws at each boot; "" where there is none."""
    try:
        return path.read_text(encoding="ascii").strip()[:64]
    except (OSError, UnicodeDecodeError):
        return ""


def started(probation: Probation, *, boot: str, busy: bool) -> Probation:
    """The agent starts. ``busy``: the process before was in what is counted for itself."""
    same_boot = probation.boot == boot
    died = probation.open and same_boot and not busy
    return msgspec.structs.replace(probation, boot=boot, open=True, deaths=probation.deaths + died)


def went_on(probation: Probation, *, seconds: float, answered: int, failed: int) -> Probation:
    """It ran so much longer and did so much more. Whole seconds are counted: rests are the caller's."""
    return msgspec.structs.replace(
        probation,
        ran_s=probation.ran_s + int(seconds),
        answered=probation.answered + answered,
        failed=probation.failed + failed,
    )


def is_over(probation: Probation) -> bool:
    enough = probation.ran_s >= PROBATION_S and probation.answered >= PROBATION_REQUESTS
    return enough or probation.ran_s >= PROBATION_MAX_S


def condemned(probation: Probation) -> str | None:
    """Why this model must not go on; None where it may."""
    if probation.deaths >= DEATHS_MAX:
        return f"the agent died {probation.deaths} times while it ran this model"
    asked = probation.answered + probation.failed
    if is_fragile(probation.answered, probation.failed) and not probation.fragile_before:
        return f"it failed {probation.failed} of {asked} requests; the model before it did not"
    return None


def is_fragile(answered: int, failed: int) -> bool:
    """More than half of enough requests failed."""
    return answered + failed >= ERRORS_MIN_REQUESTS and failed > answered
