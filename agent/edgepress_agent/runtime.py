"""Models in onnxruntime, and the one that answers now.

A request takes the model that answers at that moment and keeps it to the end, so switching loses nothing:
what began on the old model finishes there, what comes later goes to the new one, and the old one's memory
is freed with its last request. onnxruntime is imported with the first model: an agent without one stays
small.
"""

import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from edgepress_agent.errors import InferenceError, ModelRefusedError
from edgepress_devices.histogram import LatencyRecorder
from edgepress_devices.protocol import Histogram

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray

Arrays: TypeAlias = "dict[str, NDArray[Any]]"
Tap: TypeAlias = "Callable[[Mapping[str, NDArray[Any]], Arrays], None]"
"""Gets what was asked and what was answered; changes neither and never waits: a request waits for it."""

DTYPES: Final[dict[str, tuple[str, str]]] = {
    # onnxruntime's name: (numpy's, the Open Inference Protocol's)
    "tensor(float)": ("float32", "FP32"),
    "tensor(double)": ("float64", "FP64"),
    "tensor(float16)": ("float16", "FP16"),
    "tensor(int64)": ("int64", "INT64"),
    "tensor(int32)": ("int32", "INT32"),
    "tensor(int16)": ("int16", "INT16"),
    "tensor(int8)": ("int8", "INT8"),
    "tensor(uint64)": ("uint64", "UINT64"),
    "tensor(uint32)": ("uint32", "UINT32"),
    "tensor(uint16)": ("uint16", "UINT16"),
    "tensor(uint8)": ("uint8", "UINT8"),
    "tensor(bool)": ("bool", "BOOL"),
}


@dataclass(frozen=True)
class TensorSpec:
    """An input or an output. In ``shape`` -1 stands for a size that the request chooses."""

    name: str
    dtype: str  # numpy's name
    datatype: str  # the Open Inference Protocol's name
    shape: tuple[int, ...]


@dataclass
class Meter:
    """What one model did since it was last read."""

    latency: LatencyRecorder = field(default_factory=LatencyRecorder)
    errors: int = 0
    inferences: int = 0
    ever: int = 0  # inferences that no ``take`` resets
    errors_ever: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, latency_us: float | None) -> None:
        """One more inference; None = it failed."""
        with self.lock:
            if latency_us is None:
                self.errors += 1
                self.errors_ever += 1
            else:
                self.inferences += 1
                self.ever += 1
                self.latency.record(latency_us)

    def take(self) -> tuple[int, int, Histogram | None]:
        """(inferences, errors, latencies in microseconds), and begin again."""
        with self.lock:
            taken = self.inferences, self.errors, self.latency.take()
            self.inferences = self.errors = 0
            return taken


class Model:
    """One loaded model. ``infer`` may be called from any thread."""

    def __init__(self, session: "onnxruntime.InferenceSession", *, name: str, digest: str) -> None:
        self.name = name
        self.digest = digest
        self.inputs = [_spec(value) for value in session.get_inputs()]
        self.outputs = [_spec(value) for value in session.get_outputs()]
        self.meter = Meter()
        self.taps: tuple[Tap, ...] = ()  # replaced, never changed: a request may be going through it
        self.began_s: float | None = None  # time.monotonic() at which the inference under way began
        self._session = session
        self._errors = runtime_errors()
        # One inference at a time: its threads have the cores to themselves, and waiting is not latency.
        self._turn = threading.Lock()
        self._tapping = threading.Lock()

    def infer(self, feeds: "Mapping[str, NDArray[Any]]", outputs: Sequence[str] | None = None) -> Arrays:
        """Run the model once; counted and timed. ``outputs`` None = all. Raises InferenceError."""
        names = self.check(feeds, outputs)
        with self._turn:
            self.began_s = time.monotonic()
            started_ns = time.perf_counter_ns()
            try:
                values = self._session.run(names, dict(feeds))
            except self._errors as error:
                self.meter.count(None)
                reason = f"the model cannot run on this input: {_first_line(error)}"
                raise InferenceError(400, reason) from error
            finally:
                self.began_s = None
            self.meter.count((time.perf_counter_ns() - started_ns) / 1000)
        results = dict(zip(names, values, strict=True))
        for tap in self.taps:
            tap(feeds, results)
        return results

    def add_tap(self, tap: Tap) -> None:
        """From now on ``tap`` gets what was asked and what was answered, on the request's thread."""
        with self._tapping:
            self.taps = (*self.taps, tap)

    def remove_tap(self, tap: Tap) -> None:
        """No request that begins now comes there; nothing happens where it is not one of the taps."""
        with self._tapping:
            self.taps = tuple(other for other in self.taps if other != tap)

    def run_uncounted(self, feeds: "Mapping[str, NDArray[Any]]") -> Arrays:
        """For trials and warm-up: no statistics. Raises ModelRefusedError."""
        try:
            return self._run([spec.name for spec in self.outputs], feeds)
        except self._errors as error:
            raise ModelRefusedError(f"the model does not run on its probe: {_first_line(error)}") from error

    def run_beside(self, feeds: "Mapping[str, NDArray[Any]]", outputs: Sequence[str]) -> Arrays:
        """For shadow mode: no statistics. Raises ModelRefusedError, also where names, types or shapes do
        not fit.
        """
        try:
            return self._run(self.check(feeds, outputs), feeds)
        except InferenceError as error:
            raise ModelRefusedError(str(error)) from error
        except self._errors as error:
            raise ModelRefusedError(_first_line(error)) from error

    def time_us(self, feeds: "Mapping[str, NDArray[Any]]") -> float:
        """Microseconds of one inference, no statistics; requests wait meanwhile. Raises ModelRefusedError."""
        with self._turn:
            started_ns = time.perf_counter_ns()
            self.run_uncounted(feeds)
            return (time.perf_counter_ns() - started_ns) / 1000

    def _run(self, names: list[str], feeds: "Mapping[str, NDArray[Any]]") -> Arrays:
        self.began_s = time.monotonic()
        try:
            return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))
        finally:
            self.began_s = None

    def check(self, feeds: "Mapping[str, NDArray[Any]]", outputs: Sequence[str] | None) -> list[str]:
        """The names of the outputs to give. Raises InferenceError where names, types or shapes do not fit."""
        known = {spec.name: spec for spec in self.inputs}
        for name in feeds:
            if name not in known:
                raise InferenceError(400, f"no input {name[:80]!r}; the model takes {', '.join(known)}")
        for spec in self.inputs:
            if spec.name not in feeds:
                raise InferenceError(400, f"input {spec.name!r} is missing")
            given = feeds[spec.name]
            if given.dtype.name != spec.dtype:
                raise InferenceError(
                    400, f"input {spec.name!r} has type {given.dtype}, the model takes {spec.dtype}"
                )
            if not _fits(given.shape, spec.shape):
                shapes = f"shape {list(given.shape)}, the model takes {list(spec.shape)}"
                raise InferenceError(400, f"input {spec.name!r} has {shapes}")
        names = [spec.name for spec in self.outputs]
        for name in outputs or ():
            if name not in names:
                raise InferenceError(400, f"no output {name[:80]!r}; the model gives {', '.join(names)}")
        return list(outputs) if outputs else names


class Runtime:
    """Which model answers now."""

    def __init__(self) -> None:
        self.starting = True  # what ran before the restart is not loaded yet
        self._lock = threading.Lock()
        self._model: Model | None = None
        self._retired: list[tuple[str, Meter]] = []
        self._retired_ever = 0
        self._watched: weakref.WeakSet[Model] = weakref.WeakSet()

    def watch(self, model: Model) -> None:
        """Count this model's inferences in ``longest_s``, whether it answers or is only tried."""
        with self._lock:
            self._watched.add(model)

    def longest_s(self, now_s: float) -> float:
        """For how long the longest inference under way has run; 0.0 where there is none."""
        with self._lock:
            began_s = [model.began_s for model in self._watched]
        return max((now_s - began for began in began_s if began is not None), default=0.0)

    def model(self) -> Model | None:
        return self._model

    def switch(self, model: Model | None) -> None:
        """Requests from here on go to ``model``."""
        with self._lock:
            if self._model is not None:
                self._retired.append((self._model.digest, self._model.meter))
                self._retired_ever += self._model.meter.ever
            self._model = model

    def answered(self) -> int:
        """Requests answered since the start, whatever telemetry took."""
        with self._lock:
            return self._retired_ever + (0 if self._model is None else self._model.meter.ever)

    def take(self) -> list[tuple[str, int, int, Histogram | None]]:
        """(digest, inferences, errors, latencies) since last time, of every model that answered or
        answers.
        """
        with self._lock:
            meters = list(self._retired)
            self._retired = []  # a request that still runs there goes uncounted: at most one a model
            if self._model is not None:
                meters.append((self._model.digest, self._model.meter))
        counted = [(digest, *meter.take()) for digest, meter in meters]
        return [
            row
            for i, row in enumerate(counted)
            if row[1] or row[2] or (self._model and i == len(counted) - 1)
        ]


def open_session(
    onnx_model: bytes | Path, threads: int, *, profile_prefix: Path | None = None
) -> "onnxruntime.InferenceSession":
    """An onnxruntime session of a model or its file, with ``threads`` threads. Raises ModelRefusedError.

    ``profile_prefix``: the runtime's own profile is on, and its file's name begins so.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # warnings are for whoever made the model
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_prefix)
    given = str(onnx_model) if isinstance(onnx_model, Path) else onnx_model
    try:
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except runtime_errors() as error:
        raise ModelRefusedError(f"onnxruntime cannot load the model: {_first_line(error)}") from error


def load_runtime() -> None:
    """Bring onnxruntime into memory, if it is not there yet."""
    runtime_errors()


def runtime_errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises: its own classes have no base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    classes = [value for value in vars(native).values() if isinstance(value, type)]
    own = [value for value in classes if issubclass(value, Exception)]
    return (*own, RuntimeError, ValueError, MemoryError)


def _spec(value: Any) -> TensorSpec:
    if value.type not in DTYPES:
        raise ModelRefusedError(f"{value.name!r} has the type {value.type}, which this agent cannot serve")
    dtype, datatype = DTYPES[value.type]
    shape = tuple(side if isinstance(side, int) and side > 0 else -1 for side in value.shape)
    return TensorSpec(value.name, dtype, datatype, shape)


def _fits(given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(given) == len(wanted) and all(w in (-1, g) for g, w in zip(given, wanted, strict=True))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
