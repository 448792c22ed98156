"""Runs a finished ONNX file in onnxruntime, as devices do, and says how good and how fast it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edgepress_compression.data.dataset import Split
from edgepress_compression.errors import GraphError
from edgepress_compression.metric import Accuracy, MeanAveragePrecision, Top1

BATCH_SIZE = 50

# onnxruntime's errors have no common base of their own
ORT_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


def open_session(
    onnx_bytes: bytes,
    *,
    threads: int = 1,
    level: onnxruntime.GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
) -> onnxruntime.InferenceSession:
    """A CPU session. Raises GraphError when onnxruntime cannot run the model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, and said once
    options.graph_optimization_level = level
    try:
        return onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        raise GraphError(f"onnxruntime cannot run this model: {_first_line(error)}.") from error


def run(session: onnxruntime.InferenceSession, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs. Raises GraphError when the model fails on this input."""
    try:
        outputs: list[np.ndarray] = session.run(None, dict(feed))
    except ORT_ERRORS as error:
        raise GraphError(f"The model fails on its input: {_first_line(error)}.") from error
    return outputs


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")


def fixed_batch(session: onnxruntime.InferenceSession) -> int | None:
    """The batch size that the model insists on, or None when it is free."""
    sizes = {one.shape[0] for one in session.get_inputs() if one.shape and isinstance(one.shape[0], int)}
    return max(sizes) if sizes else None


def evaluate(
    onnx_bytes: bytes,
    split: Split,
    *,
    threads: int = 1,
    limit: int | None = None,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Accuracy:
    """The data set's metric on the split, with the model's first output. `progress` gets 0..1 after each
    batch.

    An exception that `progress` raises ends the evaluation: that is how a job is cancelled.
    """
    session = open_session(onnx_bytes, threads=threads)
    size = fixed_batch(session) or BATCH_SIZE
    fixed = fixed_batch(session) is not None
    metric = Top1() if split.decode is None else MeanAveragePrecision(split.decode)
    total = min(len(split), limit) if limit is not None else len(split)
    done = 0
    for feed, labels in split.batches(size, limit=limit):
        padded = feed
        if (
            fixed and len(labels) < size
        ):  # the last samples of a model with a fixed batch: repeat one, count once
            padded = {
                name: np.concatenate([a, np.repeat(a[-1:], size - len(a), 0)]) for name, a in feed.items()
            }
        metric.add(run(session, padded)[0][: len(labels)], labels)
        done += len(labels)
        progress(done / total)
    return metric.result()


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Wall time of one inference of one sample, microseconds."""

    p50: float
    p95: float
    runs: int


def paired_latency(
    models: Sequence[bytes],
    feed: Mapping[str, np.ndarray],
    *,
    threads: int = 1,
    seconds: float = 2.0,
    min_runs: int = 20,
    check: Callable[[], None] = lambda: None,
) -> list[Latency]:
    """Latencies of several models on the same input, run in turns so that whatever else the machine does
    hits all.

    Takes about `seconds` in all, at least `min_runs` rounds. `check` is called once a round and may raise.
    """
    sessions = [open_session(model, threads=threads) for model in models]
    for session in sessions:  # the first runs allocate and choose kernels
        for _ in range(3):
            run(session, feed)
    times_ns: list[list[int]] = [[] for _ in sessions]
    end = time.monotonic() + seconds
    rounds = 0
    while rounds < min_runs or time.monotonic() < end:
        check()
        for session, times in zip(sessions, times_ns, strict=True):
            start = time.perf_counter_ns()
            run(session, feed)
            times.append(time.perf_counter_ns() - start)
        rounds += 1
    return [
        Latency(
            p50=float(np.percentile(times, 50)) / 1000,
            p95=float(np.percentile(times, 95)) / 1000,
            runs=rounds,
        )
        for times in times_ns
    ]


def one_batch(split: Split, size: int = 1) -> dict[str, np.ndarray]:
    """The first samples of the split, as one batch."""
    return split.fetch(np.arange(size) % len(split))
