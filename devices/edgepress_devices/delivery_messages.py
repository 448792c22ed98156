"""What a release vouches for, how a device may fetch and try it, and what the trial saw.

The wire protocol's module says where these stand.
"""

from typing import Annotated, Any, Literal

import msgspec

from edgepress_devices.wire_types import Count, Digest, Text


class Limits(msgspec.Struct, omit_defaults=True):
    """What the trial on the device must not exceed; absent = not limited."""

    p95_us: Count | None = None
    rss_bytes: Count | None = None  # growth of the agent's resident memory by this model


class Statement(msgspec.Struct, omit_defaults=True):
    """``custom`` of a release statement's target: the release key vouches for this, digest and length."""

    profile: Text
    model: Text
    chunks: Count
    limits: Limits = msgspec.field(default_factory=Limits)


class DeltaStatement(msgspec.Struct, omit_defaults=True):
    """``custom`` of a delta's target: what it needs, and what comes out."""

    profile: Text
    model: Text
    chunks: Count
    base: Digest  # the artifact whose decoded model it changes
    full: Digest  # the artifact of the release that it stands for
    onnx_sha256: Digest  # of the decoded model, the same as that of ``full``
    onnx_bytes: Count


class DeltaOffer(msgspec.Struct, omit_defaults=True):
    statement: dict[str, Any]  # Metadata[Targets] as JSON, see the module's head
    sealed_key: str  # content key of the delta, as ``Want.sealed_key`` with the delta's digest


class Shadow(msgspec.Struct, omit_defaults=True):
    """In the trial the new model also answers live requests, unseen, and is compared with the old one's."""

    seconds: Annotated[int, msgspec.Meta(ge=1, le=7 * 86_400)]  # at most so long
    requests: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 1000  # it ends with as many compared
    min_agreement_ppm: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    """fewer of a million with the same answer: rejected"""
    min_requests: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 0
    """with fewer compared it says nothing: rejected"""


MinuteOfDay = Annotated[int, msgspec.Meta(ge=0, le=1440)]


class Delivery(msgspec.Struct, omit_defaults=True):
    """How a device may fetch. The device's own settings can only be stricter."""

    start_within_s: Annotated[int, msgspec.Meta(ge=0, le=7 * 86_400)] = 0
    """it begins at a moment drawn from so many seconds after the want was issued"""
    rate_bytes_s: Annotated[int, msgspec.Meta(ge=1000, le=2**40)] | None = None
    hours: Annotated[list[tuple[MinuteOfDay, MinuteOfDay]], msgspec.Meta(max_length=8)] = []
    """minutes of the day, UTC, from..to, over midnight where to <= from; empty = always"""
    metered: Literal["allow", "wait"] = "allow"  # wait: not over a metered link
    transport: Literal["auto", "mqtt", "https"] = "auto"  # auto: MQTT, and HTTPS where that brings nothing
    full: bool = True  # the full artifact may be fetched where the delta cannot be used


class TrialReport(msgspec.Struct, omit_defaults=True):
    """What the newest trial or shadow run saw; absent = not measured."""

    requests: Count = 0  # live requests that both models answered, in shadow mode
    agreed: Count = 0  # of them, with the same answer
    p95_us: Count | None = None  # the new model
    base_p95_us: Count | None = None  # the old one, on the same inputs
    rss_bytes: Count | None = None  # growth of the agent's resident memory by the new model
