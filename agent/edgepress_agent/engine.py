"""From an artifact in a slot to a model that answers: decode, load, warm up, and in a trial check.

A trial asks three things of the decoded artifact in this device's own onnxruntime: does it give the probe's
answers, is its 95th percentile latency within the release's limit, and does it fit the release's memory
limit. Latency is taken with the model that answers now beside it, in turns, where that takes the same inputs:
so both are measured in the same conditions. Nothing is switched here.
"""

import logging
import math
import os
import shutil
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from edgepress_agent.delta import apply_delta, read_base, read_header
from edgepress_agent.errors import InferenceError, ModelRefusedError, NotNowError
from edgepress_agent.model_watch import ModelWatch
from edgepress_agent.runtime import Arrays, Model, Runtime, load_runtime, open_session
from edgepress_agent.shadow import QUEUE_MAX_BYTES, ShadowRun
from edgepress_agent.slots import SlotInfo, decoded_path
from edgepress_devices.profile import DeviceProfile
from edgepress_devices.protocol import Limits, Shadow, TrialReport

if TYPE_CHECKING:
    from edgepress_compression.artifact.baseline import Baseline
    from edgepress_compression.artifact.format import Header
    from edgepress_compression.artifact.probe import Probe

log = logging.getLogger(__name__)

WARM_UP_RUNS: Final = 2  # the first allocates, the second is the first honest one
TRIAL_RUNS: Final = 40  # the 95th percentile of 40 is the 38th: two outliers are forgiven
TRIAL_SECONDS: Final = 5.0  # a slow model is judged by fewer runs
TRIAL_RUNS_MIN: Final = 5
DISK_MARGIN_BYTES: Final = 16 << 20
MEMORY_MARGIN_BYTES: Final = 32 << 20  # for the runtime itself and everybody else on the board


class Engine:
    """Loads and tries models with ``threads`` runtime threads; ``runtime`` is what answers requests,
    ``watch`` looks at them.
    """

    def __init__(self, runtime: Runtime, threads: int, watch: ModelWatch | None = None) -> None:
        self.runtime = runtime
        self._threads = threads
        self._watch = watch or ModelWatch()
        self._baselines: weakref.WeakKeyDictionary[Model, Baseline] = weakref.WeakKeyDictionary()

    def load(self, artifact: Path, info: SlotInfo) -> Model:
        """A model that passed its trial before. Raises ModelRefusedError, OSError."""
        model, _, inputs = self._load(artifact, info, check_memory=False)
        self._warm_up(model, inputs)
        return model

    def try_model(
        self, artifact: Path, info: SlotInfo, limits: Limits, keep_on: Callable[[], None]
    ) -> tuple[Model, TrialReport]:
        """Load and check. ``keep_on`` is called between runs and may raise.

        Raises ModelRefusedError (it must not run here), NotNowError (no memory now), OSError.
        """
        from edgepress_compression.artifact.probe import check_outputs

        load_runtime()  # its own memory is not the model's
        rss_before = _rss_bytes()
        model, probe, inputs = self._load(artifact, info, check_memory=True)
        keep_on()
        if inputs:
            difference = check_outputs(probe, model.run_uncounted(inputs))
            if difference is not None:
                raise ModelRefusedError(f"the model computes something else here: {difference}")
        keep_on()
        self._warm_up(model, inputs)
        keep_on()
        report = TrialReport(rss_bytes=max(0, _rss_bytes() - rss_before))
        _check_memory(report, limits)
        if inputs:
            p95_us, base_p95_us = _p95s_us(model, self._beside(model, inputs), inputs, keep_on)
            report.p95_us = round(p95_us)
            report.base_p95_us = None if base_p95_us is None else round(base_p95_us)
        _check_latency(report, limits)
        return model, report

    def _beside(self, model: Model, inputs: Arrays) -> Model | None:
        """The model that answers now, where it takes these inputs."""
        old = self.runtime.model()
        if old is None or old is model:
            return None
        try:
            old.check(inputs, None)
        except InferenceError:
            return None
        return old

    def start_shadow(self, artifact: Path, model: Model, shadow: Shadow) -> ShadowRun | None:
        """Let ``model`` answer beside the one that answers now; None where none does.

        Raises NotNowError without memory for the requests that wait, ModelRefusedError, OSError.
        """
        old = self.runtime.model()
        if old is None:
            return None
        _need_memory(QUEUE_MAX_BYTES + MEMORY_MARGIN_BYTES, "to run two models side by side")
        probe = read_header(artifact).probe
        run = ShadowRun(old, model, shadow, rtol=probe.rtol, atol=probe.atol)
        self._watch.shadow(run)
        return run

    def apply_delta(
        self, delta: Path, target: BinaryIO, info: SlotInfo, base: Path, base_info: SlotInfo
    ) -> None:
        """Write the model that ``delta`` makes of the base's; ``info`` says what must come out.

        Raises ModelRefusedError (this delta cannot be used here), NotNowError, OSError.
        """
        base_bytes = base_info.onnx_bytes if base_info.onnx_sha256 else read_header(base).onnx_bytes
        _need_memory(base_bytes + info.onnx_bytes // 2 + MEMORY_MARGIN_BYTES, "to apply this delta")
        onnx_model = read_base(base, base_info)
        apply_delta(
            delta, target, base=onnx_model, onnx_sha256=info.onnx_sha256 or "", onnx_bytes=info.onnx_bytes
        )

    def served(self) -> tuple[int, int]:
        """Requests that the model which answers now answered and failed since it was activated."""
        model = self.runtime.model()
        return (0, 0) if model is None else (model.meter.ever, model.meter.errors_ever)

    def activate(self, model: Model) -> None:
        # First watched, then asked: nothing that the model before saw is ever told of this one.
        self._watch.follow(model, self._baselines.get(model))
        self.runtime.switch(model)

    def deactivate(self) -> None:
        self._watch.follow(None)
        self.runtime.switch(None)

    def _load(self, artifact: Path, info: SlotInfo, *, check_memory: bool) -> tuple[Model, "Probe", Arrays]:
        # Here and not at the top: numpy's and the decoder's memory come with the first model.
        from edgepress_compression.artifact.probe import probe_inputs
        from edgepress_compression.artifact.read import read_file_header
        from edgepress_compression.codec import native
        from edgepress_compression.errors import ArtifactError

        if (slower := native.missing_reason()) is not None:
            log.warning("%s", slower)
        try:
            with artifact.open("rb") as file:
                header = read_file_header(file)
            if check_memory:
                _need_memory(2 * header.onnx_bytes + MEMORY_MARGIN_BYTES, "to load this model")
            inputs = probe_inputs(header.probe)
            target = artifact.with_name("decoded.onnx")  # one name: what a power cut leaves is written over
            with decoded_model(artifact, header.onnx_bytes, target) as onnx_model:
                session = open_session(onnx_model, self._threads)
        except ArtifactError as error:
            raise ModelRefusedError(f"the artifact cannot be read: {error}") from error
        except MemoryError as error:
            raise NotNowError("there is not enough memory to decode this model") from error
        model = Model(session, name=info.model, digest=info.digest)
        self.runtime.watch(model)
        baseline = _baseline(header)
        if baseline is not None:
            self._baselines[model] = baseline
        return model, header.probe, inputs

    def _warm_up(self, model: Model, inputs: Arrays) -> None:
        if inputs:
            for _ in range(WARM_UP_RUNS):
                model.run_uncounted(inputs)


def _baseline(header: "Header") -> "Baseline | None":
    """A model runs without one, too."""
    from edgepress_compression.artifact.baseline import read_baseline
    from edgepress_compression.errors import ArtifactError

    try:
        return read_baseline(header.baseline)
    except ArtifactError as error:
        log.warning("drift cannot be told: %s", error)
        return None


def runtime_threads(profile: DeviceProfile | None) -> int:
    """Threads that the runtime gets: the profile's, as far as this board has the cores."""
    cores = os.cpu_count() or 1
    return cores if profile is None else min(profile.threads, cores)


def check_room(folder: Path, artifact_bytes: int, have_bytes: int, unpacked_bytes: int = 0) -> None:
    """Whether an artifact can be fetched and unpacked now: disk for it, memory for twice it. Raises
    NotNowError.

    ``have_bytes``: what of it is on the disk already; ``unpacked_bytes``: the model that will lie beside
    it.
    """
    margin = max(DISK_MARGIN_BYTES, artifact_bytes // 10)  # the journal, telemetry and everybody else
    needed = artifact_bytes - have_bytes + unpacked_bytes + margin
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NotNowError(
            f"{needed} bytes of disk are needed for this artifact, {free} are"
            f" free: make room on the disk of {folder}"
        )
    _need_memory(2 * max(artifact_bytes, unpacked_bytes) + MEMORY_MARGIN_BYTES, "for this artifact")


@contextmanager
def decoded_model(artifact: Path, onnx_bytes: int, target: Path) -> Iterator[Path | bytes]:
    """The model as onnxruntime takes it: the file ``target``, or bytes where the disk has no room.

    What a delta was made into lies beside it and is taken as it is.

    Through a file only one copy of the model is ever in memory: onnxruntime's own. Raises ArtifactError,
    OSError.
    """
    from edgepress_compression.artifact.read import decode

    if decoded_path(artifact).exists():
        yield decoded_path(artifact)
    elif _decode_beside(artifact, onnx_bytes, target):
        try:
            yield target
        finally:
            target.unlink(missing_ok=True)
    else:
        yield decode(artifact.read_bytes(), max_bytes=onnx_bytes)


def _decode_beside(artifact: Path, onnx_bytes: int, target: Path) -> bool:
    """Whether the disk took the decoded model. Raises ArtifactError."""
    from edgepress_compression.artifact.read import decode_file

    if shutil.disk_usage(target.parent).free < onnx_bytes + DISK_MARGIN_BYTES:
        return False
    done = False
    try:
        with artifact.open("rb") as source, target.open("wb") as file:
            decode_file(source, file, max_bytes=onnx_bytes)
        done = True
    except OSError as error:
        log.warning("the model is decoded in memory, because %s: %s", target, error.strerror)
    finally:
        if not done and target.is_file():
            with suppress(OSError):  # a disk that takes nothing may not give anything back either
                target.unlink()
    return done


def _need_memory(needed: int, what: str) -> None:
    import psutil  # a megabyte, needed when a model is fetched or loaded

    available = int(psutil.virtual_memory().available)
    if available < needed:
        raise NotNowError(f"{needed} bytes of memory are needed {what}, {available} are available")


def _check_memory(report: TrialReport, limits: Limits) -> None:
    if limits.rss_bytes is not None and (report.rss_bytes or 0) > limits.rss_bytes:
        raise ModelRefusedError(
            f"it takes {report.rss_bytes} bytes of memory, the release allows {limits.rss_bytes}", report
        )


def _check_latency(report: TrialReport, limits: Limits) -> None:
    if limits.p95_us is None:
        return
    if report.p95_us is None:
        raise ModelRefusedError(
            "the release limits latency, but the artifact has no probe to measure with", report
        )
    if report.p95_us > limits.p95_us:
        raise ModelRefusedError(
            f"its 95th percentile latency is {report.p95_us} us, the release allows {limits.p95_us}", report
        )


def _p95s_us(
    model: Model, old: Model | None, inputs: Arrays, keep_on: Callable[[], None]
) -> tuple[float, float | None]:
    """95th percentiles of one inference, microseconds: the new model's and the old one's, run in turns."""
    new_us: list[float] = []
    old_us: list[float] = []
    began = time.monotonic()
    while len(new_us) < TRIAL_RUNS:
        keep_on()
        new_us.append(model.time_us(inputs))
        if old is not None:
            try:
                old_us.append(old.time_us(inputs))
            except ModelRefusedError:  # it is not judged here
                old, old_us = None, []
        if len(new_us) >= TRIAL_RUNS_MIN and time.monotonic() - began > TRIAL_SECONDS:
            break
    return _p95(new_us), _p95(old_us) if old_us else None


def _p95(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]  # nearest rank


def _rss_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)
