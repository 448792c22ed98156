"""Who is told what, and when: a table of cases, and what holds of every history."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_server.alerts.notices import (
    CALM_MS,
    FLAP_MS,
    GROUP_WAIT_MS,
    UPDATE_MS,
    Case,
    is_flapping,
    next_notice,
    told_after,
)

NOW = 100_000_000
FIRES = Case(
    is_firing=True, told="", told_at=0, told_subjects=0, subjects=1, since=NOW - GROUP_WAIT_MS,
    is_flapping=False, is_silenced=False, is_acknowledged=False, repeat_s=3600,
)  # fmt: skip
TOLD = replace(FIRES, told="firing", told_at=NOW - UPDATE_MS, told_subjects=3, subjects=3)
OVER = replace(TOLD, is_firing=False, subjects=0)


@pytest.mark.parametrize(
    ("name", "case", "what"),
    [
        ("others may join for a moment", replace(FIRES, since=NOW - GROUP_WAIT_MS + 1), None),
        ("then it is told", FIRES, "fired"),
        ("what is silenced is not told", replace(FIRES, is_silenced=True), None),
        ("what was told once is not told again", TOLD, None),
        ("many more are told", replace(TOLD, subjects=8), "more"),
        ("two more are not", replace(TOLD, subjects=5), None),
        ("nor many more a moment later", replace(TOLD, subjects=80, told_at=NOW - 1000), None),
        ("it is told again after a while", replace(TOLD, told_at=NOW - 3_600_000), "repeated"),
        ("not while somebody sees to it", replace(TOLD, told_at=0, is_acknowledged=True), None),
        ("nor where the rule says never", replace(TOLD, told_at=0, repeat_s=0), None),
        ("its end is told", OVER, "resolved"),
        ("even when it was silenced meanwhile", replace(OVER, is_silenced=True), "resolved"),
        ("even while somebody saw to it", replace(OVER, is_acknowledged=True), "resolved"),
        ("the end of what nobody heard of is not", replace(OVER, told=""), None),
        ("and is told once", replace(OVER, told="resolved"), None),
        ("what fires again is told again", replace(FIRES, told="resolved"), "fired"),
        ("what comes and goes is told once", replace(FIRES, is_flapping=True), "flapping"),
        ("and then no more", replace(OVER, told="flapping", is_flapping=True), None),
        ("until it is calm and over", replace(OVER, told="flapping"), "resolved"),
        ("or calm and fires", replace(TOLD, told="flapping"), "calm"),
    ],
)
def test_what_is_told(name: str, case: Case, what: str | None) -> None:
    assert next_notice(case, NOW) == what, name


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=80),
)
def test_nobody_is_left_waiting_and_nobody_hears_of_an_end_without_a_beginning(
    history: list[tuple[bool, bool, bool]],
) -> None:
    """(fires, silenced, acknowledged) at each look; at the end it is over and calm."""
    case, now, fired_at, flapping = replace(FIRES, is_firing=False, subjects=0), NOW, list[int](), False
    said: list[str] = []
    for fires, silenced, acknowledged in [*history, *[(False, False, False)] * 200]:
        now += 15_000
        if fires and not case.is_firing:
            fired_at.append(now)
        since = now if fires != case.is_firing else case.since
        flapping = is_flapping(fired_at, now, was=flapping)
        case = replace(
            case, is_firing=fires, since=since, is_flapping=flapping, is_silenced=silenced,
            is_acknowledged=acknowledged, subjects=int(fires),
        )  # fmt: skip
        what = next_notice(case, now)
        if what is not None:
            if what == "resolved":
                assert case.told in ("firing", "flapping")
            said.append(what)
            case = replace(case, told=told_after(what), told_at=now, told_subjects=case.subjects)
    assert case.told in ("", "resolved")
    assert len(said) <= 12 + len(history) // 10  # however often it came and went


def test_it_flaps_after_four_times_an_hour_until_it_is_calm() -> None:
    times = [NOW, NOW + 1000, NOW + 2000]
    assert not is_flapping(times, NOW + 3000, was=False)
    four = [*times, NOW + 3000]
    assert is_flapping(four, NOW + 3000, was=False)
    assert is_flapping(four, NOW + 3000 + CALM_MS - 1, was=True)
    assert not is_flapping(four, NOW + 3000 + CALM_MS, was=True)
    assert not is_flapping([0, 1, 2, FLAP_MS + 3], FLAP_MS + 3, was=False)
