"""The groups of a model for people: a table, JSON, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import msgspec
import numpy as np

from edgepress_compression.graph.channels.groups import ChannelGroup, Member

WHYS_SHOWN = 3  # sentences in the table; JSON has all
_ROW, _LEFT, _BAR, _WIDTH = 18, 330, 420, 980  # pixels of the picture
_COLOURS = {"makes": "#1b6ca8", "rides": "#8a8f98", "reads": "#c2571a"}


class MemberFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor of a group."""

    tensor: str
    axis: int
    role: str  # makes, reads, rides
    width: int  # positions of a unit
    first: int  # lowest and highest position that belongs to the group
    last: int


class GroupFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One group. `fixed` is why it cannot be cut, or None."""

    name: str
    kind: str
    units: int
    members: list[MemberFacts]
    values: list[str]
    why: list[str]
    fixed: str | None


def describe(groups: Sequence[ChannelGroup]) -> list[GroupFacts]:
    """Plain facts, for JSON."""
    return [
        GroupFacts(
            name=group.name,
            kind=group.kind,
            units=group.units,
            members=[_facts(member) for member in group.members],
            values=list(group.values),
            why=list(group.why),
            fixed=group.fixed,
        )
        for group in groups
    ]


def _facts(member: Member) -> MemberFacts:
    return MemberFacts(
        tensor=member.tensor,
        axis=member.axis,
        role=member.role,
        width=member.positions.shape[1],
        first=int(member.positions.min()),
        last=int(member.positions.max()),
    )


def table_text(groups: Sequence[ChannelGroup]) -> str:
    """One block a group: its units, the tensors that are cut together, and why."""
    lines = []
    for group in groups:
        state = "can be cut" if group.fixed is None else f"fixed: {group.fixed}"
        lines.append(f"{group.name}  ({group.units} {group.kind}; {state})")
        widest = max(len(member.tensor) for member in group.members)
        lines.extend(f"    {m.role:5}  {m.tensor:{widest}}  {_places(m)}" for m in group.members)
        lines.extend(f"    because {why}" for why in group.why[:WHYS_SHOWN])
        if len(group.why) > WHYS_SHOWN:
            lines.append(f"    and {len(group.why) - WHYS_SHOWN} more reasons (--json lists them)")
    free = [group for group in groups if group.fixed is None]
    lines.append(
        f"{len(groups)} groups; {len(free)} can be cut, {sum(group.units for group in free)} units in all."
    )
    return "\n".join(lines)


def _places(member: Member) -> str:
    low, high, width = int(member.positions.min()), int(member.positions.max()), member.positions.shape[1]
    each = "" if width == 1 else f", {width} a unit"
    return f"axis {member.axis}, positions {low} to {high}{each}"


def picture(groups: Sequence[ChannelGroup]) -> str:
    """An SVG: for every group a bar for each tensor, as long as its axis, with the group's part filled in.

    Tensors that stand under one heading are cut together. Nothing in it runs or is loaded.
    """
    lengths = _lengths(groups)
    longest = max(lengths.values(), default=1)
    rows: list[str] = []
    y = 4 * _ROW
    for group in groups:
        y += _ROW // 2
        state = "" if group.fixed is None else f" (fixed: {group.fixed})"
        rows.append(_text(8, y, f"{group.name}: {group.units} {group.kind}{state}", bold=group.fixed is None))
        for member in group.members:
            y += _ROW
            length = lengths[member.tensor, member.axis]
            scale = _BAR / longest
            rows.append(_text(24, y, f"{member.role} {_short(member.tensor)}, axis {member.axis}"))
            rows.append(_rectangle(_LEFT, y, length * scale, "#e4e6ea"))
            colour = _COLOURS[member.role] if group.fixed is None else "#b9bdc4"
            for start, stop in _runs(member.positions):
                rows.append(_rectangle(_LEFT + start * scale, y, (stop - start) * scale, colour))
            rows.append(_text(_LEFT + length * scale + 8, y, f"{member.positions.size} of {length}"))
        for why in group.why[:WHYS_SHOWN]:
            y += _ROW
            rows.append(_text(24, y, f"because {why}"))
        y += _ROW
    legend = "".join(
        _rectangle(8 + 110 * i, 2 * _ROW, 12, colour) + _text(26 + 110 * i, 2 * _ROW, role)
        for i, (role, colour) in enumerate(_COLOURS.items())
    )
    title = _text(8, _ROW, "Channels that are cut together", bold=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y + _ROW}" '
        f'viewBox="0 0 {_WIDTH} {y + _ROW}" font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{title}{legend}{"".join(rows)}</svg>\n'
    )


def _lengths(groups: Sequence[ChannelGroup]) -> dict[tuple[str, int], int]:
    """(tensor, axis) -> its length as far as groups cover it."""
    lengths: dict[tuple[str, int], int] = {}
    for group in groups:
        for member in group.members:
            key = (member.tensor, member.axis)
            lengths[key] = max(lengths.get(key, 0), int(member.positions.max()) + 1)
    return lengths


def _runs(positions: np.ndarray) -> list[tuple[int, int]]:
    """Sorted positions as [start, stop) runs."""
    flat = np.unique(positions)
    breaks = np.flatnonzero(np.diff(flat) > 1) + 1
    return [(int(run[0]), int(run[-1]) + 1) for run in np.split(flat, breaks)]


def _short(name: str, longest: int = 34) -> str:
    return name if len(name) <= longest else "..." + name[3 - longest :]


def _text(x: float, y: float, text: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y}" fill="#22252a"{weight}>{escape(text)}</text>'


def _rectangle(x: float, y: float, width: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y - 10}" width="{max(width, 1):.1f}" height="12" rx="2" fill="{colour}"/>'
