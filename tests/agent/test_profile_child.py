"""The measuring child process: it measures for real, dies alone, and dies with its agent."""

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from small_models import artifact

from edgepress_agent import profile_process
from edgepress_agent.errors import ProfilingError
from edgepress_agent.profile_by_hand import describe_report, measure_by_hand
from edgepress_agent.profile_process import ProfileProcess, ProfileTask

DIGEST = "d" * 64


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def task(scratch: Path, **fields: Any) -> ProfileTask:
    nets = ("perceptron-1", "plain-32", "separable-49")
    return msgspec.structs.replace(ProfileTask("job-1", "device", 2.0, 1, str(scratch), nets=nets), **fields)


def model_task(scratch: Path, artifact_path: Path, **fields: Any) -> ProfileTask:
    path = str(artifact_path)
    return task(scratch, what="model", nets=None, artifact=path, digest=DIGEST, seconds=1.0, **fields)


def measured(made: ProfileTask) -> Any:
    percents: list[int] = []
    report = ProfileProcess(made).wait(percents.append)
    assert percents and percents == sorted(percents)
    return report


def test_three_nets_in_two_forms_are_measured_within_the_time(tmp_path: Path) -> None:
    report = measured(task(tmp_path, forms=("fp32", "u8")))
    asked = {(net, form) for net in ("perceptron-1", "plain-32", "separable-49") for form in ("fp32", "u8")}
    told = {(row.net, row.form) for row in report.nets}
    assert told and told <= asked
    assert told | {(row.net, row.form) for row in report.skipped} == asked
    assert report.seconds < 3.0
    assert report.runtime.startswith("onnxruntime ") and report.threads == 1
    assert report.runtime_rss_bytes > 10 << 20
    for row in report.nets:
        kernels = [kernel for kernel in report.kernels if (kernel.net, kernel.form) == (row.net, row.form)]
        assert kernels
        # Whole nets and their kernels are timed in different runs of one session: they add up, roughly.
        assert 0.2 * row.p50_us < sum(kernel.mean_us for kernel in kernels) < 5 * row.p50_us + 50
    assert [path.name for path in tmp_path.iterdir()] == ["stderr.log"]  # the runtime's profiles are gone


def test_an_artifact_is_measured_on_its_probe(tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    path.write_bytes(artifact(2.0, ballast_bytes=400_000))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    report = measured(model_task(scratch, path))
    [row] = report.nets
    assert (row.net, row.form, report.digest, report.what) == ("", "", DIGEST, "model")
    assert {kernel.op_type for kernel in report.kernels} >= {"Mul"}
    assert report.rss_bytes > report.runtime_rss_bytes
    assert not (scratch / "decoded.onnx").exists()


BAD_ARTIFACTS = [
    ("a file that is none", b"not an artifact", "the artifact cannot be read"),
    ("an empty file", b"", "the artifact cannot be read"),
]


@pytest.mark.parametrize(("what", "data", "words"), BAD_ARTIFACTS, ids=[row[0] for row in BAD_ARTIFACTS])
def test_a_bad_artifact_fails_with_words(tmp_path: Path, what: str, data: bytes, words: str) -> None:
    path = tmp_path / "artifact"
    path.write_bytes(data)
    with pytest.raises(ProfilingError, match=words):
        ProfileProcess(model_task(tmp_path, path)).wait(lambda _percent: None)


def test_an_artifact_that_is_gone_fails_with_words(tmp_path: Path) -> None:
    with pytest.raises(ProfilingError, match="No such file"):
        ProfileProcess(model_task(tmp_path, tmp_path / "gone")).wait(lambda _percent: None)


def test_what_kills_it_is_told(tmp_path: Path) -> None:
    process = ProfileProcess(task(tmp_path, seconds=60.0))
    began = threading.Event()

    def kill() -> None:
        began.wait(30)
        psutil.Process(process.pid).send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ProfilingError, match="ran out of memory"):
        process.wait(lambda _percent: began.set())
    killer.join()


def test_a_hang_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile_process, "START_S", -65.0)  # 1.1 * 60 s - 65 s: one second
    with pytest.raises(ProfilingError, match="hung"):
        ProfileProcess(task(tmp_path, seconds=60.0)).wait(lambda _percent: None)


def test_a_child_that_talks_nonsense_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "child.sh"
    program.write_text("#!/bin/sh\necho '{\"percent\": 4000}'\nsleep 60\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ProfilingError, match="said what it must not"):
        ProfileProcess(task(tmp_path)).wait(lambda _percent: None)


def test_a_crash_at_the_start_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "child.sh"
    program.write_text("#!/bin/sh\necho 'libgomp cannot be loaded' >&2\nexit 3\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ProfilingError, match=r"exit status 3\): libgomp cannot be loaded"):
        ProfileProcess(task(tmp_path)).wait(lambda _percent: None)


def test_it_ends_when_its_agent_is_killed(tmp_path: Path) -> None:
    """kill -9 of the agent leaves nobody who would end its child: the closed pipe does."""
    program = (
        "import sys, msgspec\n"
        "from edgepress_agent.profile_process import ProfileProcess, ProfileTask\n"
        "process = ProfileProcess(msgspec.json.decode(sys.argv[1], type=ProfileTask))\n"
        "process.wait(lambda percent: print(process.pid, flush=True))\n"
    )
    spec = msgspec.json.encode(task(tmp_path, seconds=60.0)).decode()
    agent = subprocess.Popen([sys.executable, "-c", program, spec], stdout=subprocess.PIPE)
    assert agent.stdout is not None
    child = psutil.Process(int(agent.stdout.readline()))
    agent.kill()
    agent.wait()
    agent.stdout.close()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_closed_input_ends_it_though_somebody_still_listens(tmp_path: Path) -> None:
    process = ProfileProcess(task(tmp_path, seconds=60.0))

    def close_input(_percent: int) -> None:
        stdin = process._process.stdin
        if stdin is not None:
            stdin.close()

    with pytest.raises(ProfilingError, match="exit status 1"):
        process.wait(close_input)


def test_a_board_can_be_measured_by_hand_without_a_server(tmp_path: Path) -> None:
    with pytest.raises(ProfilingError, match="no model is installed"):
        measure_by_hand(tmp_path, seconds=5, model=True, profile_id=None)
    with pytest.raises(ProfilingError, match="no device profile"):
        measure_by_hand(tmp_path, seconds=5, model=False, profile_id="nothing")


def test_a_report_reads_as_a_table(tmp_path: Path) -> None:
    report = measured(task(tmp_path, seconds=1.0, nets=("perceptron-1",)))
    text = describe_report(report)
    assert "perceptron-1  fp32" in text
    assert "slowest kernels" in text
    assert "resident with the runtime alone" in text
