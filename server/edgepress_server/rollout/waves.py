"""Who is told when: canaries of each profile, then waves by percent. Pure; the same for plan and rollout.

Canaries are the devices heard from last: they answer soonest. The waves are a random sample, drawn by a hash
of rollout and name, so that what holds for a wave holds for the rest.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgepress_server.store.rollout_policy import Policy, Wave


@dataclass(frozen=True)
class Candidate:
    device: str
    profile: str
    online: bool
    seen_at: int  # Unix ms; 0: never


@dataclass(frozen=True)
class Place:
    device: str
    profile: str
    wave: int  # 0: canary


def assign(candidates: Iterable[Candidate], policy: Policy, seed: str) -> list[Place]:
    """A place for each, profile by profile."""
    by_profile: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_profile.setdefault(candidate.profile, []).append(candidate)
    places = []
    for profile, mine in by_profile.items():
        mine.sort(key=lambda each: (not each.online, -each.seen_at, each.device))
        first = policy.canaries(profile)
        rest = sorted(mine[first:], key=lambda each: draw(seed, each.device))
        ends = [math.ceil(wave.percent / 100 * len(mine)) for wave in policy.waves]
        places += [Place(each.device, profile, 0) for each in mine[:first]]
        for at, each in enumerate(rest, min(first, len(mine))):
            wave = next(number for number, end in enumerate(ends, 1) if at < end)
            places.append(Place(each.device, profile, wave))
    return places


def joiner_wave(seed: str, device: str, waves: Sequence[Wave], current: int) -> int:
    """The wave of a device that comes later: what the draw says, or the current one where that is over."""
    drawn = 100 * draw(seed, device)
    wave = next((n for n, each in enumerate(waves, 1) if drawn < each.percent), len(waves))
    return max(wave, min(current, len(waves)))


def draw(seed: str, device: str) -> float:
    """A number from 0 to 1 that only seed and name decide."""
    digest = hashlib.sha256(f"{seed}/{device}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64
