"""Groups of channels that can only be cut together, for whoever decides what to cut."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgepress_compression.errors import GraphError
from edgepress_compression.graph.channels.analyse import Analysis, analyse
from edgepress_compression.graph.channels.labels import KEPT
from edgepress_compression.graph.channels.walk import Role, Use
from edgepress_compression.graph.model import Graph

Kind = Literal["channels", "heads", "features"]


@dataclass(frozen=True)
class Member:
    """One tensor that is cut together with the others."""

    tensor: str  # initializer name
    axis: int
    positions: np.ndarray  # int64 (units, width): positions along `axis` that belong to each unit
    role: Role  # makes the channels, reads them, or rides along (one number a channel: bias, batch norm)
    node: str  # output name of the first node that uses it


@dataclass(frozen=True)
class ChannelGroup:
    """Units of a kind: cutting one takes its positions out of every member, and nothing else."""

    name: str  # weight of the first node that makes it; unique
    kind: Kind
    units: int
    members: tuple[Member, ...]
    values: tuple[str, ...]  # activations whose channels these are
    why: tuple[str, ...]  # sentences for people: what ties tensors together
    fixed: str | None  # why no unit can be cut; None: they can
    granularity: int = 1  # units may be cut in multiples of this only


class ChannelGroups(list[ChannelGroup]):
    """A list of groups that remembers how the graph was followed, so that `cut` need not do it again."""

    def __init__(self, found: list[tuple[ChannelGroup, np.ndarray]], analysis: Analysis) -> None:
        super().__init__(group for group, _ in found)
        self.analysis = analysis
        self.classes = {group.name: classes for group, classes in found}  # (units,) int64 labels
        self._lines = _lines(analysis)
        self._structure = _structure(analysis.walk.graph)

    def fit(self, graph: Graph) -> bool:
        """Whether `graph` has the nodes and shapes of the one that was followed, with whatever numbers."""
        return _structure(graph) == self._structure

    def gone(self, kept: Mapping[str, np.ndarray]) -> np.ndarray:
        """int64 labels of the units that `kept` marks False: group name -> bool (units,).

        Raises GraphError for an unknown or fixed group, or a mask of the wrong length.
        """
        groups = {group.name: group for group in self}
        gone = [np.zeros(0, dtype=np.int64)]
        for name, given in kept.items():
            if name not in groups:
                raise GraphError(f"There is no channel group {name}; `edgepress model groups` lists them.")
            mask, group = np.asarray(given), groups[name]
            if mask.dtype != np.bool_ or mask.shape != (group.units,):
                raise GraphError(
                    f"{name} takes {group.units} times yes or no, not {mask.dtype} {mask.shape}."
                )
            if group.fixed is not None and not mask.all():
                raise GraphError(f"{name} cannot be cut: {group.fixed}.")
            gone.append(self.classes[name][~mask])
        return np.concatenate(gone)

    def emptied(self, kept: Mapping[str, np.ndarray]) -> list[tuple[str, list[tuple[str, int]]]]:
        """Values that would have no channels left, each with the units, as (group, position), of which at
        least one must stay. Whoever chooses masks asks this before `cut`, which refuses such a cut.
        """
        gone = set(self.gone(kept).tolist())
        where = {
            label: (name, position)
            for name, classes in self.classes.items()
            for position, label in enumerate(classes.tolist())
        }
        return [
            (value, [where[label] for label in sorted(line)])
            for line, value in self._lines.items()
            if line <= gone
        ]

    def refilled(
        self,
        kept: Mapping[str, np.ndarray],
        scores: Mapping[str, np.ndarray] | None = None,
        *,
        multiple: int = 1,
    ) -> dict[str, np.ndarray]:
        """`kept` as `cut` takes it: one unit is put back where a value would have no channels left.

        It is the one with the highest score (group -> (units,)), or the first without scores. More of its
        group follow up to a multiple of `multiple` and of the group's granularity.
        """
        new = {name: np.array(mask) for name, mask in kept.items()}
        groups = {group.name: group for group in self}
        for _, units in self.emptied(kept):
            if any(new[name][position] for name, position in units):
                continue  # what another value got back is here, too
            best, position = max(units, key=lambda unit: 0.0 if scores is None else scores[unit[0]][unit[1]])
            mask, group = new[best], groups[best]
            mask[position] = True
            grain = math.lcm(group.granularity, multiple)
            grain = grain if grain < group.units else group.granularity
            order = np.arange(group.units) if scores is None else np.argsort(-scores[best], kind="stable")
            mask[order[~mask[order]][: -int(mask.sum()) % grain]] = True
        return new


def channel_groups(graph: Graph) -> ChannelGroups:
    """All groups of `graph`, in the order in which its nodes make them; each has at least one member that
    makes.

    A unit is in one group only. Raises GraphError when the model does not run.
    """
    analysis = analyse(graph)
    return ChannelGroups(_grouped(analysis), analysis)


def _grouped(analysis: Analysis) -> list[tuple[ChannelGroup, np.ndarray]]:
    labels = analysis.walk.labels
    places = _first_uses(analysis)
    found = {key: labels.find(use.labels) for key, use in places.items()}
    # label of a unit -> [(tensor, axis, positions)] in the order of the nodes
    units: dict[int, list[tuple[tuple[str, int], np.ndarray]]] = {}
    for key, classes in found.items():
        order = np.argsort(classes, kind="stable")
        present, starts = np.unique(classes[order], return_index=True)
        for name, positions in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
            if name != KEPT:
                units.setdefault(name, []).append((key, positions))
    alike: dict[object, list[int]] = {}
    for name, members in units.items():
        if any(places[key].role == "makes" for key, _ in members):
            signature = (
                tuple((key, len(positions)) for key, positions in members),
                labels.reason(name),
            )
            alike.setdefault(signature, []).append(name)
    words = _sentences(analysis)
    values = _values(analysis)
    heads = set(labels.find(np.array(labels.heads, dtype=np.int64)).tolist()) if labels.heads else set()
    taken: set[str] = set()
    groups = []
    for ids in alike.values():
        maker = next(k for k, (key, _) in enumerate(units[ids[0]]) if places[key].role == "makes")
        ordered = sorted((int(units[name][maker][1][0]), name) for name in ids)
        names = [name for _, name in ordered]
        first = places[units[names[0]][maker][0]]
        classes = np.array(names, dtype=np.int64)
        groups.append(
            (
                ChannelGroup(
                    name=_unique(first.tensor, taken),
                    kind="heads" if set(names) <= heads else first.kind,
                    units=len(names),
                    members=tuple(
                        Member(
                            tensor=key[0],
                            axis=key[1],
                            positions=np.stack([units[name][i][1] for name in names]),
                            role=places[key].role,
                            node=places[key].node,
                        )
                        for i, (key, _) in enumerate(units[names[0]])
                    ),
                    values=tuple(v for v, of in values.items() if not of.isdisjoint(names)),
                    why=tuple(dict.fromkeys(word for name in names for word in words.get(name, ()))),
                    fixed=labels.reason(names[0]),
                ),
                classes,
            )
        )
    return groups


def _structure(graph: Graph) -> tuple[object, ...]:
    nodes = tuple((node.op_type, *node.input, *node.output) for node in graph.proto.graph.node)
    return nodes, tuple((name, array.shape) for name, array in graph.weights.items())


def _lines(analysis: Analysis) -> dict[frozenset[int], str]:
    """The labels of each axis that holds nothing but units that may be cut -> the first value with that
    axis.
    """
    walk = analysis.walk
    lines: dict[frozenset[int], str] = {}
    for name, raw in walk.values.items():
        if name in analysis.needed and raw.any():
            line = frozenset(np.unique(walk.labels.free(raw)).tolist())
            if KEPT not in line:
                lines.setdefault(line, name)
    return lines


def _first_uses(analysis: Analysis) -> dict[tuple[str, int], Use]:
    """(tensor, axis) -> its first use, or the first that makes channels."""
    places: dict[tuple[str, int], Use] = {}
    for use in analysis.walk.uses:
        key = (use.tensor, use.axis)
        if key not in places or (use.role == "makes" and places[key].role != "makes"):
            places[key] = use
    return places


def _sentences(analysis: Analysis) -> dict[int, list[str]]:
    labels = analysis.walk.labels
    words: dict[int, list[str]] = {}
    if labels.ties:
        roots = labels.find(np.array([label for label, _ in labels.ties], dtype=np.int64))
        for root, (_, why) in zip(roots.tolist(), labels.ties, strict=True):
            words.setdefault(root, []).append(why)
    return words


def _values(analysis: Analysis) -> dict[str, set[int]]:
    """Activation -> labels of the units that it holds, in the order of the nodes."""
    walk = analysis.walk
    return {
        name: set(np.unique(walk.labels.find(raw)).tolist()) - {KEPT}
        for name, raw in walk.values.items()
        if name in analysis.needed and raw.any()
    }


def _unique(name: str, taken: set[str]) -> str:
    new, number = name, 2
    while new in taken:
        new, number = f"{name}[{number}]", number + 1
    taken.add(new)
    return new
