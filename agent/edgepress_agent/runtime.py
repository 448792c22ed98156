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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from edgepress_agent.errors import InferenceError, ModelRefusedError
from edgepress_agent.meter import Counted, Meter
from edgepress_agent.turn import QueueFullError, Turn, WaitedTooLongError
from edgepress_devices.protocol import ErrorKinds

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray

Arrays: TypeAlias = "dict[str, NDArray[Any]]"
Tap: TypeAlias = "Callable[[Mapping[str, NDArray[Any]], Arrays], None]"
"""Gets what was asked and what was answered; changes neither and never waits: a request waits for it."""

RETRY_AFTER_S: Final = 1  # what a client that was turned away is told

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


@dataclass(frozen=True)
class RequestLimits:
    """What a request is refused for rather than kept waiting."""

    waiting: int = 32  # requests that may wait for their turn
    seconds: float = 120.0  # from when a request came to its answer; as long as one inference may take


DEFAULT_LIMITS: Final = RequestLimits()


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
        self._refusals = input_errors()
        # One inference at a time: its threads have the cores to themselves, and waiting is not latency.
        self._turn = Turn()
        self._tapping = threading.Lock()

    def infer(
        self,
        feeds: "Mapping[str, NDArray[Any]]",
        outputs: Sequence[str] | None = None,
        *,
        limits: RequestLimits = DEFAULT_LIMITS,
        came_s: float | None = None,
    ) -> Arrays:
        """Run the model once; counted and timed. ``outputs`` None = all; ``came_s``: time.monotonic() when
        the request came. Raises InferenceError: 400, 500, 503 (too many wait), 504 (not in time).
        """
        until_s = (time.monotonic() if came_s is None else came_s) + limits.seconds
        try:
            names = self.check(feeds, outputs)
        except InferenceError:
            self.meter.failed("input")
            raise
        queued_ns = time.perf_counter_ns()
        self._await_turn(limits, until_s)
        try:
            started_ns = time.perf_counter_ns()
            self.meter.queue_us.record((started_ns - queued_ns) / 1000)
            values = self._run_in_turn(names, feeds)
            latency_us = (time.perf_counter_ns() - started_ns) / 1000
        finally:
            self._turn.leave()
        if time.monotonic() > until_s:  # native code cannot be interrupted: nobody hears of it before
            self.meter.failed("timeout")
            raise InferenceError(504, f"the answer came later than the {limits.seconds:g} s that it may take")
        self.meter.answered(latency_us)
        results = dict(zip(names, values, strict=True))
        for tap in self.taps:
            tap(feeds, results)
        return results

    def _await_turn(self, limits: RequestLimits, until_s: float) -> None:
        try:
            self._turn.enter(waiting_max=limits.waiting, until_s=until_s)
        except QueueFullError:
            self.meter.failed("busy")
            reason = f"{limits.waiting} requests are waiting already; ask again in a moment"
            raise InferenceError(503, reason, retry_after_s=RETRY_AFTER_S) from None
        except WaitedTooLongError:
            self.meter.failed("timeout")
            reason = f"this request waited {limits.seconds:g} s for its turn; ask again when less is asked"
            raise InferenceError(504, reason) from None

    def _run_in_turn(self, names: list[str], feeds: "Mapping[str, NDArray[Any]]") -> list[Any]:
        self.began_s = time.monotonic()
        try:
            values: list[Any] = self._session.run(names, dict(feeds))
            return values
        except self._refusals as error:
            self.meter.failed("input", reached_runtime=True)
            reason = f"the model cannot run on this input: {_first_line(error)}"
            raise InferenceError(400, reason) from error
        except self._errors as error:
            self.meter.failed("runtime", reached_runtime=True)
            raise InferenceError(500, f"the runtime failed on this request: {_first_line(error)}") from error
        finally:
            self.began_s = None

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return self._turn.waiting

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
        self._turn.enter()
        try:
            started_ns = time.perf_counter_ns()
            self.run_uncounted(feeds)
            return (time.perf_counter_ns() - started_ns) / 1000
        finally:
            self._turn.leave()

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
        self._gone_ever = 0  # of models that nothing is heard of any more
        self._gone_kinds = ErrorKinds()
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
            self._model = model

    def answered(self) -> int:
        """Requests answered since the start, whatever telemetry took."""
        with self._lock:
            return self._gone_ever + sum(meter.ever for _, meter in self._meters())

    def failed(self) -> ErrorKinds:
        """Requests that got no answer since the start, by kind."""
        with self._lock:
            found = [self._gone_kinds, *(meter.kinds_ever for _, meter in self._meters())]
        return _added(found)

    def waiting(self) -> int:
        """Requests that wait for their turn now."""
        model = self._model
        return 0 if model is None else model.waiting

    def take(self) -> list[Counted]:
        """Since last time: of models that were switched away from, where there was something, and last of the
        one that answers now.
        """
        with self._lock:
            counted = []
            for digest, meter in list(self._retired):
                row = meter.take(digest)
                if not row.nothing:
                    counted.append(row)
                elif meter.pending == 0:  # a round ago nothing was new either: nobody is on the way there
                    self._retired.remove((digest, meter))
                    self._gone_ever += meter.ever
                    self._gone_kinds = _added([self._gone_kinds, meter.kinds_ever])
            if self._model is not None:
                counted.append(self._model.meter.take(self._model.digest))
            return counted

    def _meters(self) -> list[tuple[str, Meter]]:
        now = [] if self._model is None else [(self._model.digest, self._model.meter)]
        return self._retired + now


def _added(found: Sequence[ErrorKinds]) -> ErrorKinds:
    return ErrorKinds(
        sum(kinds.input for kinds in found),
        sum(kinds.runtime for kinds in found),
        sum(kinds.timeout for kinds in found),
        sum(kinds.busy for kinds in found),
    )


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


def input_errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises where the input is at fault: a shape that only shows inside the graph."""
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    return (native.InvalidArgument,)


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
