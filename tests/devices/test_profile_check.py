"""Validation: everything that is wrong at once, with the field and what to do; and never another error."""

import re
import tomllib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_devices.calibration import Calibration, Correction, CrossValidation, KindFit
from edgepress_devices.inheritance import shipped_text
from edgepress_devices.profile import (
    DeviceProfile,
    InvalidProfile,
    Problem,
    list_profiles,
    profile_from_text,
    shipped_ids,
    validate_profile,
)
from edgepress_devices.profile_toml import profile_toml, toml_text

GOOD = shipped_text("raspberry-pi-4") or ""
WEB = shipped_text("iphone-browser") or ""
ESTIMATE = 'basis = "estimate"\narithmetic = "4 cores x 1.5 GHz x 16 OP/cycle"'
DERIVED = GOOD.replace(ESTIMATE, 'basis = "derived"')


@pytest.mark.parametrize("name", shipped_ids())
def test_shipped_profiles_have_no_problem_and_no_warning(name: str) -> None:
    assert validate_profile(shipped_text(name) or "") == []


def test_all_problems_are_told_at_once() -> None:
    text = GOOD.replace("clock_mhz = 1500", "clock = 1500").replace("ram_mib = 4096", "ram_gb = 4")
    text = text.replace("threads = 4", "threads = 6").replace("idle_mw = 2300", "idle_mw = 99000")
    text = text.replace('machine = "aarch64"', 'machine = "x86_64"').replace('basis = "derived"\n', "", 1)
    found = {problem.path: problem for problem in validate_profile(text)}
    assert set(found) == {
        "cpu.clock", "memory.ram_gb", "cpu.threads", "power", "cpu.isa", "compute.fp32.basis"
    }  # fmt: skip
    with pytest.raises(InvalidProfile, match="6 things are wrong") as caught:
        profile_from_text(text, "mine.toml")
    for problem in found.values():
        assert str(problem) in str(caught.value)


# (what, the profile's text, the path of the problem, what it says or asks for)
ERRORS = [
    ("a unit left out", GOOD.replace("clock_mhz", "clock"), "cpu.clock", "write clock_mhz"),
    (
        "another unit",
        GOOD.replace("clock_mhz = 1500", "clock_ghz = 1.5"),
        "cpu.clock_ghz",
        "write clock_mhz = 1500",
    ),
    (
        "memory in GiB",
        GOOD.replace("ram_mib = 4096", "ram_gib = 4"),
        "memory.ram_gib",
        "write ram_mib = 4096",
    ),
    ("watts", GOOD.replace("idle_mw = 2300", "idle_w = 2.3"), "power.idle_w", "write idle_mw = 2300"),
    (
        "cache in KiB",
        GOOD.replace("l1d_bytes = 32_768", "l1d_kib = 32"),
        "memory.cache.l1d_kib",
        "write l1d_bytes = 32768",
    ),
    (
        "a rate in MB/s",
        GOOD.replace("gb_per_s = 12.8", "mb_per_s = 12800"),
        "memory.bandwidth.mb_per_s",
        "write gb_per_s = 12.8",
    ),
    ("TOPS", GOOD.replace("gops = 96.0", "tops = 0.096"), "compute.int8.tops", "write gops = 96"),
    ("a misspelt field", GOOD.replace("threads = 4", "treads = 4"), "cpu.treads", "did you mean threads?"),
    ("a misspelt table", GOOD.replace("[network]", "[netwrok]"), "netwrok", "did you mean network?"),
    (
        "a missing table",
        re.sub(r"\[storage\](.|\n)*?\n\n", "", GOOD),
        "storage",
        "table [storage] is missing",
    ),
    ("a value for a table", GOOD.replace("[int4]\nsupported = true", 'int4 = "yes"\n[x]'), "int4", "[int4]"),
    (
        "more threads than cores",
        GOOD.replace("threads = 4", "threads = 8"),
        "cpu.threads",
        "larger than cpu.cores",
    ),
    ("more usable than there is", GOOD.replace("mib = 2048", "mib = 9000"), "memory.usable.mib", "larger"),
    ("power that shrinks", GOOD.replace("tdp_mw = 15_000", "tdp_mw = 5000"), "power", "must grow"),
    (
        "int8 without a peak",
        re.sub(r"\[compute.int8\](.|\n)*?\n\n", "", GOOD),
        "int8.activations",
        "[compute.int8]",
    ),
    (
        "fp16 without a peak",
        GOOD.replace("supported = false", "supported = true"),
        "fp16.supported",
        "[compute.fp16]",
    ),
    (
        "a GPU provider without GPU",
        GOOD.replace('["CPU', '["CUDAExecutionProvider", "CPU'),
        "runtime.providers",
        "[gpu]",
    ),
    ("derived without arithmetic", DERIVED, "compute.int8.arithmetic", "add arithmetic"),
    (
        "arithmetic of another number",
        GOOD.replace("x 4 bytes", "x 8 bytes"),
        "memory.bandwidth.arithmetic",
        "gives 25.6",
    ),
    (
        "an instruction set of another machine",
        GOOD.replace("128-bit NEON", "AVX2"),
        "cpu.isa",
        '"AVX2" belongs to x86_64',
    ),
    (
        "a browser's engine on a board",
        GOOD.replace('engine = "onnxruntime"', 'engine = "onnxruntime-web"'),
        "cpu.machine",
        "wasm32",
    ),
    (
        "a native provider in a browser",
        WEB.replace('["wasm"]', '["CPUExecutionProvider"]'),
        "runtime.providers",
        "wasm",
    ),
    (
        "a layout nobody has",
        GOOD.replace('preferred = "nchw"', 'preferred = "chwn"'),
        "layout.preferred",
        "chwn",
    ),
]


@pytest.mark.parametrize(("what", "text", "path", "says"), ERRORS, ids=[row[0] for row in ERRORS])
def test_a_mistake_is_named_with_its_field_and_what_to_do(what: str, text: str, path: str, says: str) -> None:
    assert text not in (GOOD, WEB), f"{what}: the row changes nothing"
    found = [problem for problem in validate_profile(text) if problem.level == "error"]
    assert path in {problem.path for problem in found}
    assert any(says in str(problem) for problem in found if problem.path == path), found
    with pytest.raises(InvalidProfile):
        profile_from_text(text, "a")


WARNINGS = [
    (
        "a bandwidth in MB/s",
        GOOD.replace("gb_per_s = 12.8", "gb_per_s = 12800").replace("3.2 GT/s", "3200 MT/s"),
        "memory.bandwidth.gb_per_s",
        "gb_per_s = 12.8",
    ),
    (
        "a clock in GHz",
        GOOD.replace("clock_mhz = 1500", "clock_mhz = 2"),
        "cpu.clock_mhz",
        "clock_mhz = 2000",
    ),
    (
        "memory in GiB",
        GOOD.replace("ram_mib = 4096", "ram_mib = 4").replace("mib = 2048", "mib = 2"),
        "memory.ram_mib",
        "ram_mib = 4096",
    ),
    ("power in W", GOOD.replace("idle_mw = 2300", "idle_mw = 2.3"), "power.idle_mw", "idle_mw = 2300"),
    ("nothing left for the system", GOOD.replace("mib = 2048", "mib = 4090"), "memory.usable.mib", "half"),
]


@pytest.mark.parametrize(("what", "text", "path", "says"), WARNINGS, ids=[row[0] for row in WARNINGS])
def test_an_unlikely_size_is_a_warning_that_stops_nobody(what: str, text: str, path: str, says: str) -> None:
    assert text != GOOD, f"{what}: the row changes nothing"
    found = validate_profile(text)
    assert {problem.level for problem in found} == {"warning"}
    assert any(says in problem.fix for problem in found if problem.path == path), found
    profile_from_text(text, "a")


def test_no_dot_product_is_not_taken_for_an_instruction_set() -> None:
    text = GOOD.replace("no dot product", "no AVX2")
    assert validate_profile(text) == []


# --- any text, any table -----------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=20),
    st.just("none"), st.sampled_from(["derived", "raspberry-pi-4", "u8", "4 x 5", "1 / 0"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS.filter(lambda value: value is not None),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
PATHS = [
    ("id",),
    ("inherits",),
    ("cpu",),
    ("cpu", "cores"),
    ("cpu", "isa"),
    ("compute",),
    ("compute", "fp32"),
    ("compute", "fp32", "gflops"),
    ("compute", "fp32", "arithmetic"),
    ("compute", "int8", "basis"),
    ("memory",),
    ("memory", "usable", "mib"),
    ("memory", "cache", "l3_bytes"),
    ("int8", "activations"),
    ("runtime", "providers"),
    ("power", "idle_mw"),
    ("power", "sensors"),
    ("gpu",),
    ("layout",),
    ("calibration",),
    ("unheard-of",),
]


@given(st.lists(st.tuples(st.sampled_from(PATHS), VALUES), min_size=1, max_size=4), st.booleans())
def test_any_change_gives_problems_or_a_profile(
    changes: list[tuple[tuple[str, ...], object]], inherit: bool
) -> None:
    table: dict[str, object] = tomllib.loads(GOOD)
    if inherit:
        table = {"id": "mine", "name": "mine", "inherits": "raspberry-pi-4"}
    for path, value in changes:
        inner = table
        for key in path[:-1]:
            found = inner.setdefault(key, {})
            inner = found if isinstance(found, dict) else {}
        inner[path[-1]] = value
    problems = validate_profile(toml_text(table))
    assert all(isinstance(problem, Problem) and problem.message and problem.fix for problem in problems)
    if not any(problem.level == "error" for problem in problems):
        profile_from_text(toml_text(table), "mine")


@given(st.text(max_size=200))
def test_any_text_gives_problems(text: str) -> None:
    assert any(problem.level == "error" for problem in validate_profile(text))


@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * 20_000 + " = 1",
        "a = " + "[" * 5000,
        f"a = {'9' * 5000}",
        f"[cpu]\ncores = {'9' * 4000}",
        "\ud800 = 1",
    ],
    ids=["20,000 tables", "5,000 lists", "5,000 digits", "4,000 digits", "half a character"],
)
def test_text_made_to_break_a_reader_is_a_problem(text: str) -> None:
    assert all(len(str(problem)) < 2000 for problem in validate_profile(text))
    assert any(problem.level == "error" for problem in validate_profile(text))


# --- writing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", list_profiles(), ids=lambda profile: profile.id)
def test_what_is_written_reads_back(profile: object) -> None:
    assert isinstance(profile, DeviceProfile)
    assert profile_from_text(profile_toml(profile), "written") == profile


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=4))
def test_any_table_is_written_as_toml(table: dict[str, object]) -> None:
    assert repr(tomllib.loads(toml_text(table))) == repr(_sorted(table))


def _sorted(value: object) -> object:
    """Plain values first, then tables: the order in which TOML is written."""
    if isinstance(value, dict):
        return {
            key: _sorted(inner) if isinstance(inner, dict) else inner
            for key, inner in sorted(value.items(), key=lambda item: isinstance(item[1], dict))
        }
    return value


# --- calibration -------------------------------------------------------------------------------------------


def calibrated() -> DeviceProfile:
    kind = KindFit(
        operations_per_us=9000.0,
        bytes_per_us=5000.0,
        overhead_us=1.5,
        samples=40,
        correction=Correction(features=["depth"], lengths=[1.0], points=[[2.0], [3.0]], weights=[0.1, -0.2]),
    )
    found = Calibration(
        runtime="onnxruntime 1.31.1",
        threads=4,
        plan=1,
        at_ms=1_800_000_000_000,
        devices=["kitchen"],
        samples=40,
        node_overhead_us=1.0,
        run_overhead_us=10.0,
        kinds={"conv fp32": kind},
        error=CrossValidation(operator_median=0.1, model_median=0.05, model_worst=0.2, n=12),
    )
    return msgspec.structs.replace(list_profiles()[-1], calibration=found)


def test_a_calibration_travels_inside_the_profile() -> None:
    profile = calibrated()
    text = profile_toml(profile)
    assert validate_profile(text) == []
    assert profile_from_text(text, "written") == profile


def test_a_calibration_whose_lists_do_not_fit_is_a_problem() -> None:
    text = profile_toml(calibrated()).replace("weights = [0.1, -0.2]", "weights = [0.1]")
    (problem,) = validate_profile(text)
    assert "2 points have 1 weights" in problem.message
