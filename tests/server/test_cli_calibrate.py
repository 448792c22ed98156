"""``edgepress profile calibrate``: what can be asked together, and the file that --here writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from planted_device import planted
from profiling_story import calibration

from edgepress_compression.calibrate import here
from edgepress_devices.profile import DeviceProfile, load_profile
from edgepress_devices.protocol import ProfilingReport
from edgepress_server.cli import calibrate_here
from edgepress_server.cli.calibrate_here import calibrated_toml
from edgepress_server.cli.main import edgepress
from edgepress_server.store.profiling import ProfilingJobRow


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(edgepress, ["profile", *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception  # which a person would see as a stack trace
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["calibrate", "x86-pc"], "name devices with --device NAME"),
        (["calibrate", "x86-pc", "--here", "--device", "pi"], "--here measures this machine"),
        (["calibrate", "x86-pc", "--device", "pi", "-o", "x.toml"], "-o belongs to --here"),
        (["calibrate", "x86-pc", "--device", "pi", "--seconds", "2"], "5<=x<=600"),
        (["calibrate", "x87-pc", "--here"], "x86-pc"),
        (["calibrate", "x86-pc", "--here", "-o", "no/such/folder/x.toml"], "does not exist; create it first"),
        (["calibration", "x86-pc", "--history", "--revert"], "give one of them"),
    ],
)
def test_what_does_not_go_together_is_said(words: list[str], said: str) -> None:
    status, output = run(*words)
    assert status != 0 and said in output


def test_the_written_profile_stands_on_the_one_that_was_measured_for(tmp_path: Path) -> None:
    path = tmp_path / "calibrated.toml"
    path.write_text(calibrated_toml(load_profile("x86-pc"), calibration(0.08)))
    found = load_profile(path)
    assert (found.id, found.inherits, found.calibration) == (
        "x86-pc-calibrated",
        "x86-pc",
        calibration(0.08),
    )
    assert found.memory == load_profile("x86-pc").memory


def test_a_machine_of_another_kind_says_nothing_about_a_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate_here, "machine_kind", lambda root: "x86_64")
    status, output = run("calibrate", "raspberry-pi-4", "--here")
    assert status == 1
    assert "this machine is x86_64 and raspberry-pi-4 is aarch64" in output
    assert "profile new NAME --here" in output


def test_this_machine_is_measured_fitted_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ProfilingJobRow(
        "here", "here", "device", None, 30, 1, "running", 0, "", None, 0, 0, None, None, None, None
    )

    def measured(profile: DeviceProfile, seconds: float, **_: object) -> ProfilingReport:
        assert (profile.id, seconds) == ("x86-pc", 20)
        return planted(job)

    monkeypatch.setattr(here, "calibrate_here", measured)
    monkeypatch.setattr(calibrate_here, "machine_kind", lambda root: "x86_64")
    out = tmp_path / "calibrated.toml"
    status, output = run("calibrate", "x86-pc", "--here", "--seconds", "20", "-o", str(out))
    assert status == 0, output
    assert "pointwise nchwc fp32" in output and "Gop/s" in output
    assert "nets left out of the fit: median error" in output
    assert load_profile(out).calibration is not None
