"""Keeps the account of a model's probation: ``crash_loop`` decides, here it is counted and written down."""

import logging
from collections.abc import Callable
from typing import Final

from edgepress_agent import crash_loop
from edgepress_agent.crash_loop import Probation
from edgepress_agent.journal import Journal

WRITE_EVERY_S: Final = 60.0  # what a crash may lose of the account, and how little an SD card is written

log = logging.getLogger(__name__)


class ProbationWatch:
    """``served()``: requests answered and failed by the model that runs now, since it was activated."""

    def __init__(self, journal: Journal, served: Callable[[], tuple[int, int]]) -> None:
        self._journal = journal
        self._served = served
        self._since_s: float | None = None  # until when it is accounted for
        self._seen = (0, 0)

    def begin(self, digest: str, before: tuple[int, int]) -> Probation:
        """The account of a model that takes over; ``before``: what the one before it answered and failed."""
        self._since_s, self._seen = None, (0, 0)
        return Probation(
            digest, crash_loop.read_boot_id(), open=True, fragile_before=crash_loop.is_fragile(*before)
        )

    def look(self, digest: str | None, now_s: float) -> str | None:
        """Count, write where it is time to, and say why the model must not go on. Raises OSError."""
        probation = self._journal.record.probation
        if probation is None or probation.digest != digest:
            self._since_s = None
            return None
        if self._since_s is None:
            self._since_s, self._seen = now_s, (0, 0)
        seconds = now_s - self._since_s
        answered, failed = (now - seen for now, seen in zip(self._served(), self._seen, strict=True))
        account = crash_loop.went_on(probation, seconds=seconds, answered=answered, failed=failed)
        reason = crash_loop.condemned(account)
        if crash_loop.is_over(account) and reason is None:
            self._journal.write(probation=None)
            log.info("%s has passed its probation", digest[:12] if digest else "")
        elif seconds >= WRITE_EVERY_S:
            self._journal.write(probation=account)
            self._since_s, self._seen = now_s, (self._seen[0] + answered, self._seen[1] + failed)
        return reason

    def pardon(self) -> None:
        """There is nothing to go back to: the account ends. Raises OSError."""
        self._journal.write(probation=None)


def open_account(probation: Probation | None, digest: str, *, busy: bool) -> Probation | None:
    """The account at a start of the agent, for the model that is loaded; None where it has none."""
    if probation is None or probation.digest != digest:
        return None
    return crash_loop.started(probation, boot=crash_loop.read_boot_id(), busy=busy)
