"""Annotations of a chart, few enough to be read: neighbours of one kind become one where there are many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgepress_server.store.annotations import Annotation

_PLURAL = {
    "release": "releases",
    "rollout": "steps of rollouts",
    "device": "changes of devices",
    "alert": "alerts",
    "finding": "findings",
}
_SEVERITIES = (None, "info", "warning", "critical")


def fewer(annotations: Sequence[Annotation], limit: int, from_ms: int, to_ms: int) -> list[Annotation]:
    """At most about ``limit``; ascending by time. What is merged says how many it stands for."""
    found = list(annotations)
    slots = max(1, limit)
    while len(found) > limit:
        found = _merged(annotations, from_ms, max(1, (to_ms - from_ms) // slots))
        if slots == 1:
            break
        slots = slots // 2
    return found


def _merged(annotations: Sequence[Annotation], from_ms: int, slot_ms: int) -> list[Annotation]:
    slots: dict[tuple[str, int], list[Annotation]] = {}
    for one in annotations:
        slots.setdefault((one.kind, max(0, one.at - from_ms) // slot_ms), []).append(one)
    merged = [each[0] if len(each) == 1 else _together(each) for each in slots.values()]
    return sorted(merged, key=lambda one: (one.at, one.kind, one.subject))


def _together(each: Sequence[Annotation]) -> Annotation:
    first = each[0]
    count = sum(one.count for one in each)

    def same(name: str) -> str | None:
        values = {getattr(one, name) for one in each}
        return values.pop() if len(values) == 1 else None

    ends = [one.until if one.until is not None else one.at for one in each]
    return replace(
        first,
        until=max(ends),
        title=f"{count} {_PLURAL[first.kind]}",
        text="; ".join(one.title for one in each[:5]) + ("; ..." if len(each) > 5 else ""),
        model=same("model"),
        profile=same("profile"),
        device=same("device"),
        count=count,
        severity=max((one.severity for one in each), key=_SEVERITIES.index),
    )
