"""What counters of the kernel have grown by since they were last read."""

from typing import NamedTuple


class Pair(NamedTuple):
    """Two counters of one part: received and sent, read and written."""

    taken_in: int
    given_out: int


class Growth:
    """Of counters that belong to parts which come and go: network interfaces, disks.

    A counter that is smaller than before was reset, or it wrapped, at an unknown figure: how much it grew
    cannot be said, so nothing is said of the whole interval. A part that is new is counted from here on.
    """

    def __init__(self) -> None:
        self._before: dict[str, Pair] | None = None

    def since_last(self, now: dict[str, Pair] | None) -> Pair | None:
        """By how much all parts together grew. None: unknown, or nothing to compare with; ``now`` None: they
        could not be read.
        """
        if now is None:
            return None  # the next figure covers this interval too
        before, self._before = self._before, now
        if before is None:
            return None
        taken_in = given_out = 0
        for name, (new_in, new_out) in now.items():
            old_in, old_out = before.get(name, (new_in, new_out))
            if new_in < old_in or new_out < old_out:
                return None
            taken_in += new_in - old_in
            given_out += new_out - old_out
        return Pair(taken_in, given_out)
