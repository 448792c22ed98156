"""The report of a compression: JSON, described in docs/report.md."""

from __future__ import annotations

import platform
import shlex
from pathlib import Path
from typing import Any, cast

import msgspec

from edgepress_compression.artifact.sizes import TensorBytes
from edgepress_compression.evaluate import Latency
from edgepress_compression.figures import Figures
from edgepress_compression.metric import Accuracy
from edgepress_compression.passes.state import Stage


class Bytes(msgspec.Struct, frozen=True, kw_only=True):
    onnx_before: int
    weights_before: int  # float weights at 4 bytes each
    onnx_after: int  # what the device holds after decoding
    artifact: int  # what is sent
    ratio: float  # weights_before / artifact


class AccuracyPair(msgspec.Struct, frozen=True, kw_only=True):
    """Both on the same samples. Fractions 0..1."""

    metric: str
    split: str
    n: int
    before: float
    after: float
    ci95: tuple[float, float] | None  # of `after`
    ci95_before: tuple[float, float] | None


class LatencyPair(msgspec.Struct, frozen=True, kw_only=True):
    """Measured in turns in one run on this machine, one sample a run, microseconds."""

    before: Latency
    after: Latency
    speedup: float  # p50 before / p50 after
    threads: int
    machine: str
    runtime: str


class MemoryPair(msgspec.Struct, frozen=True, kw_only=True):
    """Resident bytes that a process grows by to load and run the model on this machine."""

    before: int
    after: int


class CostPair(msgspec.Struct, frozen=True, kw_only=True):
    """Counted on the original and on the decoded artifact."""

    before: Figures
    after: Figures


class Report(msgspec.Struct, frozen=True, kw_only=True):
    version: int = 1
    model: str
    source_sha256: str
    artifact_sha256: str
    recipe: dict[str, Any]
    profile: str
    dataset: dict[str, Any] | None
    seed: int
    seconds: float
    bytes: Bytes
    accuracy: AccuracyPair | None  # None: no data set was given
    latency_us: LatencyPair
    memory_bytes: MemoryPair
    costs: CostPair
    stages: list[Stage]
    tensors: list[TensorBytes]
    warnings: list[str]
    command: str

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return cast(dict[str, Any], msgspec.json.decode(msgspec.json.encode(self)))


def accuracy_pair(before: Accuracy, after: Accuracy, split: str) -> AccuracyPair:
    return AccuracyPair(
        metric=after.metric,
        split=split,
        n=after.n,
        before=before.value,
        after=after.value,
        ci95=after.ci95,
        ci95_before=before.ci95,
    )


def machine_name() -> str:
    """The processor and system, in words."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # only Linux has it
    return f"{model}, {platform.system()} {platform.machine()}"


def reproduce(
    *,
    model: str,
    recipe: str,
    profile: str,
    dataset: str | None,
    seed: int,
    target_bytes: int | None = None,
    coding: str | None = None,
) -> str:
    """The command that makes the same artifact."""
    words = ["edgepress", "compress", model, "--recipe", recipe, "--profile", profile]
    if dataset is not None:
        words += ["--data", dataset]
    if target_bytes is not None:
        words += ["--target-bytes", str(target_bytes)]
    if coding is not None:
        words += ["--coding", coding]
    words += ["--seed", str(seed), "-o", f"{Path(model).stem}.epa", "--report", "report.json"]
    return shlex.join(words)
