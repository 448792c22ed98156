"""The order in which an executor runs, and when it lets values go."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from edgepress_compression.executor.operators import Call, Operator


@dataclass(frozen=True)
class Step:
    """One node, or several that are computed at once."""

    function: Operator
    call: Call
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dead_after: tuple[str, ...] = ()  # values that nobody reads later


def freeing(steps: Sequence[Step], kept: Set[str]) -> list[Step]:
    """The same steps, each with the values that it is the last to touch, except for those that are kept."""
    last_reader = {name: i for i, step in enumerate(steps) for name in step.inputs}
    planned = []
    for i, step in enumerate(steps):
        touched = dict.fromkeys((*step.inputs, *step.outputs))
        dead = tuple(name for name in touched if last_reader.get(name, i) == i and name not in kept)
        planned.append(replace(step, dead_after=dead))
    return planned
