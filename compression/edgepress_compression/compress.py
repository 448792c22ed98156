"""From a model to an artifact and its report.

    load -> measure as it is -> passes of the recipe -> write the artifact -> decode it -> measure what
    was decoded

What is measured is what ships: every figure under "after" is of the decoded artifact in onnxruntime.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnx
import onnxruntime

from edgepress_compression.artifact.baseline import Baseline
from edgepress_compression.artifact.read import decode
from edgepress_compression.artifact.sizes import sizes
from edgepress_compression.artifact.write import write_artifact
from edgepress_compression.codec import native
from edgepress_compression.data.dataset import Dataset, Split, load_dataset
from edgepress_compression.data.fit import fit
from edgepress_compression.errors import CompressionCancelledError
from edgepress_compression.evaluate import evaluate, fixed_batch, one_batch, open_session, paired_latency
from edgepress_compression.expect import make_probe
from edgepress_compression.figures import figures
from edgepress_compression.footprint import resident_bytes
from edgepress_compression.generated import generated_batches
from edgepress_compression.graph.model import Graph
from edgepress_compression.measure_baseline import measure_baseline
from edgepress_compression.metric import Accuracy
from edgepress_compression.passes.state import PassState, Stage
from edgepress_compression.recipe import Pass, Recipe, check_recipe, coded, load_recipe, require_data, within
from edgepress_compression.report import (
    Bytes,
    CostPair,
    LatencyPair,
    MemoryPair,
    Report,
    accuracy_pair,
    machine_name,
    reproduce,
)
from edgepress_compression.resume import SavedRun, data_identity
from edgepress_compression.source import read_source
from edgepress_devices import __version__
from edgepress_devices.profile import DeviceProfile, load_profile

if TYPE_CHECKING:
    import torch

# Where each part of the work ends, as a fraction of all of it
LOADED, MEASURED_BEFORE, PASSED, WRITTEN, MEASURED_AFTER, TIMED = 0.02, 0.10, 0.82, 0.86, 0.94, 1.0
_STAGE_RUNS = 5  # at least, of each model


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    step: str  # "load", "measure", a pass, "write", "verify", "time"
    fraction: float  # 0..1 of everything
    message: str


@dataclass(frozen=True)
class Result:
    artifact: bytes
    report: dict[str, Any]  # docs/report.md
    finished: Callable[[], None] = lambda: None  # removes the checkpoints, where there are some


def compress(
    source: Path | bytes | Graph | torch.nn.Module,
    example_inputs: torch.Tensor | tuple[torch.Tensor, ...] | None = None,
    *,
    recipe: Recipe | str | Path,
    profile: DeviceProfile | str,
    dataset: Dataset | Path | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
    cancelled: Callable[[], bool] = lambda: False,
    seed: int = 0,
    model_name: str | None = None,
    threads: int = 1,
    latency_seconds: float = 2.0,
    stage_seconds: float = 0.3,
    target_bytes: int | None = None,
    coding: str | None = None,
    checkpoint_dir: Path | None = None,
) -> Result:
    """Compresses a model for a profile. The same arguments give the same artifact on one kind of machine.

    `source` is an .onnx or .pt2 file, its bytes, a graph, or a PyTorch module with `example_inputs`, whose
    first dimension is the batch and stays free. `profile` is one, or a name; `dataset` one, or its file.
    `target_bytes` is what the artifact may have, for recipes that take a budget (`recipe.within`).
    `coding` is how weights are coded, in place of what the recipe says.
    `model_name` chooses the data set's preprocessing and is written into the artifact; by default the
    file's name. `threads` are used to measure; `latency_seconds` is how long before and after are timed,
    `stage_seconds` how long each pass's result is. With a `checkpoint_dir` a compression that was killed goes
    on from there when it is called again in the same way, and gives the same artifact (resume.py); call the
    result's `finished` when that is safe. Raises an EdgepressError with a sentence for people;
    CompressionCancelledError soon after `cancelled` says so.
    """
    started = time.monotonic()
    chosen = _chosen(recipe, target_bytes, coding)
    work = _Work(progress, cancelled)
    passes = check_recipe(chosen)
    profile = load_profile(profile) if isinstance(profile, str) else profile
    dataset = load_dataset(dataset) if isinstance(dataset, Path) else dataset
    require_data(chosen, dataset)

    work.say("load", 0.0, "reading the model")
    read = read_source(source, example_inputs, name=model_name)
    graph, name = read.graph, read.name
    before = graph.serialize()
    classes = () if chosen.learns_classes else graph.outputs  # a new head gets the data set's
    data = None if dataset is None else fit(dataset, graph.inputs, classes, model_name=name)
    split = None if data is None else _test_split(data)
    feed = sample_feed(before, graph, data, seed)

    accuracy_before = _measure(before, split, threads, work, "measure", (LOADED, MEASURED_BEFORE))
    state = PassState(graph=graph.copy(), profile=profile, dataset=data, cancelled=cancelled, seed=seed)
    if (slower := native.missing_reason()) is not None:
        state.warn(slower)
    if data is None:
        state.warn("No data set was given, so accuracy is unknown, and devices cannot tell drift.")
    elif split is not None and len(data.splits) == 1:
        state.warn(f"The data set has one split only ({split.name}); a split of its own for tests is better.")
    sample = None if split is None else one_batch(split)

    baseline_before = cache(partial(_looked_at, before, split, threads, work))

    def write(state: PassState, baseline: Baseline | None) -> tuple[bytes, bytes]:
        """(artifact, the ONNX file in it)"""
        onnx_model = state.graph.serialize()
        artifact = write_artifact(
            onnx_model,
            name=name,
            profile=profile.id,
            recipe=chosen.as_json(),
            provenance={
                "source_sha256": read.sha256,
                "tool": f"edgepress {__version__}",
                "dataset": None if data is None else data.name,
                "seed": seed,
            },
            metadata={} if data is None else data.describe(),
            probe=make_probe(state.graph, sample=sample, seed=seed % 2**32),
            codes=state.codes,
            coding=chosen.coding,
            baseline=baseline,
        )
        return artifact, onnx_model

    # Passes ask for the size often; a baseline of the model as it came takes as many bytes.
    state.artifact_bytes = lambda state: len(write(state, baseline_before())[0])
    saved = None
    if checkpoint_dir is not None:
        identity = {
            "source": read.sha256, "name": name, "recipe": chosen.as_json(), "profile": profile.id,
            "data": data_identity(data), "seed": seed, "tool": f"edgepress {__version__}",
        }  # fmt: skip
        saved = SavedRun(checkpoint_dir, identity)
    measured = partial(_measured, state, before, feed, threads, stage_seconds, work.check)
    _run_passes(passes, state, work, saved, measured)

    work.say("write", PASSED, "coding the weights")
    artifact, after = write(state, _looked_at(state.graph.serialize(), split, threads, work))
    _warn_of_size(state, len(artifact), target_bytes)
    work.say("verify", WRITTEN, "decoding the artifact")
    decoded = decode(artifact, max_bytes=max(len(after), 1))
    accuracy_after = _measure(decoded, split, threads, work, "verify", (WRITTEN, MEASURED_AFTER))

    work.say("time", MEASURED_AFTER, "timing before and after in turns")
    timed = paired_latency(
        [before, decoded], feed, threads=threads, seconds=latency_seconds, check=work.check
    )
    memory = MemoryPair(
        before=resident_bytes(before, feed, threads=threads),
        after=resident_bytes(decoded, feed, threads=threads),
    )
    weights_before = graph.weight_bytes()
    costs = CostPair(
        before=figures(graph, profile), after=figures(Graph(onnx.load_from_string(decoded)), profile)
    )
    report = Report(
        model=name,
        source_sha256=read.sha256,
        artifact_sha256=hashlib.sha256(artifact).hexdigest(),
        recipe=chosen.as_json(),
        profile=profile.id,
        dataset=None if data is None else {"name": data.name, "variant": data.variant},
        seed=seed,
        seconds=time.monotonic() - started,
        bytes=Bytes(
            onnx_before=len(before),
            weights_before=weights_before,
            onnx_after=len(decoded),
            artifact=len(artifact),
            ratio=weights_before / len(artifact),
        ),
        accuracy=None
        if accuracy_before is None or accuracy_after is None or split is None
        else accuracy_pair(accuracy_before, accuracy_after, split.name),
        latency_us=LatencyPair(
            before=timed[0],
            after=timed[1],
            speedup=timed[0].p50 / timed[1].p50,
            threads=threads,
            machine=machine_name(),
            runtime=f"onnxruntime {onnxruntime.__version__}",
        ),
        memory_bytes=memory,
        costs=costs,
        stages=state.stages,
        tensors=sizes(artifact),
        warnings=state.warnings,
        command=reproduce(
            model=str(source) if isinstance(source, Path) else f"{name}.onnx",
            recipe=str(recipe) if not isinstance(recipe, Recipe) else recipe.name,
            profile=profile.id,
            dataset=None if dataset is None else dataset.origin,
            seed=seed,
            target_bytes=target_bytes,
            coding=coding,
        ),
    )
    work.say("time", TIMED, "done")
    return Result(artifact, report.as_json(), (lambda: None) if saved is None else saved.forget)


def _chosen(recipe: Recipe | str | Path, target_bytes: int | None, coding: str | None) -> Recipe:
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if target_bytes is not None:
        chosen = within(chosen, target_bytes)
    return chosen if coding is None else coded(chosen, coding)


def _warn_of_size(state: PassState, artifact_bytes: int, target_bytes: int | None) -> None:
    """Passes behind the one that aimed may add to the artifact."""
    if target_bytes is not None and artifact_bytes > target_bytes:
        over = artifact_bytes - target_bytes
        state.warn(
            f"The artifact has {artifact_bytes:,} bytes, {over:,} more than asked for: what comes after the "
            f"pass that aims at a size added them. Ask for {max(1, target_bytes - over):,}."
        )


class _Work:
    """Says how far the whole work is, and stops it when asked."""

    def __init__(self, progress: Callable[[Progress], None], cancelled: Callable[[], bool]) -> None:
        self._progress, self._cancelled = progress, cancelled
        self._furthest = 0.0

    def check(self) -> None:
        if self._cancelled():
            raise CompressionCancelledError()

    def say(self, step: str, fraction: float, message: str) -> None:
        """Fractions never go back, whatever a pass says."""
        self.check()
        self._furthest = min(1.0, max(self._furthest, fraction))
        self._progress(Progress(step=step, fraction=self._furthest, message=message))

    def part(self, step: str, start: float, end: float) -> Callable[[float, str], None]:
        """A progress function for one part, in which 0..1 stands for start..end."""
        return lambda fraction, message: self.say(step, start + (end - start) * min(fraction, 1.0), message)


def _run_passes(
    passes: Sequence[tuple[str, Pass]],
    state: PassState,
    work: _Work,
    saved: SavedRun | None,
    measured: Callable[[], Stage],
) -> None:
    """Every pass leaves a stage. Passes that were done before an interruption are not run again."""
    share = (PASSED - MEASURED_BEFORE) / max(len(passes), 1)
    done = 0 if saved is None else saved.restore(state, len(passes))
    for number, (name, run_pass) in enumerate(passes, start=1):
        end = MEASURED_BEFORE + number * share
        if number <= done:
            work.say(name, end, "was done before the interruption")
            continue
        state.progress = work.part(name, end - share, end)
        state.checkpoints = None if saved is None else saved.trainings(number)
        stages, began = len(state.stages), time.monotonic()
        run_pass(state)
        if len(state.stages) == stages:
            state.stages.append(Stage(name=name, seconds=time.monotonic() - began, note="nothing to do"))
        work.check()
        state.stages[-1] = measured()
        if saved is not None:
            saved.save(state, number)


def _measured(
    state: PassState,
    before: bytes,
    feed: dict[str, np.ndarray],
    threads: int,
    seconds: float,
    check: Callable[[], None],
) -> Stage:
    """The state's last stage with what the model costs now. Timed in turns with the original, so that two
    stages can be compared although the machine was not equally busy."""
    now = figures(state.graph)
    timed = paired_latency(
        [before, state.graph.serialize()],
        feed,
        threads=threads,
        seconds=seconds,
        min_runs=_STAGE_RUNS,
        check=check,
    )
    return msgspec.structs.replace(
        state.stages[-1],
        flops=now.flops,
        parameters=now.parameters,
        sparsity=now.sparsity,
        peak_activation_bytes=now.peak_activation_bytes,
        latency_us=timed[1].p50,
        speedup=timed[0].p50 / timed[1].p50,
    )


def _test_split(data: Dataset) -> Split:
    """The split test, or another that nothing is trained on, where there is one."""
    others = [name for name in data.splits if name not in ("train", "unlabelled")]
    return data.split("test" if "test" in others else (others or list(data.splits))[-1])


def sample_feed(model: bytes, graph: Graph, data: Dataset | None, seed: int) -> dict[str, np.ndarray]:
    """What latency and memory are measured on: one real sample, or a generated one. `data` is fitted."""
    size = fixed_batch(open_session(model)) or 1
    if data is not None:
        return one_batch(_test_split(data), size)
    one = next(generated_batches(graph, count=1, seed=seed))
    return {name: np.repeat(array, size // len(array), axis=0) for name, array in one.items()}


def _measure(
    model: bytes, split: Split | None, threads: int, work: _Work, step: str, part: tuple[float, float]
) -> Accuracy | None:
    if split is None:
        return None
    say = work.part(step, *part)
    return evaluate(
        model, split, threads=threads, progress=lambda fraction: say(fraction, f"testing on {split.name}")
    )


def _looked_at(model: bytes, split: Split | None, threads: int, work: _Work) -> Baseline | None:
    """What drift on devices is measured against: the test split, and the model's answers to it."""
    if split is None:
        return None
    return measure_baseline(model, split, threads=threads, progress=lambda _: work.check())


class _CallableModule(ModuleType):
    """`edgepress_compression.compress` is this module to import from, and may be called as the function."""

    def __call__(self, *arguments: Any, **options: Any) -> Result:
        return compress(*arguments, **options)


sys.modules[__name__].__class__ = _CallableModule
