"""A question about telemetry, and its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from edgepress_server.errors import InvalidInputError
from edgepress_server.telemetry_query.measures import Aggregate, aggregate_named, metric_named
from edgepress_server.telemetry_query.plan import Tier, check_range

SERIES_MAX: Final = 50
GROUPS: Final = ("none", "device", "profile", "artifact", "model")
_LABEL: Final = re.compile(r"label:[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Query:
    """Made by `question`, which checks. Times are Unix ms."""

    metric: str  # of the catalogue, or a histogram
    aggregate: Aggregate
    group_by: str  # of GROUPS, or label:KEY
    from_ms: int
    to_ms: int
    step_ms: int | None = None  # None: as the range deserves
    where: str = ""  # which devices: the language of `rollout.query`
    artifact: str | None = None  # only what was measured while this ran: a digest, or its beginning
    model: str | None = None  # the same for any artifact of a model
    limit: int = SERIES_MAX


@dataclass(frozen=True)
class Series:
    name: str  # of the group: device, profile, digest, model, value of a label; "" for all, or for none
    title: str
    values: list[float | None]  # a step each; None: nothing was measured
    total: float | None  # the same figure over the whole range
    samples: int  # that it rests on; of a histogram: what was timed
    devices: int | None  # None: read from the rows of a group, which do not tell


@dataclass(frozen=True)
class Result:
    query: Query
    title: str
    unit: str
    tier: Tier
    from_ms: int  # as answered: whole steps
    to_ms: int
    step_ms: int
    t: list[int]  # where each step begins
    series: list[Series]
    left_out: int  # groups beyond the limit
    left_out_devices: int
    devices: int  # that the question was about
    notes: list[str]


def question(
    *,
    metric: str,
    aggregate: str | None = None,
    group_by: str = "none",
    from_ms: int,
    to_ms: int,
    step_ms: int | None = None,
    where: str = "",
    artifact: str | None = None,
    model: str | None = None,
    limit: int = SERIES_MAX,
) -> Query:
    """Raises InvalidInputError, which names the parameter and what it may be."""
    name = metric_named(metric)
    if group_by not in GROUPS and not _LABEL.fullmatch(group_by):
        raise InvalidInputError(
            "query_group_by",
            f"group_by: {group_by[:80]!r} is none. Take {', '.join(GROUPS)} or label:KEY.",
        )
    if not 1 <= limit <= SERIES_MAX:
        raise InvalidInputError("query_limit", f"limit: 1 to {SERIES_MAX} series are answered.")
    check_range(from_ms, to_ms)
    if artifact and model:
        raise InvalidInputError("query_artifact", "artifact: give it or `model`, not both.")
    return Query(
        name,
        aggregate_named(name, aggregate),
        group_by,
        from_ms,
        to_ms,
        step_ms,
        where.strip(),
        artifact or None,
        model or None,
        limit,
    )
