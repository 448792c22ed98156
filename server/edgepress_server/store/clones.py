"""Two boards with one identity, such as two SD cards made from one image, found by what they report.

A broker lets one connection of an identity live, so the boards take it from each other in turns: A, B, A, B.
Every start of an agent draws a ``boot``. One board alone never shows one again after another; an old retained
copy may, once. So the second return within WINDOW_MS is proof.
"""

from __future__ import annotations

from typing import Final

WINDOW_MS: Final = 15 * 60_000
RETURNS: Final = 2
_TURNS_MAX: Final = 16  # remembered of a device


class CloneWatch:
    """In memory: after a restart of the server the boards show themselves again. Times in Unix ms."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}
        self._turns: dict[str, list[tuple[int, str, bool]]] = {}  # (when, boot, whether it came back)

    def is_cloned(self, device: str, boot: str, at_ms: int) -> bool:
        """Take note of a state of ``device``; True when it shows that two boards are at work."""
        last = self._last.get(device)
        if last == boot:
            return False
        self._last[device] = boot
        if last is None:
            return False
        recent = self._turns.get(device, [(at_ms, last, False)])
        recent = [turn for turn in recent if at_ms - turn[0] <= WINDOW_MS]
        came_back = any(boot == seen for _, seen, _ in recent)
        recent.append((at_ms, boot, came_back))
        self._turns[device] = recent[-_TURNS_MAX:]
        return came_back and sum(back for _, _, back in recent) >= RETURNS
