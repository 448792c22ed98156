"""The child process that measures: ``python -m edgepress_agent.profile_child``. See profile_process.

It reads its task from standard input, holds one net in memory at a time, and writes lines to standard output.
"""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psutil

from edgepress_agent.engine import DISK_MARGIN_BYTES, MEMORY_MARGIN_BYTES, decoded_model
from edgepress_agent.errors import ModelRefusedError, ProfilingError
from edgepress_agent.profile_process import LINE_MAX_BYTES, ProfileLine, ProfileTask
from edgepress_agent.runtime import Arrays, load_runtime, open_session, runtime_errors
from edgepress_devices.microbench.board_look import BoardLook
from edgepress_devices.microbench.nets import FORMS
from edgepress_devices.microbench.report import MODEL_NET, calibration_nets, make_report, reference_net
from edgepress_devices.microbench.session_runner import SessionRunner
from edgepress_devices.microbench.timing import Candidate, CannotRunError, Runner, time_nets
from edgepress_devices.protocol import ProfilingReport

if TYPE_CHECKING:
    import onnxruntime

MEMORY_PER_NET_BYTE: Final = 3  # the file, the runtime's copy, and its packed weights
OOM_SCORE: Final = "1000"  # the first to go when the board's memory is gone: a measurement, not the agent


def main() -> None:
    task = msgspec.json.decode(sys.stdin.buffer.readline(LINE_MAX_BYTES), type=ProfileTask)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _offer_to_die()
    try:
        said = ProfileLine(report=measure(task, progress=lambda percent: _say(ProfileLine(percent=percent))))
    except (ProfilingError, ModelRefusedError) as error:
        said = ProfileLine(failed=str(error)[:500])
    except MemoryError:
        said = ProfileLine(failed="the board has too little memory to measure this")
    except OSError as error:
        said = ProfileLine(failed=f"the state folder cannot be used: {error.strerror or error}"[:500])
    _say(said)
    os._exit(0)  # the runtime's threads are not waited for


def measure(task: ProfileTask, *, progress: Callable[[int], None] = lambda percent: None) -> ProfilingReport:
    """Do a task in this process. Raises ProfilingError, ModelRefusedError, OSError."""
    import onnxruntime

    load_runtime()
    empty_bytes = _rss_bytes()
    sessions = _Sessions(task)
    look = BoardLook()
    try:
        if task.what == "model":
            candidates = [Candidate(MODEL_NET, "", sessions.opens_artifact())]
        else:
            forms = tuple(form for form in FORMS if form in task.forms)
            candidates = calibration_nets(sessions.open, forms)
            if task.nets is not None:
                candidates = [row for row in candidates if row.net in task.nets]
        timed = time_nets(
            candidates,
            seconds=task.seconds,
            reference=reference_net(sessions.open),
            look=look.look,
            progress=progress,
        )
    finally:
        look.close()
        sessions.close()
    if not timed.nets:
        reasons = "; ".join(sorted({row.reason for row in timed.skipped}))
        raise ProfilingError(f"nothing could be measured: {reasons}"[:500])
    return make_report(
        timed,
        job_id=task.id,
        what=task.what,
        runtime=f"onnxruntime {onnxruntime.__version__}",
        threads=task.threads,
        digest=task.digest,
        rss_bytes=sessions.most_bytes if task.what == "model" else None,
        runtime_rss_bytes=empty_bytes,
    )


class _Sessions:
    """onnxruntime sessions as the agent serves with; their profiles go to the task's folder."""

    def __init__(self, task: ProfileTask) -> None:
        self.most_bytes = 0  # resident, just before a net was closed
        self._task = task
        self._errors = runtime_errors()
        self._stack = ExitStack()

    def open(self, onnx_model: bytes, profile: bool) -> Runner:
        """A calibration net on inputs of one half. Raises CannotRunError."""
        import numpy as np

        self._need_memory(MEMORY_PER_NET_BYTE * len(onnx_model) + MEMORY_MARGIN_BYTES)
        session = self._session(onnx_model, profile)
        feeds = {value.name: np.full(value.shape, 0.5, np.float32) for value in session.get_inputs()}
        return self._runner(session, feeds, profile)

    def opens_artifact(self) -> Callable[[bool], Runner]:
        """Opens the task's artifact, decoded once, on its probe's inputs.

        Raises ModelRefusedError, ProfilingError, OSError.
        """
        from edgepress_compression.artifact.probe import probe_inputs
        from edgepress_compression.artifact.read import read_file_header
        from edgepress_compression.errors import ArtifactError

        artifact = Path(self._task.artifact or "")
        try:
            with artifact.open("rb") as file:
                header = read_file_header(file)
            inputs: Arrays = probe_inputs(header.probe)
            if not inputs:
                raise ProfilingError("the artifact has no probe inputs to run it with")
            available = int(psutil.virtual_memory().available)
            needed = 2 * header.onnx_bytes + MEMORY_MARGIN_BYTES
            if available < needed:
                raise ProfilingError(
                    f"{needed} bytes of memory are needed to measure this model beside the one that answers,"
                    f" {available} are available"
                )
            target = Path(self._task.scratch) / "decoded.onnx"
            model = self._stack.enter_context(decoded_model(artifact, header.onnx_bytes, target))
        except ArtifactError as error:
            raise ModelRefusedError(f"the artifact cannot be read: {error}") from error
        return lambda profile: self._runner(self._session(model, profile), inputs, profile)

    def close(self) -> None:
        self._stack.close()

    def _session(self, onnx_model: bytes | Path, profile: bool) -> "onnxruntime.InferenceSession":
        prefix = Path(self._task.scratch) / "profile" if profile else None
        if profile and psutil.disk_usage(self._task.scratch).free < DISK_MARGIN_BYTES:
            raise ProfilingError(f"{DISK_MARGIN_BYTES} bytes of disk are needed for the runtime's profile")
        try:
            return open_session(onnx_model, self._task.threads, profile_prefix=prefix)
        except ModelRefusedError as error:
            raise CannotRunError(str(error)) from error

    def _runner(self, session: Any, feeds: Arrays, profile: bool) -> Runner:
        return SessionRunner(session, feeds, profiled=profile, errors=self._errors, closing=self._weigh)

    def _weigh(self) -> None:
        self.most_bytes = max(self.most_bytes, _rss_bytes())

    def _need_memory(self, needed: int) -> None:
        available = int(psutil.virtual_memory().available)
        if available < needed:
            raise CannotRunError(
                f"{needed} bytes of memory are needed for this net, {available} are available"
            )


def _end_with_parent() -> None:
    """The agent never writes again; when it is gone, however it went, this is the end."""
    sys.stdin.buffer.read(1)
    os._exit(1)


def _offer_to_die() -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE, encoding="ascii")
    except OSError:
        pass  # not Linux: the kernel chooses as it likes


def _say(line: ProfileLine) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def _rss_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main()
