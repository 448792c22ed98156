"""When devices may be told, and how many at once: operator's times, rates, room. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from edgepress_server.rollout.facts import UNDER_WAY, RolloutFacts
from edgepress_server.store.delivery import DeliveryRules, as_delivery
from edgepress_server.store.rollout_policy import Policy

MINUTE_MS = 60_000


@dataclass(frozen=True)
class Room:
    """How many more devices may be told now, and what holds the others up."""

    n: int
    there_only: bool
    why: str = ""
    until: int | None = None


def room(rollout: RolloutFacts, now_ms: int) -> Room:
    """Where a limit is set only devices that are there are told: ones asleep would all come at once."""
    policy = rollout.policy
    opens = opens_at(policy, now_ms)
    there_only = (
        policy.rate_per_minute is not None
        or policy.max_in_flight is not None
        or rollout.download_slots is not None
    )
    if opens is not None:
        return Room(0, there_only, f"tells nobody before {moment(opens, policy)}", opens)
    found = Room(1_000_000_000, there_only)
    if policy.rate_per_minute is not None:
        left = policy.rate_per_minute - rollout.told_lately
        if left < found.n:
            why = f"tells {policy.rate_per_minute} devices a minute"
            found = Room(max(0, left), there_only, why, rollout.next_slot_at)
    if policy.max_in_flight is not None:
        left = policy.max_in_flight - rollout.count(*UNDER_WAY, there=True)
        if left < found.n:
            found = Room(max(0, left), there_only, f"no more than {policy.max_in_flight} at once")
    if rollout.download_slots is not None and rollout.download_slots < found.n:
        found = Room(max(0, rollout.download_slots), there_only, "the fleet's download limit is used up")
    return found


def opens_at(policy: Policy, now_ms: int) -> int | None:
    """When the operator's hours allow telling devices again; None: now."""
    if not policy.hours:
        return None
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    minute = now.hour * 60 + now.minute
    hours = as_delivery(DeliveryRules(hours=policy.hours, timezone=policy.timezone), now).hours
    if any((a <= minute < b) if a < b else (minute >= a or minute < b) for a, b in hours):
        return None
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    wait_min = min((a - minute) % 1440 for a, _ in hours)
    return int((start + timedelta(minutes=minute + wait_min)).timestamp()) * 1000


def timed_out(rollout: RolloutFacts, now_ms: int) -> bool:
    """The stage has had its time."""
    ends = times_out_at(rollout)
    return ends is not None and now_ms >= ends


def times_out_at(rollout: RolloutFacts) -> int | None:
    if rollout.policy.stage_timeout_s is None:
        return None
    begun = rollout.stage_since if rollout.begun_at is None else rollout.begun_at
    if rollout.state == "soak":
        begun = rollout.stage_since + rollout.policy.soak_s * 1000
    return begun + rollout.policy.stage_timeout_s * 1000


def earliest(*moments: int | None) -> int | None:
    known = [each for each in moments if each is not None]
    return min(known, default=None)


def moment(at_ms: int, policy: Policy) -> str:
    """In the policy's time zone, to the minute."""
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(policy.timezone))
    return f"{local:%Y-%m-%d %H:%M} {local.tzname() or policy.timezone}"


def span(seconds: int) -> str:
    """90 -> '90 s', 7200 -> '2 h'."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length and seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
