"""What can go wrong when a notice is brought to its receiver."""

from __future__ import annotations

from typing import Final

ANSWER_MAX: Final = 300  # characters of an answer that are kept
CONNECT_S: Final = 5.0
ANSWER_S: Final = 10.0


class DeliveryError(Exception):
    """The receiver did not take it; the text says why. ``for_good``: trying again changes nothing."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        self.for_good = for_good
