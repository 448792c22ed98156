"""How carefully a rollout goes: its policy, and whom it is for. Plain data; the rules stand in ``rollout/``.

A policy is JSON in the store and in the API, TOML for ``edgepress rollout create --policy FILE``.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

import msgspec

from edgepress_devices.protocol import Limits
from edgepress_server.errors import InvalidInputError
from edgepress_server.store.delivery import DeliveryRules, check_rules

DAYS_30_S: Final = 30 * 24 * 3600
Ratio = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Factor = Annotated[float, msgspec.Meta(gt=0.0, le=100.0)]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=DAYS_30_S)]
UnixMs = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Many = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class Wave(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    percent: Annotated[float, msgspec.Meta(gt=0, le=100)]
    """of each profile's devices, canaries and earlier waves included"""
    soak_s: Seconds = 0  # watched this long before the next wave
    approve: bool = False  # begins only with a person's word


class Gates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What has to hold on the devices that committed, for each profile; None: not looked at."""

    max_failure_ratio: Ratio | None = None  # of the devices that failed or committed
    p95_us: Positive | None = None
    p95_ratio: Factor | None = None  # against what they ran before, and against those not told yet
    rss_bytes: Positive | None = None  # of the agent's process
    energy_ratio: Factor | None = None  # of an inference, against the same
    min_agreement: Ratio | None = None  # of the answers in shadow mode
    confidence: Annotated[float, msgspec.Meta(gt=0.5, lt=1.0)] = 0.95
    min_devices: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1  # fewer: undecided
    min_inferences: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)] = 100  # fewer: undecided

    @property
    def asked(self) -> bool:
        """Whether anything is looked at."""
        return any(
            value is not None
            for value in (
                self.max_failure_ratio,
                self.p95_us,
                self.p95_ratio,
                self.rss_bytes,
                self.energy_ratio,
                self.min_agreement,
            )
        )


class ShadowRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In its trial the new model also answers live requests, unseen; see the protocol's `Shadow`."""

    seconds: Annotated[int, msgspec.Meta(ge=1, le=7 * 86_400)]
    requests: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 1000
    min_agreement: Ratio = 0.0  # on each device: less, and it rejects
    min_requests: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 0


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    canary_per_profile: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 1  # 0: no canary stage
    canary_profiles: dict[str, Annotated[int, msgspec.Meta(ge=0, le=10_000)]] = {}  # other sizes, by profile
    approve_canary: bool = False  # the canaries are told only with a person's word
    waves: Annotated[list[Wave], msgspec.Meta(min_length=1, max_length=50)] = msgspec.field(
        default_factory=lambda: [Wave(100.0)]
    )
    rate_per_minute: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None  # devices told
    max_in_flight: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None  # told, there, not settled
    max_failed: Many | None = None  # more failures stop it; None: 0, or what the failure gate says
    gates: Gates = msgspec.field(default_factory=Gates)
    on_gate: Literal["pause", "rollback"] = "pause"  # what a missed gate, or too many failures, do
    start_at_ms: UnixMs | None = None  # nobody is told before
    hours: Annotated[list[str], msgspec.Meta(max_length=8)] = []
    """of the day, in which devices are told ("22:00-06:00"); empty: always"""
    timezone: Annotated[str, msgspec.Meta(max_length=64)] = "UTC"  # IANA, of the hours
    stage_timeout_s: Annotated[int, msgspec.Meta(ge=1, le=DAYS_30_S)] | None = None
    """a stage that has not passed after this pauses, or goes on without whom it did not reach"""
    deadline_ms: UnixMs | None = None  # who was not reached by then is left out, and it ends
    late_joiners: bool = True  # a device that fits later comes in; not where devices were named
    shadow: ShadowRules | None = None
    delivery: DeliveryRules | None = None  # beside the fleet's and the device's; the strictest counts
    delta: Literal["prefer", "only", "never"] = "prefer"
    soak_s: Seconds = 0  # watched this long before it is done
    limits: Limits = msgspec.field(default_factory=Limits)  # what the trial on a device must not exceed

    @property
    def failures_allowed(self) -> int | None:
        """How many devices may fail; None: the gate on their share decides."""
        if self.max_failed is None and self.gates.max_failure_ratio is not None:
            return None
        return self.max_failed or 0

    def canaries(self, profile: str) -> int:
        return self.canary_profiles.get(profile, self.canary_per_profile)

    def approval_needed(self, wave: int) -> bool:
        """Whether stage ``wave`` (0: canaries) begins only with a person's word."""
        if wave == 0:
            return self.approve_canary
        return wave <= len(self.waves) and self.waves[wave - 1].approve


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom a rollout is for: every enrolled device that all of these fit; nothing said: everybody."""

    profiles: list[str] = []  # any of them
    labels: dict[str, str] = {}  # all of them
    groups: list[str] = []  # any of them
    query: str = ""


def read_policy(policy: Policy | Mapping[str, Any] | None) -> Policy:
    """Raises InvalidInputError with what is wrong and where."""
    if isinstance(policy, Policy):
        rules = policy
    else:
        try:
            rules = msgspec.convert(dict(policy or {}), Policy)
        except msgspec.ValidationError as error:
            raise _bad(str(error)) from error
    percents = [wave.percent for wave in rules.waves]
    if any(b <= a for a, b in pairwise(percents)):
        raise _bad("each wave's `percent` counts the waves before it, so it must be larger than theirs")
    if percents[-1] != 100:
        raise _bad(f"the last wave ends at {percents[-1]:g} percent; end at 100, or target fewer devices")
    if rules.gates.min_agreement is not None and rules.shadow is None:
        raise _bad("`gates.min_agreement` needs `shadow`: without it nobody compares answers")
    if rules.deadline_ms is not None and rules.deadline_ms <= (rules.start_at_ms or 0):
        raise _bad("`deadline_ms` lies before `start_at_ms`")
    check_rules(DeliveryRules(hours=rules.hours, timezone=rules.timezone))
    if rules.delivery is not None:
        if rules.delivery.fleet_rate_bytes_s is not None:
            raise _bad("`delivery.fleet_rate_bytes_s` is of the whole fleet's rules: `edgepress delivery`")
        check_rules(rules.delivery)
    return rules


def check_times(policy: Policy, now_ms: int) -> None:
    """Raises InvalidInputError for a deadline that is over: it would end before anybody is told."""
    if policy.deadline_ms is not None and policy.deadline_ms <= now_ms:
        raise _bad("`deadline_ms` has passed already")


def _bad(what: str) -> InvalidInputError:
    return InvalidInputError("bad_policy", f"The rollout policy is not usable: {what.rstrip('.')}.")
