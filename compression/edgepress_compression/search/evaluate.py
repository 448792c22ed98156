"""One trial: the passes, a prediction for the profile, the artifact, what was decoded from it on the data.

    passes -> predicted figures -> (too slow for the budget by far: stage "predicted", no more) -> artifact ->
    decoded -> latency in turns with the original, where the profile describes this kind of machine ->
    a quarter of the rows -> (hopeless: no more) -> all rows: stage "evaluated"

Trials share first passes: what a prefix of passes leaves is kept for the next trial that begins alike.
"""

from __future__ import annotations

import platform
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from edgepress_compression.artifact.baseline import Baseline
from edgepress_compression.artifact.codes import Codes
from edgepress_compression.artifact.read import decode
from edgepress_compression.artifact.write import write_artifact
from edgepress_compression.data.dataset import Dataset, Split
from edgepress_compression.data.fit import fit
from edgepress_compression.errors import CompressionCancelledError, EdgepressError
from edgepress_compression.evaluate import one_batch
from edgepress_compression.expect import make_probe
from edgepress_compression.graph.model import Graph
from edgepress_compression.measure_baseline import measure_baseline
from edgepress_compression.passes.state import PassState, Stage
from edgepress_compression.passes.training_data import class_count
from edgepress_compression.predict import predict_model
from edgepress_compression.recipe import Recipe, Step, check_recipe
from edgepress_compression.search.budget import Budget
from edgepress_compression.search.judge import Judge
from edgepress_compression.search.rows import Rows, choose_rows
from edgepress_compression.search.timing import undisturbed_us
from edgepress_compression.search.trial import Figures, Trial
from edgepress_compression.source import Source, read_source
from edgepress_devices import __version__
from edgepress_devices.prediction import Prediction
from edgepress_devices.profile import DeviceProfile

TIMING_S: Final = 0.6  # of a trial and the original in turns
ORIGINAL_TIMING_S: Final = 1.5
_KEPT_STATES: Final = 8
_KEPT_BYTES: Final = 512 * 2**20
_FIRST_SHARE: Final = 0.25  # of the rows, before all
_LEAST_FIRST: Final = 64  # rows: fewer say too little to stop by
_HOPELESS: Final = 0.05  # of the drop that is allowed, at least, beyond which no more rows are looked at
_FAR_BEYOND: Final = 1.5  # times the limit, on top of a prediction's own error
_LABELS_PER_CLASS: Final = 20  # as passes/training_data.py
_LABELS: Final = 500
_BASELINE_ROWS: Final = 500  # of each trial's artifact: enough for tenths, and every trial pays for them


@dataclass(frozen=True)
class _Left:
    """What passes left."""

    graph: Graph
    original: Graph
    codes: dict[str, Codes]
    stages: list[Stage]
    warnings: list[str]

    @property
    def size_bytes(self) -> int:
        return self.graph.weight_bytes() + self.original.weight_bytes()


class Evaluator:
    """Everything that the trials of one search share. Raises EdgepressError where they do not fit."""

    def __init__(
        self,
        source: Path | bytes | Graph,
        profile: DeviceProfile,
        dataset: Dataset | None,
        budget: Budget,
        *,
        seed: int = 0,
        model_name: str | None = None,
        threads: int = 1,
    ) -> None:
        self.read: Source = read_source(source, name=model_name)
        self.profile, self.budget, self.seed, self._threads = profile, budget, seed, threads
        graph = self.read.graph
        data = (
            None if dataset is None else fit(dataset, graph.inputs, graph.outputs, model_name=self.read.name)
        )
        self.rows: Rows | None = None if data is None else choose_rows(data, seed)
        self.data = data
        self._before = graph.serialize()
        self._judge: Judge | None = None
        self._tested: tuple[str, Judge] | None = None
        self._states: OrderedDict[bytes, _Left] = OrderedDict()
        self.here = profile.cpu.machine == platform.machine() and profile.gpu is None
        self._reference_us: float | None = None
        self._shared: dict[str, Any] = {}
        self._feed: dict[str, np.ndarray] | None = None
        self._baseline_before: Baseline | None = None

    @property
    def labelled(self) -> bool:
        """Whether there are labels enough to train on."""
        if self.rows is None or "train" not in self.rows.passes.splits:
            return False
        count = len(self.rows.passes.split("train"))
        return count >= max(_LABELS, _LABELS_PER_CLASS * class_count(self.read.graph))

    @property
    def samples(self) -> bool:
        """Whether there are inputs to look at."""
        return self.rows is not None

    def refer_to(self, trials: list[Trial]) -> None:
        """Latencies count in the original's of trial 0, whoever timed it."""
        figures = trials[0].figures if trials else None
        if self.here and figures is not None:
            self._reference_us = figures.latency_us

    def evaluate(
        self,
        trial: Trial,
        *,
        say: Callable[[float, str], None] = lambda fraction, message: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> tuple[Trial, bytes | None]:
        """The trial as it came out, and its artifact. A recipe that cannot be run is a trial that failed.

        Raises CompressionCancelledError soon after `cancelled` says so.
        """
        started = time.monotonic()
        try:
            figures, stage, artifact = self._figures(trial, say, cancelled)
        except CompressionCancelledError:
            raise
        except EdgepressError as error:
            seconds = time.monotonic() - started
            return msgspec.structs.replace(trial, state="failed", error=str(error), seconds=seconds), None
        done = msgspec.structs.replace(
            trial, state="done", stage=stage, figures=figures, seconds=time.monotonic() - started
        )
        return done, artifact

    def _figures(
        self, trial: Trial, say: Callable[[float, str], None], cancelled: Callable[[], bool]
    ) -> tuple[Figures, Any, bytes | None]:
        def check() -> None:
            if cancelled():
                raise CompressionCancelledError()

        recipe = msgspec.convert(trial.recipe, Recipe)
        state = self._after_passes(recipe, say, cancelled)
        check()
        say(0.7, "predicting")
        model = state.graph.serialize()
        prediction = predict_model(model, self.profile)
        if trial.number and self._far_beyond(prediction):
            return self._predicted(prediction, state), "predicted", None
        say(0.72, "coding the weights")
        artifact, decoded = self._artifact(recipe, state, model)
        check()
        figures = self._costs(prediction, len(artifact), decoded, trial.number == 0, check)
        say(0.85, "looking at answers")
        if self.rows is not None:
            figures = self._judged(figures, decoded, trial.number == 0, check)
        return figures, "evaluated", artifact

    # --- passes ---

    def _after_passes(
        self, recipe: Recipe, say: Callable[[float, str], None], cancelled: Callable[[], bool]
    ) -> PassState:
        passes = check_recipe(recipe)
        data = None if self.rows is None else self.rows.passes
        state = PassState(
            shared=self._shared,
            graph=self.read.graph.copy(),
            profile=self.profile,
            dataset=data,
            cancelled=cancelled,
            seed=self.seed,
        )
        state.artifact_bytes = lambda now: len(
            self._artifact(recipe, now, now.graph.serialize(), decoded=False)[0]
        )
        done = 0
        for count in range(len(passes), 0, -1):
            left = self._states.get(_prefix(recipe.passes[:count]))
            if left is not None:
                self._states.move_to_end(_prefix(recipe.passes[:count]))
                state.graph, state.original = left.graph.copy(), left.original.copy()
                state.codes, state.stages = dict(left.codes), list(left.stages)
                state.warnings = list(left.warnings)
                done = count
                break
        for number in range(done, len(passes)):
            name, run_pass = passes[number]
            share = 0.7 / len(passes)
            state.progress = lambda fraction, message, name=name, number=number, share=share: say(  # type: ignore[misc]
                share * (number + min(fraction, 1.0)), f"{name}: {message}"
            )
            run_pass(state)
            state.check_cancelled()
            self._keep(_prefix(recipe.passes[: number + 1]), state)
        return state

    def _keep(self, key: bytes, state: PassState) -> None:
        self._states[key] = _Left(
            state.graph.copy(),
            state.original.copy(),
            dict(state.codes),
            list(state.stages),
            list(state.warnings),
        )
        while len(self._states) > 1 and (
            len(self._states) > _KEPT_STATES
            or sum(left.size_bytes for left in self._states.values()) > _KEPT_BYTES
        ):
            self._states.popitem(last=False)

    def _artifact(
        self, recipe: Recipe, state: PassState, model: bytes, *, decoded: bool = True
    ) -> tuple[bytes, bytes]:
        """(artifact, the ONNX file decoded from it)"""
        split = None if self.rows is None else self.rows.selection
        if decoded:
            baseline = self._looked_at(model)
        else:  # only its size counts, and that of the original's is the same
            self._baseline_before = self._baseline_before or self._looked_at(self._before)
            baseline = self._baseline_before
        artifact = write_artifact(
            model,
            name=self.read.name,
            profile=self.profile.id,
            recipe=recipe.as_json(),
            provenance={
                "source_sha256": self.read.sha256,
                "tool": f"edgepress {__version__}",
                "dataset": None if self.data is None else self.data.name,
                "seed": self.seed,
            },
            metadata={} if self.data is None else self.data.describe(),
            probe=make_probe(
                state.graph, sample=None if split is None else one_batch(split), seed=self.seed % 2**32
            ),
            codes=state.codes,
            coding=recipe.coding,
            baseline=baseline,
        )
        return artifact, decode(artifact, max_bytes=max(len(model), 1)) if decoded else b""

    def _looked_at(self, model: bytes) -> Baseline | None:
        if self.rows is None:
            return None
        return measure_baseline(model, self.rows.selection, threads=self._threads, rows_max=_BASELINE_ROWS)

    # --- figures ---

    def _far_beyond(self, prediction: Prediction) -> bool:
        """Whether even a prediction that errs as far as expected misses the budget. Never where the model
        can be timed here."""
        beyond = _FAR_BEYOND * (1 + (prediction.error or 1.0))
        slow = self.budget.latency_us is not None and prediction.latency_us > beyond * self.budget.latency_us
        large = (
            self.budget.memory_bytes is not None
            and prediction.memory_bytes > beyond * self.budget.memory_bytes
        )
        return (slow and not self.here) or large

    def _predicted(self, prediction: Prediction, state: PassState) -> Figures:
        estimate = next(
            (one.bytes_estimate for one in reversed(state.stages) if one.bytes_estimate is not None), None
        )
        return _predicted_costs(
            Figures(
                artifact_bytes=state.graph.weight_bytes() if estimate is None else estimate,
                bytes_basis="estimate",
            ),
            prediction,
        )

    def _costs(
        self, prediction: Prediction, size: int, decoded: bytes, first: bool, check: Callable[[], None]
    ) -> Figures:
        figures = _predicted_costs(Figures(artifact_bytes=size, bytes_basis="file"), prediction)
        if not self.here:
            return figures
        before_us, after_us = undisturbed_us(
            self._before,
            decoded,
            self._one_sample(),
            threads=self._threads,
            seconds=ORIGINAL_TIMING_S if first else TIMING_S,
            check=check,
        )
        calibrated = prediction.basis == "calibration"
        if self._reference_us is None:
            # Devices of this profile were measured: they say how long the original takes there. This machine
            # has the same instructions at another pace: it tells how much quicker a trial is, and no more.
            self._reference_us = before_us
            if calibrated:
                self._reference_us = predict_model(self._before, self.profile).latency_us
        latency_us = self._reference_us if first else self._reference_us * after_us / before_us
        energy = None if figures.energy_mj is None else figures.energy_mj * latency_us / prediction.latency_us
        return msgspec.structs.replace(
            figures,
            latency_us=latency_us,
            latency_basis="calibration" if calibrated else "here",
            latency_error=prediction.error if calibrated else None,
            energy_mj=energy,
        )

    def _judged(self, figures: Figures, decoded: bytes, first: bool, check: Callable[[], None]) -> Figures:
        judge = self._judge_of(check)
        rows = max(_LEAST_FIRST, int(_FIRST_SHARE * judge.rows))
        found = None
        if not first and judge.can_look_at_part and rows < judge.rows:
            found = judge.look(decoded, rows)
            least = (found.loss or 0.0) - 2 * (found.loss_error or 0.0)
            if least <= max(3 * (self.budget.max_drop or 0.0), _HOPELESS):
                found = None
        found = found or judge.look(decoded)
        return msgspec.structs.replace(
            figures, accuracy=found.accuracy, drop=found.drop, drop_error=found.drop_error,
            expected_drop=found.expected_drop, expected_drop_error=found.expected_drop_error,
            samples=found.samples, split=found.split,
        )  # fmt: skip

    def test(self, artifact: bytes, split: Split, check: Callable[[], None]) -> Figures:
        """Figures on rows that nothing was chosen by."""
        if self._tested is None or self._tested[0] != split.name:
            self._tested = split.name, Judge(self._before, split, threads=self._threads, check=check)
        return self._tested[1].look(decode(artifact))

    def _judge_of(self, check: Callable[[], None]) -> Judge:
        if self._judge is None:
            assert self.rows is not None  # noqa: S101 - asked for only where there are rows
            self._judge = Judge(self._before, self.rows.selection, threads=self._threads, check=check)
        return self._judge

    def _one_sample(self) -> dict[str, np.ndarray]:
        from edgepress_compression.compress import sample_feed

        if self._feed is None:
            self._feed = sample_feed(self._before, self.read.graph, self.data, self.seed)
        return self._feed


def _predicted_costs(figures: Figures, prediction: Prediction) -> Figures:
    basis: Any = {"datasheet": "datasheet", "calibration": "calibration", "measurement": "device"}
    return msgspec.structs.replace(
        figures,
        latency_us=prediction.latency_us,
        latency_basis=basis[prediction.basis],
        latency_error=prediction.error,
        memory_bytes=prediction.memory_bytes,
        memory_basis=basis[prediction.memory_basis],
        energy_mj=prediction.energy_mj,
        energy_basis=None if prediction.energy_mj is None else basis[prediction.energy_basis],
    )


def _prefix(steps: tuple[Step, ...]) -> bytes:
    return msgspec.json.encode(steps, order="sorted")
