"""Timing a device: told on boards that are made up, with a clock that only moves when they work."""

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_devices.microbench import plan, report
from edgepress_devices.microbench.kernel_profile import KernelRuns
from edgepress_devices.microbench.timed import Look, Timed, kernel_times, mean_reading, net_time
from edgepress_devices.microbench.timing import SLOWED, WITHIN, Candidate, CannotRunError, time_nets
from edgepress_devices.profile import load_profile
from edgepress_devices.profiling_messages import REPORT_MAX_BYTES
from edgepress_devices.protocol import KernelTime, Reading, TelemetryBatch, decode_batch, encode_batch


class Board:
    """Runs nets that take so many microseconds, times ``slowness(now_s)``; counts what is open."""

    def __init__(
        self, *, slowness: Callable[[float], float] = lambda now_s: 1.0, noise: float = 0.005, seed: int = 1
    ) -> None:
        self.now_s = 1000.0
        self.open_nets: list[str] = []
        self.most_open = 0
        self.visits: list[str] = []
        self._slowness = slowness
        self._noise = noise
        self._rng = random.Random(seed)

    def clock(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    def net(self, name: str, takes_us: float) -> Candidate:
        return Candidate(name, "fp32", lambda _profile: self.start(name, takes_us))

    def start(self, name: str, takes_us: float) -> "Running":
        self.now_s += 0.01
        self.open_nets.append(name)
        self.most_open = max(self.most_open, len(self.open_nets))
        self.visits.append(name)
        return Running(self, name, takes_us)

    def work(self, takes_us: float) -> float:
        took_us = takes_us * self._slowness(self.now_s - 1000.0) * (1 + abs(self._rng.gauss(0, self._noise)))
        self.now_s += took_us / 1e6
        return took_us


class Running:
    def __init__(self, board: Board, name: str, takes_us: float) -> None:
        self._board, self._name, self._takes_us = board, name, takes_us
        self._ran = 0

    def run(self) -> float:
        self._ran += 1
        return self._board.work(self._takes_us)

    def kernels(self, warm_up_runs: int) -> list[KernelRuns]:
        counted = self._ran - warm_up_runs
        return [KernelRuns("conv", "Conv", [self._takes_us] * counted)] if counted else []

    def close(self) -> None:
        self._board.open_nets.remove(self._name)


def measure(board: Board, candidates: list[Candidate], seconds: float, **more: object) -> Timed:
    return time_nets(
        candidates,
        seconds=seconds,
        reference=lambda _profile: board.start("reference", 500.0),
        clock=board.clock,
        wait=board.wait,
        **more,  # type: ignore[arg-type]
    )


def test_a_quiet_board_is_known_to_within_three_percent_and_done_early() -> None:
    board = Board()
    timed = measure(board, [board.net("a", 1000.0), board.net("b", 30_000.0)], 60)
    assert [row.net for row in timed.nets] == ["a", "b"]
    assert timed.nets[0].p50_us == pytest.approx(1003, rel=0.01)
    assert all(row.ci95_us <= WITHIN * row.mean_us for row in timed.nets)
    assert (timed.cut_short, timed.throttled_runs, timed.reason) == (False, 0, None)
    assert timed.seconds < 20
    assert [(row.net, row.mean_us) for row in timed.kernels] == [("a", 1000.0), ("b", 30_000.0)]


def test_nets_take_turns_one_at_a_time_and_each_round_goes_the_other_way() -> None:
    board = Board()
    measure(board, [board.net(name, 2000.0) for name in "abc"], 30)
    assert board.visits[:7] == ["reference", "a", "b", "c", "c", "b", "a"]
    assert board.most_open == 2  # the reference and one net
    assert board.open_nets == []


def test_time_is_kept_and_what_it_did_not_reach_is_named() -> None:
    board = Board()
    timed = measure(board, [board.net(str(n), 400_000.0) for n in range(10)], 10)
    assert timed.seconds <= 11
    assert timed.cut_short
    assert len(timed.nets) + len(timed.skipped) == 10
    assert timed.skipped and all("time was up" in row.reason for row in timed.skipped)
    assert timed.reason is not None and "before 10 of 10 nets" in timed.reason


def test_a_stretch_of_throttling_is_thrown_out_and_counted() -> None:
    hot = Board(slowness=lambda now_s: 2.0 if 2.0 < now_s < 6.0 else 1.0)
    timed = measure(hot, [hot.net("a", 1000.0), hot.net("b", 3000.0)], 10, look=lambda: Look(temp_c=80.0))
    assert timed.throttled_runs > 0
    for row, takes_us in zip(timed.nets, (1000.0, 3000.0), strict=True):
        assert row.mean_us == pytest.approx(takes_us, rel=0.02)
    assert timed.temp_c_before == timed.temp_c_after == 80.0


def test_a_slowed_board_is_given_time_to_cool_down() -> None:
    board = Board()
    rested_s: list[float] = []

    def slowness(now_s: float) -> float:
        return 2.0 if len(board.visits) > 3 and sum(rested_s) < 1.0 else 1.0

    board = Board(slowness=slowness)

    def wait(seconds: float) -> None:
        rested_s.append(seconds)
        board.wait(seconds)

    timed = time_nets(
        [board.net(name, 2000.0) for name in "abc"],
        seconds=20,
        reference=lambda _profile: board.start("reference", 500.0),
        clock=board.clock,
        wait=wait,
    )
    assert sum(rested_s) >= 1.0
    assert 0 < timed.throttled_runs < sum(row.runs for row in timed.nets)
    assert not timed.cut_short


def test_without_the_reference_the_sensors_word_counts() -> None:
    hot = Board(slowness=lambda now_s: 2.0 if 2.0 < now_s < 6.0 else 1.0)
    timed = time_nets(
        [hot.net("a", 1000.0)],
        seconds=10,
        look=lambda: Look(throttled=1002.0 < hot.now_s < 1006.0 + 1),
        clock=hot.clock,
        wait=hot.wait,
    )
    assert timed.throttled_runs > 0 or timed.seconds < 2
    assert timed.nets[0].mean_us == pytest.approx(1000.0, rel=0.02)


def test_a_board_that_is_held_back_all_along_says_so() -> None:
    board = Board()
    timed = measure(board, [board.net("a", 1000.0)], 5, look=lambda: Look(throttled=True))
    assert timed.nets == [] and timed.kernels == []
    assert "slowed down by heat" in timed.skipped[0].reason
    assert timed.cut_short and timed.reason is not None and "in 100% of the runs" in timed.reason


def test_a_net_that_the_board_cannot_hold_is_skipped_with_its_reason() -> None:
    board = Board()

    def refuse(_profile: bool) -> Running:
        raise CannotRunError("64 MB are needed, 20 MB are free")

    timed = measure(board, [Candidate("big", "fp32", refuse), board.net("a", 1000.0)], 20)
    assert [(row.net, row.reason) for row in timed.skipped] == [("big", "64 MB are needed, 20 MB are free")]
    assert [row.net for row in timed.nets] == ["a"]
    assert not timed.cut_short  # asking again would not help


def test_a_reference_that_cannot_run_is_done_without() -> None:
    board = Board()

    def refuse(_profile: bool) -> Running:
        raise CannotRunError("no memory")

    timed = time_nets(
        [board.net("a", 1000.0)], seconds=5, reference=refuse, clock=board.clock, wait=board.wait
    )
    assert len(timed.nets) == 1


def test_an_unsteady_board_is_measured_until_the_time_is_up() -> None:
    board = Board(noise=0.6)
    timed = measure(board, [board.net("a", 20_000.0)], 8)
    assert timed.cut_short and 7 <= timed.seconds <= 8.8


def test_interrupted_runs_are_outliers_counted_and_not_in_the_mean() -> None:
    runs_us = [[100.0, 101.0, 99.0, 100.5, 900.0], [100.0, 99.5, 101.0, 100.0]]
    row = net_time("a", "fp32", runs_us)
    assert (row.outliers, row.runs) == (1, 8)
    assert row.mean_us == pytest.approx(100.1, abs=0.2)


def test_whole_microseconds_average_to_less_than_one() -> None:
    kernels = [[KernelRuns("relu", "Relu", [1.0, 2.0, 1.0, 2.0])], [KernelRuns("relu", "Relu", [2.0, 1.0])]]
    [row] = kernel_times("a", "fp32", kernels)
    assert (row.mean_us, row.runs) == (1.5, 6)


def test_power_is_a_mean_of_like_readings_and_never_of_an_estimate() -> None:
    measured = [Reading(2000.0, "rapl", "package"), Reading(3000.0, "rapl", "package")]
    other = Reading(9000.0, "battery", "device")
    assert mean_reading([*measured, other]) == Reading(2500.0, "rapl", "package")
    assert mean_reading([Reading(1.0, "estimate:tdp*cpu", "board")]) is None


def test_idle_power_is_read_before_the_first_run_and_busy_power_after_it() -> None:
    board = Board()

    def look() -> Look:
        return Look(power_mw=Reading(4000.0 if "a" in board.visits else 1500.0, "pmic", "board"))

    timed = measure(board, [board.net("a", 1000.0)], 20, look=look)
    assert timed.idle_mw == Reading(1500.0, "pmic", "board")
    assert timed.busy_mw == Reading(4000.0, "pmic", "board")


def test_a_board_without_a_power_sensor_does_not_wait_for_one() -> None:
    board = Board()
    waited: list[float] = []
    timed = time_nets([board.net("a", 1000.0)], seconds=60, clock=board.clock, wait=waited.append)
    assert (timed.idle_mw, timed.busy_mw) == (None, None)
    assert sum(waited) <= 0.5


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(20.0, 500_000.0), min_size=1, max_size=5),
    st.integers(5, 30),
    st.floats(0.0, 1.0),
    st.integers(0, 9),
)
def test_on_any_board_every_net_is_told_or_named_within_the_time(
    takes_us: list[float], seconds: int, noise: float, seed: int
) -> None:
    board = Board(noise=noise, seed=seed)
    percents: list[int] = []
    nets = [board.net(str(n), time_us) for n, time_us in enumerate(takes_us)]
    timed = measure(board, nets, seconds, progress=percents.append)
    told = [row.net for row in timed.nets] + [row.net for row in timed.skipped]
    assert sorted(told) == sorted(net.net for net in nets)
    slowest_s = max(takes_us) / 1e6 * (1 + 4 * noise)  # of runs that scatter, four deviations
    assert timed.seconds <= seconds + 1.5 * slowest_s + 0.05
    assert percents == sorted(percents) and all(0 <= percent <= 99 for percent in percents)
    assert all(row.p10_us <= row.p50_us and row.ci95_us <= row.mean_us for row in timed.nets)
    assert board.open_nets == []


def test_the_bound_of_slowness_is_above_ordinary_noise() -> None:
    assert 1.1 < SLOWED < 1.5


def test_a_report_of_too_many_kernels_keeps_the_slowest_and_fits_a_batch() -> None:
    kernels = [KernelTime("n" * 60, "fp32", f"{n:04}" * 25, "Conv", float(n), 0.1, 9) for n in range(4000)]
    made = report.make_report(
        Timed(kernels=kernels, reason="one thing"), job_id="j", what="device", runtime="o 1", threads=2
    )
    assert len(msgspec.msgpack.encode(made)) <= REPORT_MAX_BYTES
    assert made.kernels == kernels[-len(made.kernels) :]
    assert made.reason == f"one thing; of 4000 kernels the {len(made.kernels)} slowest are told"
    batch = TelemetryBatch(1, "0123456789abcdef", 1, [], 1, [made])
    assert decode_batch(encode_batch(batch)) == batch


def test_a_profile_names_the_forms_that_are_timed() -> None:
    assert plan.forms_of(load_profile("x86-pc")) == ("fp32", "u8")
    assert plan.forms_of(load_profile("raspberry-pi-4")) == ("fp32", "s8")
    assert plan.forms_of(load_profile("iphone-browser")) == ("fp32",)
