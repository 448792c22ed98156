"""The order of work when a device is timed, and what is thrown out.

Rules
-----
1. Nets are visited in rounds, each round in the other direction, so that warming up, drift and other programs
   hit all nets alike. One net is in memory at a time, and the small reference net.
2. A visit opens a session with the runtime's profile on, warms up, runs for the kernels' times, ends the
   profile and runs again for the whole net's time.
3. Between visits the reference net runs. A visit beside which it took ``SLOWED`` times its usual time (the
   10th percentile of all its bursts), or in which the board's sensors say "throttled", is thrown out whole
   and counted. A net of which nothing is left is named among the skipped. While the reference is slow the
   next visit waits, for at most ``PAUSE_SHARE`` of the time in all: boards cool down, other programs end.
4. Outliers of what is left (median +- 5 scaled MAD) are thrown out and counted.
5. A net is done after ``VISITS_MIN`` good visits when the 95 % confidence interval of its mean is within
   ``WITHIN``. The end comes when all are done, or when the time is up: then the result says it was cut short.

Clocks and waiting are passed in, sessions too (``Candidate.open``): nothing here imports a runtime.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from edgepress_devices.microbench.kernel_profile import KernelRuns
from edgepress_devices.microbench.run_statistics import mean_of_visits, median, quantile, without_outliers
from edgepress_devices.microbench.timed import Look, Timed, kernel_times, mean_reading, net_time
from edgepress_devices.protocol import Reading, SkippedNet

WITHIN: Final = 0.03  # of the mean, half width
VISITS_MIN: Final = 3
SLOWED: Final = 1.2
ROUNDS: Final = 4  # that the time is planned for
VISIT_S: Final = (0.04, 1.0)
WARM_UP_RUNS: Final = 3
PROFILED_RUNS: Final = (3, 40)
PLAIN_RUNS: Final = (3, 300)
REFERENCE_RUNS: Final = 7
PAUSE_S, PAUSE_SHARE = 0.25, 0.2
IDLE_SHARE, IDLE_MAX_S, IDLE_STEP_S = 0.05, 2.0, 0.25


class CannotRunError(Exception):
    """A net that cannot be timed here (no memory, the runtime refuses it); the text says why, for people."""


class Runner(Protocol):
    """One opened net."""

    def run(self) -> float:
        """One inference, in microseconds. Raises CannotRunError."""

    def kernels(self, warm_up_runs: int) -> list[KernelRuns]:
        """End the profile: every kernel's time in each run after the first ones. Raises CannotRunError."""

    def close(self) -> None: ...


Session = Callable[[bytes, bool], Runner]
"""Opens an ONNX file (its bytes), with the runtime's profile on or off. Raises CannotRunError."""


class Candidate(NamedTuple):
    """A net to time; ``open(profile)`` as of ``Session``."""

    net: str
    form: str
    open: Callable[[bool], Runner]


@dataclass
class _Visit:
    plain_us: list[float]
    kernels: list[KernelRuns]
    throttled: bool
    reference_us: list[float]  # the burst before and the one after, where there is a reference net


@dataclass
class _Subject:
    candidate: Candidate
    visits: list[_Visit] = field(default_factory=list)
    cost_s: float = 0.0  # of its last visit
    refused: str | None = None
    done: bool = False


def time_nets(
    candidates: Sequence[Candidate],
    *,
    seconds: float,
    reference: Callable[[bool], Runner] | None = None,
    look: Callable[[], Look] = Look,
    clock: Callable[[], float] = time.perf_counter,
    wait: Callable[[float], None] = time.sleep,
    progress: Callable[[int], None] = lambda percent: None,
) -> Timed:
    """Time every candidate within ``seconds`` of ``clock``, in the order of this file's rules.

    A run that began is finished, so it takes longer by about one run of the slowest net at most.
    """
    return _Timing(candidates, seconds, reference, look, clock, wait, progress).run()


class _Timing:
    def __init__(
        self,
        candidates: Sequence[Candidate],
        seconds: float,
        reference: Callable[[bool], Runner] | None,
        look: Callable[[], Look],
        clock: Callable[[], float],
        wait: Callable[[float], None],
        progress: Callable[[int], None],
    ) -> None:
        self._subjects = [_Subject(candidate) for candidate in candidates]
        self._seconds = seconds
        self._open_reference = reference
        self._reference: Runner | None = None
        self._bursts_us: list[float] = []
        self._paused_s = 0.0
        self._look, self._clock, self._wait, self._progress = look, clock, wait, progress
        self._began_s = self._deadline_s = clock()
        shortest_s, longest_s = VISIT_S
        share_s = seconds / max(1, ROUNDS * len(candidates))
        self._visit_s = min(longest_s, max(shortest_s, share_s))
        self._looks: list[Look] = []

    def run(self) -> Timed:
        self._began_s = self._clock()
        self._deadline_s = self._began_s + self._seconds
        result = Timed()
        first = self._look()
        result.temp_c_before = first.temp_c
        result.idle_mw = self._idle_mw(first)
        self._look()  # what the idle time was like is not part of the averages of the busy time
        try:
            self._start_reference()
            forward = True
            while self._round(self._subjects if forward else self._subjects[::-1]):
                forward = not forward
        finally:
            if self._reference is not None:
                self._reference.close()
        self._summarise(result)
        return result

    # --- the runs -----------------------------------------------------------------------------------------

    def _round(self, subjects: Sequence[_Subject]) -> bool:
        """Visit each net that is not done; False when there is nothing left to do, or no time for it."""
        visited = False
        for subject in subjects:
            if subject.done or subject.refused is not None:
                continue
            self._pause()
            now_s = self._clock()
            if now_s >= self._deadline_s:
                return False
            if now_s + subject.cost_s > self._deadline_s:
                continue
            visited = True
            try:
                self._visit(subject)
            except CannotRunError as error:
                subject.refused = str(error)[:500]
            subject.cost_s = self._clock() - now_s
            self._progress(min(99, int(100 * (self._clock() - self._began_s) / self._seconds)))
        baseline_us = self._baseline_us()
        for subject in subjects:
            subject.done = _is_done(_good(subject.visits, baseline_us))
        return visited

    def _visit(self, subject: _Subject) -> None:
        before = self._bursts_us[-1:]
        runner = subject.candidate.open(True)
        try:
            end_s = self._clock() + self._visit_s
            warm_up = self._repeat(runner, 1, WARM_UP_RUNS, self._clock() + self._visit_s / 4)
            run_s = warm_up[-1] / 1e6
            if self._clock() + 2 * run_s > self._deadline_s:
                return  # one run for the kernels and one for the net would take too long
            self._repeat(runner, *PROFILED_RUNS, self._clock() + self._visit_s * 0.35, spare_s=2 * run_s)
            kernels = runner.kernels(len(warm_up))
            plain_us = self._repeat(runner, *PLAIN_RUNS, end_s)
        finally:
            runner.close()
        after = self._burst()
        seen = self._look()
        self._looks.append(seen)
        subject.visits.append(_Visit(plain_us, kernels, bool(seen.throttled), before + after))

    def _repeat(
        self, runner: Runner, least: int, most: int, until_s: float, *, spare_s: float = 0.0
    ) -> list[float]:
        """Run until this time, but so often; fewer only when the whole time is up but for ``spare_s``."""
        runs_us = [runner.run()]
        while len(runs_us) < most:
            now_s = self._clock()
            if now_s + spare_s >= self._deadline_s or (now_s >= until_s and len(runs_us) >= least):
                break
            runs_us.append(runner.run())
        return runs_us

    # --- the board ----------------------------------------------------------------------------------------

    def _start_reference(self) -> None:
        if self._open_reference is None:
            return
        try:
            self._reference = self._open_reference(False)
            for _ in range(WARM_UP_RUNS):
                self._reference.run()
        except CannotRunError:
            self._reference = None  # the sensors alone say then whether the board is held back
        self._burst()

    def _burst(self) -> list[float]:
        """[the reference net's median now], or [] without one."""
        if self._reference is None:
            return []
        self._bursts_us.append(median([self._reference.run() for _ in range(REFERENCE_RUNS)]))
        return self._bursts_us[-1:]

    def _pause(self) -> None:
        """Wait until the board is as quick as usual, while there is time for that."""
        while self._bursts_us and self._bursts_us[-1] > SLOWED * quantile(self._bursts_us, 0.1):
            if self._paused_s >= PAUSE_SHARE * self._seconds or self._clock() + PAUSE_S >= self._deadline_s:
                return
            began_s = self._clock()
            self._wait(PAUSE_S)
            self._burst()
            self._paused_s += self._clock() - began_s

    def _baseline_us(self) -> float | None:
        return quantile(self._bursts_us, 0.1) if self._bursts_us else None

    def _idle_mw(self, first: Look) -> Reading | None:
        """Mean power before the first run. A counter tells power only at its second reading."""
        readings = [] if first.power_mw is None else [first.power_mw]
        end_s = self._clock() + min(IDLE_MAX_S, IDLE_SHARE * self._seconds)
        for attempt in range(2 + int(IDLE_MAX_S / IDLE_STEP_S)):
            if self._clock() >= end_s or (attempt > 1 and not readings):
                break
            self._wait(min(IDLE_STEP_S, end_s - self._clock()))
            power = self._look().power_mw
            readings += [] if power is None else [power]
        return mean_reading(readings)

    # --- the result ---------------------------------------------------------------------------------------

    def _summarise(self, result: Timed) -> None:
        baseline_us = self._baseline_us()
        for subject in self._subjects:
            net, form, _ = subject.candidate
            good = _good(subject.visits, baseline_us)
            slow_runs = sum(len(v.plain_us) for v in subject.visits) - sum(len(v.plain_us) for v in good)
            result.throttled_runs += slow_runs
            if good:
                time_of_net = net_time(net, form, [visit.plain_us for visit in good])
                result.nets.append(time_of_net)
                result.outliers += time_of_net.outliers
                result.kernels += kernel_times(net, form, [visit.kernels for visit in good])
            else:
                why = subject.refused or (
                    "all its runs were slowed down by heat, the supply or other programs"
                    if slow_runs
                    else "the time was up before its turn came"
                )
                result.skipped.append(SkippedNet(net, form, why))
        clocks = [seen.clock_mhz for seen in self._looks if seen.clock_mhz is not None]
        others = [seen.other_cpu_percent for seen in self._looks if seen.other_cpu_percent is not None]
        temps = [seen.temp_c for seen in self._looks if seen.temp_c is not None]
        result.clock_mhz = median(clocks) if clocks else None
        result.other_cpu_percent = sum(others) / len(others) if others else None
        result.temp_c_after = temps[-1] if temps else None
        result.busy_mw = mean_reading([s.power_mw for s in self._looks if s.power_mw is not None])
        result.cut_short = not all(s.done or s.refused is not None for s in self._subjects)
        result.reason = self._reason(result)
        result.seconds = self._clock() - self._began_s

    def _reason(self, result: Timed) -> str | None:
        said = []
        if result.cut_short:
            open_nets = sum(not subject.done and subject.refused is None for subject in self._subjects)
            said.append(
                f"the time was up before {open_nets} of {len(self._subjects)} nets were known to within"
                f" {WITHIN:.0%}"
            )
        total = result.throttled_runs + sum(row.runs + row.outliers for row in result.nets)
        if total and result.throttled_runs > 0.1 * total:
            share = result.throttled_runs / total
            said.append(
                f"the board was slowed down (heat, supply or other programs) in {share:.0%} of the runs"
            )
        return "; ".join(said) or None


def _good(visits: Sequence[_Visit], baseline_us: float | None) -> list[_Visit]:
    """Those in which nothing held the board back."""
    bound_us = math.inf if baseline_us is None else SLOWED * baseline_us
    return [
        visit
        for visit in visits
        if not visit.throttled and all(burst_us <= bound_us for burst_us in visit.reference_us)
    ]


def _is_done(good: Sequence[_Visit]) -> bool:
    if len(good) < VISITS_MIN:
        return False
    mean = mean_of_visits(without_outliers([visit.plain_us for visit in good]))
    return mean.ci95 <= WITHIN * mean.mean
