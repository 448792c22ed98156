"""A rollout's policy as requests bring it and answers show it. What it means stands in docs/rollouts.md."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from edgepress_server.api.answers import Answer, Asked

COUNT = Field(ge=0, le=1_000_000)
SECONDS = Field(ge=0, le=30 * 24 * 3600)
UNIX_MS = Field(ge=0, le=2**53)
RATIO = Field(ge=0, le=1)
Hours = Annotated[list[Annotated[str, Field(max_length=40)]], Field(max_length=8)]
Transport = Literal["auto", "mqtt", "https"]


class LimitsAsked(Asked):
    """What the trial on a device must not exceed; null = not limited."""

    p95_us: Annotated[int, Field(ge=1, le=2**53)] | None = None
    rss_bytes: Annotated[int, Field(ge=1, le=2**53, description="Growth of the agent's memory")] | None = None


class WaveAsked(Asked):
    percent: Annotated[
        float, Field(gt=0, le=100, description="Of each profile's devices, those before included")
    ]
    soak_s: Annotated[int, SECONDS] = 0
    approve: bool = Field(default=False, description="Begins only with a person's word")


class GatesAsked(Asked):
    """What has to hold on the devices that committed, for each profile; null = not looked at."""

    max_failure_ratio: Annotated[float, RATIO] | None = None
    p95_us: Annotated[int, Field(ge=1, le=2**53)] | None = None
    p95_ratio: (
        Annotated[float, Field(gt=0, le=100, description="Against before, and devices not told yet")] | None
    ) = None
    rss_bytes: Annotated[int, Field(ge=1, le=2**53, description="Of the agent's process")] | None = None
    energy_ratio: Annotated[float, Field(gt=0, le=100, description="Of an inference")] | None = None
    min_agreement: Annotated[float, RATIO] | None = Field(default=None, description="In shadow mode")
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_devices: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    min_inferences: Annotated[int, Field(ge=1, le=1_000_000_000)] = 100


class ShadowAsked(Asked):
    """In its trial the new model also answers live requests, unseen."""

    seconds: Annotated[int, Field(ge=1, le=7 * 86_400)]
    requests: Annotated[int, Field(ge=1, le=10_000_000)] = 1000
    min_agreement: Annotated[float, RATIO] = Field(
        default=0.0, description="On each device: less, and it rejects"
    )
    min_requests: Annotated[int, Field(ge=0, le=10_000_000)] = 0


class DeliveryAsked(Asked):
    """How devices may fetch; beside the fleet's and each device's rules, the strictest counts."""

    rate_bytes_s: Annotated[int, Field(ge=1000, le=2**40)] | None = None
    hours: Hours = Field(default_factory=list)
    timezone: Annotated[str, Field(max_length=64)] = "UTC"
    metered: Literal["allow", "wait"] = "allow"
    transport: Transport = "auto"
    start_within_s: Annotated[int, Field(ge=0, le=7 * 86_400)] = 0


class PolicyAsked(Asked):
    canary_per_profile: Annotated[int, Field(ge=0, le=10_000, description="Devices that go first")] = 1
    canary_profiles: dict[str, Annotated[int, Field(ge=0, le=10_000)]] = Field(
        default_factory=dict, max_length=200, description="Other sizes, by profile"
    )
    approve_canary: bool = False
    waves: Annotated[list[WaveAsked], Field(min_length=1, max_length=50)] | None = Field(
        default=None, description="null: one of 100 percent"
    )
    rate_per_minute: Annotated[int, Field(ge=1, le=1_000_000, description="Devices told")] | None = None
    max_in_flight: Annotated[int, Field(ge=1, le=1_000_000, description="At it at once")] | None = None
    max_failed: Annotated[int, COUNT] | None = Field(
        default=None, description="More failures stop it; null: 0, or what the failure gate says"
    )
    gates: GatesAsked | None = None
    on_gate: Literal["pause", "rollback"] = Field(default="pause", description="What a missed gate does")
    start_at_ms: Annotated[int, UNIX_MS] | None = None
    hours: Hours = Field(default_factory=list, description='In which devices are told: "22:00-06:00"')
    timezone: Annotated[str, Field(max_length=64)] = Field(default="UTC", description="Of the hours")
    stage_timeout_s: Annotated[int, Field(ge=1, le=30 * 24 * 3600)] | None = None
    deadline_ms: Annotated[int, UNIX_MS] | None = Field(
        default=None, description="Who was not reached is left out"
    )
    late_joiners: bool = True
    shadow: ShadowAsked | None = None
    delivery: DeliveryAsked | None = None
    delta: Literal["prefer", "only", "never"] = "prefer"
    soak_s: Annotated[int, Field(ge=0, le=30 * 24 * 3600, description="Watched this long at the end")] = 0
    limits: LimitsAsked | None = None

    def plain(self) -> dict[str, Any]:
        """As `store.rollout_policy.read_policy` takes it."""
        said = self.model_dump()
        return {name: value for name, value in said.items() if value is not None}


class LimitsAnswer(Answer):
    p95_us: int | None
    rss_bytes: int | None


class WaveAnswer(Answer):
    percent: float
    soak_s: int
    approve: bool


class GatesAnswer(Answer):
    max_failure_ratio: float | None
    p95_us: int | None
    p95_ratio: float | None
    rss_bytes: int | None
    energy_ratio: float | None
    min_agreement: float | None
    confidence: float
    min_devices: int
    min_inferences: int


class ShadowAnswer(Answer):
    seconds: int
    requests: int
    min_agreement: float
    min_requests: int


class RolloutDeliveryAnswer(Answer):
    rate_bytes_s: int | None
    hours: list[str]
    timezone: str
    metered: str
    transport: Transport
    start_within_s: int


class PolicyAnswer(Answer):
    canary_per_profile: int
    canary_profiles: dict[str, int]
    approve_canary: bool
    waves: list[WaveAnswer]
    rate_per_minute: int | None
    max_in_flight: int | None
    max_failed: int | None
    gates: GatesAnswer
    on_gate: Literal["pause", "rollback"]
    start_at_ms: int | None
    hours: list[str]
    timezone: str
    stage_timeout_s: int | None
    deadline_ms: int | None
    late_joiners: bool
    shadow: ShadowAnswer | None
    delivery: RolloutDeliveryAnswer | None
    delta: Literal["prefer", "only", "never"]
    soak_s: int
    limits: LimitsAnswer
