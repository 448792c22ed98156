"""What a pass gets and leaves behind.

A pass is one module in this folder with two names:

    class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True): ...   # defaults for every field
    def run(state: PassState, options: Options) -> None: ...

`run` edits `state.graph` in place (or binds a new one), keeps `state.codes` true to the graph's weights,
says how far it is through `state.progress`, asks `state.check_cancelled()` at least once a second, and
appends one `Stage` per step that a person would want to see in the report. It draws every random number from
`state.seed`, and it never looks at the `test` split: that one judges the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from edgepress_compression.artifact.write import write_artifact
from edgepress_compression.errors import CompressionCancelledError
from edgepress_compression.expect import make_probe
from edgepress_compression.passes.estimate import nonzero_fraction, weight_bytes_estimate

if TYPE_CHECKING:
    from edgepress_compression.artifact.codes import Codes
    from edgepress_compression.data.dataset import Dataset
    from edgepress_compression.graph.model import Graph
    from edgepress_compression.training.checkpoint import PassCheckpoints
    from edgepress_devices.profile import DeviceProfile


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the report's `stages`: what a step did to the model. Absent is None.

    A pass gives the first part. `compress` measures the second on the model as a pass left it, and puts it
    into the last row of that pass.
    """

    name: str  # "prune round 2 of 5", "share", "int8"
    seconds: float
    bytes_estimate: int | None = None  # weights after this step, coded: an estimate, the artifact is measured
    nonzero: float | None = None  # fraction 0..1 of the weights that are not 0
    bits: float | None = None  # mean bits of a weight's index or integer
    accuracy: float | None = None  # fraction 0..1, on data that is not the test split
    note: str | None = None
    # For plots (docs/report.md), JSON-able. "sensitivity": [{"tensor", "sparsity" or "bits", "loss"}];
    # "filters": [{"group", "alive", "of"}].
    detail: dict[str, Any] | None = None

    flops: int | None = None  # of one sample
    parameters: int | None = None
    sparsity: float | None = None  # fraction 0..1 of the parameters that are 0
    peak_activation_bytes: int | None = None  # of one sample
    latency_us: float | None = None  # onnxruntime on this machine, one sample, in turns with the original
    speedup: float | None = None  # the original's latency in the same turns / latency_us


def _bare_artifact_bytes(state: PassState) -> int:
    """Of an artifact that says nothing but the model: without provenance, recipe or metadata."""
    artifact = write_artifact(
        state.graph.serialize(),
        name=state.graph.name,
        profile=state.profile.id,
        recipe={},
        provenance={},
        metadata={},
        probe=make_probe(state.graph, sample=None, seed=state.seed % 2**32),
        codes=state.codes,
    )
    return len(artifact)


@dataclass
class PassState:
    """The model on its way through the passes of a recipe."""

    graph: Graph
    profile: DeviceProfile
    dataset: Dataset | None = (
        None  # already fitted to the model's inputs; splits "train", "test", perhaps more
    )
    codes: dict[str, Codes] = field(default_factory=dict)  # initializer name -> what its weights are made of
    progress: Callable[[float, str], None] = lambda fraction, message: (
        None
    )  # 0..1 of this pass, what it does now
    cancelled: Callable[[], bool] = lambda: False
    seed: int = 0
    stages: list[Stage] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)  # sentences for the report, each once
    # Bytes of the artifact that the state would become as it is; takes as long as writing one does.
    artifact_bytes: Callable[[PassState], int] = _bare_artifact_bytes
    checkpoints: PassCheckpoints | None = None  # of the trainings in this pass; None: none are written
    # What passes found out that does not depend on their options, for other runs on the same rows of the same
    # data with the same seed: several recipes that are tried on one model. None: nobody else will ask.
    shared: dict[str, Any] | None = None
    original: Graph = field(init=False)  # as it was before the first pass: what fine-tuning imitates

    def __post_init__(self) -> None:
        self.original = self.graph.copy()

    def check_cancelled(self) -> None:
        """Raises CompressionCancelledError when the person who started the job took it back."""
        if self.cancelled():
            raise CompressionCancelledError()

    def warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def add_stage(
        self,
        name: str,
        started: float,
        *,
        bits: float | None = None,
        accuracy: float | None = None,
        note: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> None:
        """A row about the model as it is now, `started` in time.monotonic()."""
        weights = self.graph.float_weights()
        self.stages.append(
            Stage(
                name=name,
                seconds=time.monotonic() - started,
                bytes_estimate=weight_bytes_estimate(weights, self.codes),
                nonzero=nonzero_fraction(weights),
                bits=bits,
                accuracy=accuracy,
                note=note,
                detail=detail,
            )
        )
