"""Counts how inputs and answers of a model are distributed, in the bins of its artifact's baseline.

Memory is bounded by the baseline (at most 32 features of at most 32 bins, 1000 classes); time by an
allowance: every request adds to it what a look may cost in the mean, 50 us, or 2 % of an inference where that
is more; a look takes off the processor time that it really took. A request is looked at while something is
left; the others are skipped, and the counts say of how many requests they are. Of a request with several
samples one is looked at, in turns.

Not safe between threads: who calls it sees to that (model_watch.py).
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from edgepress_agent.runtime import Arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepress_compression.artifact.baseline import Baseline

ALLOWANCE_US: Final = 50.0  # of a request, in the mean
ALLOWANCE_SHARE: Final = 0.02  # of an inference, where that is more
SAVED_MAX: Final = 4.0  # allowances that may be saved up, and then be spent one after the other


@dataclass(frozen=True)
class Said:
    """What a model said of one sample: its class and how sure it was, 0..1."""

    label: int
    confidence: float


@dataclass
class Window:
    """Counts since the last time they were taken. Lists: single elements of an array cost more."""

    looked_at: int
    features: list[list[int]]  # by feature and bin
    sums: list[float]  # by feature, of values that are numbers
    numbers: list[int]  # by feature, how many those were
    classes: list[int]
    confidence: list[int]  # by bin
    confidence_sum: float

    def add(self, other: "Window") -> None:
        """As if both had been counted as one."""
        self.looked_at += other.looked_at
        self.confidence_sum += other.confidence_sum
        self.features = [_added(a, b) for a, b in zip(self.features, other.features, strict=True)]
        self.sums = [a + b for a, b in zip(self.sums, other.sums, strict=True)]
        self.numbers = _added(self.numbers, other.numbers)
        self.classes = _added(self.classes, other.classes)
        self.confidence = _added(self.confidence, other.confidence)


class Sketch:
    """``clock_ns`` measures what looking costs: by default this thread's time on the processor."""

    def __init__(self, baseline: "Baseline", *, clock_ns: Callable[[], int] = time.thread_time_ns) -> None:
        from edgepress_compression.artifact import looks

        self.baseline = baseline
        self._looks = looks
        self._clock_ns = clock_ns
        self._edges = [feature.edges for feature in baseline.features]
        self._left_us = 0.0
        self._requests = 0
        self._window = self.empty()

    @property
    def window(self) -> Window:
        """What is being counted."""
        return self._window

    def empty(self) -> Window:
        features, answer = self.baseline.features, self.baseline.answer
        return Window(
            looked_at=0,
            features=[[0] * len(feature.counts) for feature in features],
            sums=[0.0] * len(features),
            numbers=[0] * len(features),
            classes=[0] * (0 if answer is None else len(answer.classes)),
            confidence=[0] * (0 if answer is None else len(answer.confidence)),
            confidence_sum=0.0,
        )

    def offer(self, feeds: "Mapping[str, NDArray[Any]]", results: Arrays, inference_us: float = 0.0) -> bool:
        """Look at a request if the allowance covers it; whether it was looked at."""
        self._requests += 1
        allowance_us = max(ALLOWANCE_US, ALLOWANCE_SHARE * inference_us)
        self._left_us = min(self._left_us + allowance_us, SAVED_MAX * allowance_us)
        if self._left_us <= 0.0:
            return False
        began_ns = self._clock_ns()
        self.look(feeds, results)
        self._left_us -= (self._clock_ns() - began_ns) / 1000
        return True

    def look(self, feeds: "Mapping[str, NDArray[Any]]", results: Arrays) -> None:
        """Count one sample of a request. Raises as numpy does where the baseline is of other inputs."""
        baseline, window = self.baseline, self._window
        row = self._row(feeds)
        values = self._looks.input_features(baseline.looks, feeds, row)
        answer = baseline.answer
        given = None if answer is None else results.get(answer.output)
        if given is not None and answer is not None and answer.form == "values":
            values += self._looks.values_features(given[row] if given.ndim and row < len(given) else given)
        for number, (edges, value) in enumerate(zip(self._edges, values, strict=False)):
            if isfinite(value):
                window.features[number][bisect_left(edges, value)] += 1
                window.sums[number] += value
                window.numbers[number] += 1
            else:  # no number is counted as beyond every edge, infinity below as below
                window.features[number][0 if value < 0 else len(edges)] += 1
        window.looked_at += 1
        said = self.said(results, row)
        if said is not None:
            if said.label < len(window.classes):
                window.classes[said.label] += 1
            bins = len(window.confidence)
            if bins:
                window.confidence[min(int(said.confidence * bins), bins - 1)] += 1
                window.confidence_sum += said.confidence

    def said(self, results: Arrays, row: int) -> Said | None:
        """What a classifier said of one sample; None: it is none, or was not asked for its answer."""
        answer = self.baseline.answer
        if answer is None or answer.form == "values":
            return None
        given = results.get(answer.output)
        if given is None or given.ndim != 2 or not 0 <= row < len(given) or not given.shape[1]:
            return None
        shares = self._looks.class_shares(answer.form, given[row])
        label = int(shares.argmax())
        confidence = float(shares[label])
        return Said(label, confidence if 0.0 <= confidence <= 1.0 else 0.0)

    def take(self) -> Window:
        """What was counted since the last time; it begins again."""
        taken, self._window = self._window, self.empty()
        return taken

    def _row(self, feeds: "Mapping[str, NDArray[Any]]") -> int:
        first = feeds[self.baseline.looks[0].input] if self.baseline.looks else None
        samples = 1 if first is None or not first.ndim else len(first)
        return self._requests % max(samples, 1)


def _added(a: list[int], b: list[int]) -> list[int]:
    return [x + y for x, y in zip(a, b, strict=True)]
