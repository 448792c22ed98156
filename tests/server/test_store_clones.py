"""Two boards with one identity, told from one that restarts, from old retained copies and from bad links."""

import pytest

from edgepress_server.store.clones import CloneWatch

MINUTE = 60_000
STORIES = [
    ("one board", "AAAAAA", MINUTE, None),
    ("one board that restarts and restarts", "ABCDEFGH", MINUTE, None),
    ("twice back is more than one old copy can do", "ABAB", MINUTE, 3),
    ("an old copy once", "ABA", MINUTE, None),
    ("two boards in turns", "AABABAB", MINUTE, 4),
    ("two boards, one of which restarts", "ABACAD", MINUTE, 4),
    ("a return an hour later counts anew", "ABA", 60 * MINUTE, None),
]


@pytest.mark.parametrize(("boots", "step_ms", "found"), [s[1:] for s in STORIES], ids=[s[0] for s in STORIES])
def test_stories(boots: str, step_ms: int, found: int | None) -> None:
    watch = CloneWatch()
    seen = [watch.is_cloned("pi", boot, step_ms * n) for n, boot in enumerate(boots)]
    first = seen.index(True) if True in seen else None
    assert first == found


def test_devices_do_not_mix() -> None:
    watch = CloneWatch()
    for n in range(10):
        assert not watch.is_cloned(f"pi-{n % 2}", f"boot-{n % 2}", n)
