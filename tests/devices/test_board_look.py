"""Looking at a board between two visits: its clock, and what everybody else used of its processor."""

from pathlib import Path

import pytest

from edgepress_devices.microbench.board_look import BoardLook
from edgepress_devices.sensors.clock_rate import ClockRate


def write(root: Path, path: str, text: str) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def frequency(root: Path, cpu: int, khz: str) -> None:
    write(root, f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq", khz)


CPUINFO = "processor\t: 0\ncpu MHz\t\t: 2596.130\n\nprocessor\t: 1\ncpu MHz\t\t: 2601.5\n"


def test_the_clock_is_that_of_the_fastest_core(tmp_path: Path) -> None:
    for cpu, khz in enumerate(("600000\n", "1800000\n", "1500000\n")):
        frequency(tmp_path, cpu, khz)
    assert ClockRate(tmp_path).mhz() == 1800.0


def test_a_machine_without_cpufreq_tells_it_in_cpuinfo(tmp_path: Path) -> None:
    write(tmp_path, "proc/cpuinfo", CPUINFO)
    assert ClockRate(tmp_path).mhz() == 2601.5


@pytest.mark.parametrize("khz", ["", "<unknown>\n", "0\n", "-1\n", "99999999999\n"])
def test_a_clock_that_is_none_is_absent(tmp_path: Path, khz: str) -> None:
    frequency(tmp_path, 0, khz)
    assert ClockRate(tmp_path).mhz() is None


def test_a_board_that_tells_nothing_has_no_clock(tmp_path: Path) -> None:
    assert ClockRate(tmp_path).mhz() is None


def test_what_this_process_used_is_not_held_against_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    times = {"now_s": 0.0, "used_s": 0.0}
    write(tmp_path, "proc/stat", "cpu  0 0 0 0 0 0 0 0 0 0\n")
    board = BoardLook(tmp_path, clock=lambda: times["now_s"], cpu_clock=lambda: times["used_s"])
    # Ten seconds of four cores: 3000 of 4000 ticks busy, 20 of the 30 busy seconds ours.
    times.update(now_s=10.0, used_s=20.0)
    write(tmp_path, "proc/stat", "cpu  3000 0 0 1000 0 0 0 0 0 0\n")
    seen = board.look()
    assert seen.other_cpu_percent == pytest.approx(25.0)
    assert seen.power_mw is None  # nothing here measures it, and nothing guesses
    board.close()
