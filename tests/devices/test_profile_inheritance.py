"""Inheritance: a Pi 4 with 2 GB is a Pi 4, and no number ever wears another number's source."""

import copy
import tomllib
from itertools import pairwise
from typing import Any

import pytest

from edgepress_devices.inheritance import MAX_STEPS, shipped_text, with_inherited
from edgepress_devices.profile import (
    DeviceProfile,
    InvalidProfile,
    Problem,
    load_profile,
    profile_from_text,
    validate_profile,
)

TWO_GB = """
id = "pi-4-2gb"
name = "Raspberry Pi 4 Model B (2 GB)"
inherits = "raspberry-pi-4"

[memory]
ram_mib = 2048
basis = "datasheet"
source = "Raspberry Pi 4 Model B product brief: the 2 GB board"

[memory.usable]
mib = 1024
basis = "estimate"
source = "half of the memory"
"""


def errors(text: str, **profiles: str) -> list[Problem]:
    found = validate_profile(text, lambda name: profiles.get(name) or shipped_text(name))
    return [problem for problem in found if problem.level == "error"]


def test_a_pi_4_with_2_gb_is_a_pi_4() -> None:
    small, pi = profile_from_text(TWO_GB, "pi"), load_profile("raspberry-pi-4")
    assert (small.id, small.inherits) == ("pi-4-2gb", "raspberry-pi-4")
    assert (small.ram_mib, small.usable_mib) == (2048, 1024)
    assert small.memory.source.endswith("the 2 GB board")
    assert small.memory.kind == pi.memory.kind
    assert (small.cpu, small.compute, small.power, small.layout) == (pi.cpu, pi.compute, pi.power, pi.layout)
    assert small.memory.bandwidth == pi.memory.bandwidth


def test_no_number_takes_over_the_source_of_another() -> None:
    for line in ("basis", "source"):
        text = "\n".join(row for row in TWO_GB.splitlines() if not row.startswith(f"{line} = "))
        found = errors(text)
        assert [problem.path for problem in found] == ["memory", "memory.usable"]
        assert all(line in problem.fix for problem in found)


def test_numbers_of_two_places_in_one_table_name_both_sources() -> None:
    text = 'id = "a"\nname = "a"\ninherits = "raspberry-pi-4"\n[cpu]\nthreads = 2\n'
    text += 'basis = "estimate"\nsource = "the camera has the other two"\n'
    cpu = profile_from_text(text, "a").cpu
    assert cpu.source.startswith("threads: the camera has the other two; cores, clock_mhz: Raspberry Pi 4 Mo")
    assert cpu.basis == "estimate", "the weaker of the two: estimate and datasheet"
    measured = profile_from_text(text.replace("estimate", "measured"), "a").cpu
    assert measured.basis == "datasheet", "the clock was not measured"
    whole = text.replace("threads = 2", "threads = 2\ncores = 2\nclock_mhz = 1500")
    assert profile_from_text(whole, "a").cpu.source == "the camera has the other two"


def test_arithmetic_stays_with_the_number_it_gave() -> None:
    text = 'id = "a"\nname = "a"\ninherits = "raspberry-pi-4"\n[compute.fp32]\ngflops = 40.0\n'
    text += 'basis = "measured"\nsource = "our own measurement"\n'
    assert profile_from_text(text, "a").compute.fp32.arithmetic is None
    derived = text.replace("measured", "derived")
    assert [problem.path for problem in errors(derived)] == ["compute.fp32.arithmetic"]


def test_a_choice_that_changes_gives_its_own_reason() -> None:
    text = 'id = "a"\nname = "a"\ninherits = "raspberry-pi-4"\n[fp16]\nsupported = true\n'
    text += "[compute.fp16]\ngflops = 96.0\nbasis = 'estimate'\nsource = 'twice fp32'\n"
    (only,) = errors(text)
    assert only.path == "fp16" and "reason" in only.fix
    reasoned = text.replace("supported = true", "supported = true\nreason = 'tried'")
    assert profile_from_text(reasoned, "a").fp16.supported


@pytest.mark.parametrize("missing", ["id", "name"])
def test_id_and_name_are_never_taken_over(missing: str) -> None:
    text = "\n".join(row for row in TWO_GB.splitlines() if not row.startswith(f"{missing} = "))
    assert [problem.path for problem in errors(text)] == [missing]


def test_none_takes_away_what_is_optional() -> None:
    text = """
id = "orin-headless"
name = "Orin without its GPU"
inherits = "jetson-orin-nano"
gpu = "none"
[runtime]
providers = ["CPUExecutionProvider"]
reason = "this build has no CUDA"
[fp16]
supported = false
reason = "the CPU provider has few fp16 kernels"
[layout]
preferred = "nchw"
reason = "the CPU provider on Arm"
"""
    profile = profile_from_text(text, "orin")
    assert profile.gpu is None
    assert profile.providers == ["CPUExecutionProvider"]
    without = text.replace('gpu = "none"', 'gpu = "none"\ncompute.int8 = "none"')
    assert [problem.path for problem in errors(without)] == ["int8.activations"]  # it says s8 runs fast


def chain(length: int) -> dict[str, str]:
    """p1 inherits p2 inherits ... inherits the shipped Pi."""
    names = [f"p{number}" for number in range(1, length + 1)] + ["raspberry-pi-4"]
    return {
        name: f'id = "{name}"\nname = "{name}"\ninherits = "{parent}"\n' for name, parent in pairwise(names)
    }


def test_a_chain_may_have_four_steps_and_no_more() -> None:
    longest = chain(MAX_STEPS)
    assert errors(longest["p1"], **longest) == []
    (problem,) = errors(chain(MAX_STEPS + 1)["p1"], **chain(MAX_STEPS + 1))
    assert problem.path == "inherits" and "more than 4 steps" in problem.message


@pytest.mark.parametrize(
    ("what", "profiles", "circle"),
    [
        ("itself", {"a": "a"}, "a profile cannot stand on itself"),
        ("two", {"a": "b", "b": "a"}, "a inherits b inherits a"),
        ("a circle further up", {"a": "b", "b": "c", "c": "b"}, "b inherits c inherits b"),
        (
            "an override whose parent stands on the override",
            {"raspberry-pi-4": "a", "a": "raspberry-pi-4"},
            "raspberry-pi-4 inherits a inherits raspberry-pi-4",
        ),
    ],
)
def test_a_circle_is_refused_by_name(what: str, profiles: dict[str, str], circle: str) -> None:
    texts = {
        name: f'id = "{name}"\nname = "{what}"\ninherits = "{parent}"\n' for name, parent in profiles.items()
    }
    (problem,) = errors(next(iter(texts.values())), **texts)
    assert problem.path == "inherits" and circle in problem.message


def test_an_override_stands_on_the_shipped_profile_of_its_own_id() -> None:
    override = TWO_GB.replace('"pi-4-2gb"', '"raspberry-pi-4"')
    assert profile_from_text(override, "pi", lambda name: override).ram_mib == 2048
    mine = 'id = "mine"\nname = "mine"\ninherits = "raspberry-pi-4"\n'
    others = profile_from_text(mine, "mine", lambda name: override)
    assert others.ram_mib == 2048, "others stand on the override"


def test_an_unknown_parent_is_answered_with_the_closest_name() -> None:
    (problem,) = errors(TWO_GB.replace('"raspberry-pi-4"', '"raspbery-pi-4"'))
    assert problem.path == "inherits" and "did you mean raspberry-pi-4" in problem.fix


def test_a_mistake_in_a_parent_is_said_of_the_parent() -> None:
    broken = TWO_GB.replace('basis = "datasheet"\n', "", 1)
    child = 'id = "child"\nname = "child"\ninherits = "pi-4-2gb"\n'
    (problem,) = errors(child, **{"pi-4-2gb": broken})
    assert problem.path == "inherits" and "'pi-4-2gb'" in problem.message and "basis" in problem.message


def test_a_file_inherits_from_a_file_beside_it(tmp_path: Any) -> None:
    (tmp_path / "base.toml").write_text(TWO_GB.replace('"pi-4-2gb"', '"base"'))
    child = tmp_path / "child.toml"
    child.write_text('id = "child"\nname = "child"\ninherits = "base"\n')
    assert load_profile(child).ram_mib == 2048
    child.write_text('id = "child"\nname = "child"\ninherits = "../base"\n')
    with pytest.raises(InvalidProfile, match="no profile"):
        load_profile(child)


CALIBRATED = {"anything": {"fitted": 1.0}}


@pytest.mark.parametrize(
    ("what", "lines", "kept"),
    [
        ("another name", "", True),
        ("other power", '[power]\nidle_mw = 2000\nsource = "our meter"\nbasis = "measured"', True),
        ("other words about memory", '[memory]\nkind = "LPDDR4"', True),
        ("other memory", '[memory]\nram_mib = 2048\nsource = "the label"\nbasis = "measured"', False),
        ("fewer threads", '[cpu]\nthreads = 2\nsource = "the label"\nbasis = "measured"', False),
        ("another runtime", '[runtime]\nproviders = ["x"]\nreason = "other"', False),
        ("another peak", '[compute.fp32]\ngflops = 1.0\nsource = "the label"\nbasis = "measured"', False),
        ("its own", "[calibration.anything]\nfitted = 1.0", True),
    ],
)
def test_a_calibration_is_taken_over_only_by_a_profile_that_runs_alike(
    what: str, lines: str, kept: bool
) -> None:
    parent = shipped_text("raspberry-pi-4") or ""
    parent += "\n[calibration.anything]\nfitted = 1.0\n"
    table = tomllib.loads(f'id = "a"\nname = "{what}"\ninherits = "base"\n{lines}')
    before = copy.deepcopy(table)
    merged, problems = with_inherited(table, lambda name: parent)
    assert problems == [] and table == before, "the caller's table stays as it is"
    assert merged.get("calibration") == (CALIBRATED if kept else None)


def test_peaks_taken_over_to_another_clock_are_pointed_out() -> None:
    text = 'id = "a"\nname = "a"\ninherits = "raspberry-pi-4"\n[cpu]\nclock_mhz = 1800\n'
    text += 'basis = "datasheet"\nsource = "firmware of 2021"\n'
    (warning,) = validate_profile(text)
    assert (warning.level, warning.path) == ("warning", "compute")
    assert "[compute.fp32]" in warning.fix
    assert isinstance(profile_from_text(text, "a"), DeviceProfile), "a warning stops nobody"
