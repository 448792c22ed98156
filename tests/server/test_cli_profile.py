"""``edgepress profile``: look at profiles, begin one, check it, give it to a server."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgepress_devices.profile import load_profile, validate_profile
from edgepress_server.cli import profile as profile_group
from edgepress_server.cli.main import edgepress
from edgepress_server.cli.profile_here import tables_here

PI = ("new", "pi-4-2gb", "--inherits", "raspberry-pi-4")


def run(*words: str) -> Result:
    done = CliRunner().invoke(edgepress, ["profile", *words])
    assert "Traceback" not in done.output
    return done


def test_show_tells_each_number_with_its_source_and_basis() -> None:
    said = run("show", "raspberry-pi-4").stdout
    (line,) = (line for line in said.splitlines() if line.startswith("compute.fp32.gflops"))
    assert line.split()[1:3] == ["48", "derived"]
    assert "4 cores x 1.5 GHz x 8 FLOP/cycle. clock: product brief" in line
    assert json.loads(run("show", "raspberry-pi-4", "--json").stdout)["layout"]["preferred"] == "nchw"


def test_an_unknown_profile_is_answered_with_close_names_and_the_servers() -> None:
    done = run("show", "raspberry-pi4")
    assert done.exit_code == 1
    assert "did you mean raspberry-pi-4" in done.stderr and "--server" in done.stderr


def test_a_new_profile_asks_for_the_source_of_what_was_set(tmp_path: Path) -> None:
    out = tmp_path / "mine.toml"
    done = run(*PI, "--set", "memory.ram_mib=2048", "--set", "memory.usable.mib=1024", "-o", str(out))
    assert done.exit_code == 0
    assert "to do: memory.source" in done.stderr and "look them up" in done.stderr
    assert run("validate", str(out)).exit_code == 1
    text = out.read_text()
    assert "ram_mib = 2048  # there: 4096" in text
    assert "# gflops = 48.0" in text, "what is taken over is listed"
    out.write_text(text.replace('source = ""', 'source = "the label on the board"'))
    done = run("validate", str(out))
    assert (done.exit_code, done.stdout) == (0, f"{out}: a profile, and nothing looks odd\n")
    assert load_profile(out).ram_mib == 2048


def test_a_source_given_with_the_figures_leaves_nothing_to_do() -> None:
    more = ("--set", "memory.ram_mib=2048", "--set", "memory.usable.mib=1024")
    done = run(*PI, *more, "--source", "the label on the board", "--basis", "datasheet", "--name", "Small Pi")
    assert done.stderr == ""
    assert validate_profile(done.stdout) == []
    assert tomllib.loads(done.stdout)["name"] == "Small Pi"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("new", "My Board", "--inherits", "x86-pc"), "lower-case"),
        (("new", "board"), "--inherits"),
        (("new", "board", "--inherits", "x86-ps"), "did you mean x86-pc"),
        (("new", "board", "--inherits", "x86-pc", "--set", "memory"), "memory.ram_mib=2048"),
        (("new", "board", "--inherits", "x86-pc", "--set", "a=1", "--set", "a.b=2"), "set as a value"),
        (("validate", "/no/such/file.toml"), "no such file"),
    ],
)
def test_what_cannot_be_begun_is_said_in_a_sentence(words: tuple[str, ...], says: str) -> None:
    done = run(*words)
    assert done.exit_code in (1, 2)
    assert says in done.stderr


def test_validate_tells_all_problems_of_all_files(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text('id = "good"\nname = "good"\ninherits = "x86-pc"\n')
    bad.write_text('id = "bad"\ninherits = "good"\n[cpu]\nclock = 3\nthreads = 99\n')
    done = run("validate", str(good), str(bad))
    assert done.exit_code == 1
    for what in ("error: name:", "error: cpu.clock:", "error: cpu.threads:", "warning: compute:"):
        assert what in done.stdout
    found = json.loads(run("validate", str(good), str(bad), "--json").stdout)
    assert found[str(good)] == [] and len(found[str(bad)]) >= 4


def cpuinfo(root: Path, text: str) -> None:
    for path, content in {
        "proc/cpuinfo": text,
        "proc/sys/kernel/arch": "aarch64\n",
        "proc/device-tree/model": "Orange Board 5\0",
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1800000\n",
        "sys/devices/system/cpu/cpu4/cpufreq/cpuinfo_max_freq": "2400000\n",
        "sys/devices/system/cpu/cpu0/cache/index0/level": "1\n",
        "sys/devices/system/cpu/cpu0/cache/index0/type": "Data\n",
        "sys/devices/system/cpu/cpu0/cache/index0/size": "32K\n",
        "sys/devices/system/cpu/cpu0/cache/index1/level": "1\n",
        "sys/devices/system/cpu/cpu0/cache/index1/type": "Instruction\n",
        "sys/devices/system/cpu/cpu0/cache/index1/size": "64K\n",
        "sys/devices/system/cpu/cpu0/cache/index2/level": "2\n",
        "sys/devices/system/cpu/cpu0/cache/index2/type": "Unified\n",
        "sys/devices/system/cpu/cpu0/cache/index2/size": "128K\n",
        "sys/devices/system/cpu/cpu4/cache/index2/level": "2\n",
        "sys/devices/system/cpu/cpu4/cache/index2/type": "Unified\n",
        "sys/devices/system/cpu/cpu4/cache/index2/size": "512K\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)


def test_what_a_board_tells_about_itself(tmp_path: Path) -> None:
    cpuinfo(tmp_path, "processor : 0\nFeatures : fp asimd asimdhp asimddp\n")
    read = tables_here(tmp_path)
    assert read["cpu"]["model"] == "Orange Board 5"
    assert read["cpu"]["isa"] == "128-bit NEON, dot product, half-precision arithmetic"
    assert (read["cpu"]["clock_mhz"], read["cpu"]["basis"]) == (2400, "measured")
    cache = read["memory"]["cache"]
    assert (cache["l1d_bytes"], cache["l2_bytes"], cache["l3_bytes"]) == (32_768, 655_360, "none")
    cores = read["cpu"]["cores"]
    assert read["compute"]["int8"]["gops"] == pytest.approx(cores * 2.4 * 64)
    assert {table["basis"] for table in read["compute"].values()} == {"estimate"}


def test_a_machine_of_another_kind_is_said(tmp_path: Path) -> None:
    cpuinfo(tmp_path, "")
    (tmp_path / "proc/sys/kernel/arch").write_text("riscv64\n")
    with pytest.raises(ValueError, match="riscv64"):
        tables_here(tmp_path)


def test_a_file_that_somebody_filled_in_is_not_written_over(tmp_path: Path) -> None:
    out = tmp_path / "mine.toml"
    out.write_text("# hours of work")
    done = run(*PI, "-o", str(out))
    assert done.exit_code == 1 and "is there already" in done.output
    assert out.read_text() == "# hours of work"


def test_a_profile_of_this_machine_is_valid_at_once(tmp_path: Path) -> None:
    out = tmp_path / "here.toml"
    done = run("new", "this-machine", "--here", "-o", str(out))
    if "Name a profile with --inherits" in done.stderr:
        pytest.skip("this machine is of a kind that no profile fits")
    assert [p for p in validate_profile(out.read_text()) if p.level == "error"] == []


class FakeApi:
    """Remembers what was asked; answers as the server does."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.stored: dict[str, str] = {}

    def get(self, path: str) -> Any:
        self.asked.append(("GET", path))
        return {"origin": "override"} if path != "/profiles" else []

    def put(self, path: str, body: dict[str, str]) -> Any:
        self.asked.append(("PUT", path))
        self.stored[path] = body["toml"]
        return {"origin": "own"}

    def delete(self, path: str) -> None:
        self.asked.append(("DELETE", path))


def test_put_and_delete_go_by_the_id_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeApi()
    monkeypatch.setattr(profile_group, "api", lambda url, token: server)
    file = tmp_path / "anything.toml"
    file.write_text('id = "pi-4-2gb"\n')
    assert "Stored pi-4-2gb" in run("put", str(file)).stdout
    assert server.stored == {"/profiles/pi-4-2gb": 'id = "pi-4-2gb"\n'}
    assert "as it ships again" in run("delete", "raspberry-pi-4", "--yes").stdout
    assert server.asked[-2:] == [("GET", "/profiles/raspberry-pi-4"), ("DELETE", "/profiles/raspberry-pi-4")]
    file.write_text("name = 1")
    assert "states no id" in run("put", str(file)).stderr
