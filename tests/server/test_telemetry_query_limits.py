"""What a question may cost, and what a wrong one is told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pytest

from edgepress_server.errors import InvalidInputError
from edgepress_server.rollout.query import Subject
from edgepress_server.store.series.frame import WIDTH, Frame
from edgepress_server.store.series.keys import SeriesKey
from edgepress_server.telemetry_query.answers import Answers
from edgepress_server.telemetry_query.directory import Directory, Fleet
from edgepress_server.telemetry_query.engine import Engine
from edgepress_server.telemetry_query.plan import DAY_MS, HOUR_MS, MINUTE_MS, POINTS_MAX, plan
from edgepress_server.telemetry_query.query import SERIES_MAX, question

NOW_MS = 1_800_000_000_000


class Counted:
    """A source in which every series has one row; it counts what is read."""

    def __init__(self) -> None:
        self.read: list[SeriesKey] = []

    def frames(
        self,
        keys: Sequence[SeriesKey],
        from_ms: int,
        to_ms: int,
        *,
        span: str | None = None,
        histograms: Collection[str] = (),
    ) -> Mapping[SeriesKey, Frame]:
        self.read += keys
        ones = np.ones((1, WIDTH), np.int64)
        row = Frame(np.array([from_ms]), MINUTE_MS, np.zeros(1, np.int64), ones, ones, ones, ones)
        return dict.fromkeys(keys, row)

    def frame(self, key: SeriesKey, from_ms: int, to_ms: int, **more: object) -> Frame:
        return self.frames([key], from_ms, to_ms)[key]


def engine_of(devices: Sequence[Subject]) -> tuple[Engine, Counted]:
    source = Counted()
    fleet = Fleet(devices, {}, lambda _name, _device: False)
    return Engine(source, Directory(lambda: fleet), lambda: NOW_MS), source  # type: ignore[arg-type]


@pytest.mark.attack(
    "a million distinct labels",
    "a question by a label that every device has another value of reads and answers the 50 largest groups, "
    "and says how many were left out",
)
def test_a_label_with_too_many_values_costs_no_more_than_one_with_fifty() -> None:
    devices = [Subject(f"d{n}", "p", labels={"serial": str(n)}) for n in range(20_000)]
    devices += [Subject(f"twin{n}", "p", labels={"serial": "7"}) for n in range(3)]
    engine, source = engine_of(devices)
    result = engine.ask(
        question(
            metric="cpu_percent",
            group_by="label:serial",
            from_ms=NOW_MS - HOUR_MS,
            to_ms=NOW_MS,
            where="name = *",
        )
    )
    assert len(result.series) == SERIES_MAX and len(source.read) == SERIES_MAX + 3
    assert (result.left_out, result.left_out_devices) == (19_950, 19_950)
    assert {one.name: one.devices for one in result.series}["7"] == 4  # the largest is there
    assert "19950 more are left out" in result.notes[0]


def test_what_was_slow_is_not_worked_out_twice() -> None:
    engine, source = engine_of([Subject("d", "p")])
    ticks = iter(float(n) for n in range(1000))  # every look at the clock takes a second
    answers = Answers(engine, lambda: next(ticks))
    asked = question(metric="temp_c", group_by="device", from_ms=NOW_MS - HOUR_MS, to_ms=NOW_MS)
    first, again = answers.ask(asked), answers.ask(asked)
    assert again.result is first.result and first.age_s == 0 < again.age_s and len(source.read) == 1
    for _ in range(10):
        next(ticks)
    assert answers.ask(asked).age_s == 0 and len(source.read) == 2


@pytest.mark.parametrize(
    ("back_ms", "length_ms", "step_ms", "grouped", "tier", "chosen_ms"),
    [
        (HOUR_MS, HOUR_MS, None, False, "raw", 15_000),
        (HOUR_MS, HOUR_MS, None, True, "minute", MINUTE_MS),
        (25 * HOUR_MS, HOUR_MS, None, False, "minute", MINUTE_MS),
        (2 * DAY_MS, 2 * DAY_MS, None, False, "minute", 600_000),
        (7 * DAY_MS, 7 * DAY_MS, None, False, "hour", HOUR_MS),
        (7 * DAY_MS, 7 * DAY_MS, 600_000, False, "minute", 600_000),
        (365 * DAY_MS, 365 * DAY_MS, None, False, "hour", 2 * DAY_MS),
        (100 * DAY_MS, DAY_MS, MINUTE_MS, False, "hour", HOUR_MS),
        (HOUR_MS, HOUR_MS, 1000, False, "raw", 2000),
    ],
)
def test_a_range_is_read_as_finely_as_it_is_kept(
    back_ms: int, length_ms: int, step_ms: int | None, grouped: bool, tier: str, chosen_ms: int
) -> None:
    from_ms = NOW_MS - back_ms
    made = plan(from_ms, from_ms + length_ms, step_ms, now_ms=NOW_MS, grouped=grouped)
    assert (made.tier, made.step_ms) == (tier, chosen_ms)
    assert made.from_ms <= from_ms and made.to_ms >= from_ms + length_ms and made.steps <= POINTS_MAX
    assert bool(made.notes) == (step_ms is not None and chosen_ms != step_ms)


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        ({"metric": "speed"}, "query_metric", "'speed' is none"),
        ({"aggregate": "p95"}, "query_aggregate", "it has mean, min, max, count"),
        (
            {"metric": "errors", "aggregate": "max"},
            "query_aggregate",
            "it has rate, throughput, sum, count, ratio",
        ),
        ({"group_by": "colour"}, "query_group_by", "label:KEY"),
        ({"group_by": "label:"}, "query_group_by", "label:KEY"),
        ({"limit": 51}, "query_limit", "1 to 50"),
        ({"from_ms": NOW_MS}, "query_range", "must lie before"),
        ({"from_ms": 0}, "query_range", "two years"),
        ({"artifact": "a" * 64, "model": "kws"}, "query_artifact", "not both"),
    ],
)
def test_a_wrong_question_is_told_what_is_allowed(wrong: dict[str, object], code: str, said: str) -> None:
    asked: dict[str, object] = {"metric": "temp_c", "from_ms": NOW_MS - HOUR_MS, "to_ms": NOW_MS}
    with pytest.raises(InvalidInputError) as caught:
        question(**{**asked, **wrong})  # type: ignore[arg-type]
    assert caught.value.code == code and said in caught.value.message
