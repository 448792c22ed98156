"""Profiles: ten of them, a source beside every number, arithmetic that is right, errors that help."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgepress_devices.arithmetic import evaluate_arithmetic
from edgepress_devices.profile import (
    PROFILES_DIR,
    InvalidProfile,
    UnknownProfile,
    list_profiles,
    load_profile,
)

EXPECTED = {
    "raspberry-pi-4",
    "raspberry-pi-5",
    "raspberry-pi-zero-2w",
    "jetson-nano",
    "jetson-orin-nano",
    "jetson-agx-orin",
    "android-midrange",
    "android-flagship",
    "iphone-browser",
    "x86-pc",
}
FILES = sorted(PROFILES_DIR.glob("*.toml"))


def tables(table: dict[str, Any], name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield name, table
    for key, value in table.items():
        if isinstance(value, dict):
            yield from tables(value, f"{name}.{key}" if name else key)


def numbers(table: dict[str, Any]) -> list[float]:
    return [v for v in table.values() if isinstance(v, int | float) and not isinstance(v, bool)]


def test_the_ten_profiles_are_there() -> None:
    assert {profile.id for profile in list_profiles()} == EXPECTED == {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_number_without_its_source(path: Path) -> None:
    for name, table in tables(tomllib.loads(path.read_text())):
        if numbers(table):
            assert len(table.get("source", "")) >= 8, f"[{name}] has numbers and no source"
            assert table["basis"] in ("datasheet", "measured", "derived", "estimate")
        for value in table.values():  # a list of bare numbers would slip past the rule
            assert not (isinstance(value, list) and numbers(dict(enumerate(value))))  # type: ignore[arg-type]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_derived_numbers_show_an_arithmetic_that_gives_them(path: Path) -> None:
    shown = 0
    for name, table in tables(tomllib.loads(path.read_text())):
        if "arithmetic" in table:
            shown += 1
            result = evaluate_arithmetic(table["arithmetic"])
            assert any(result == pytest.approx(n, rel=0.01) for n in numbers(table)), name
        else:
            assert table.get("basis") != "derived", name
    assert shown > 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_sources_are_public_words_and_no_links(path: Path) -> None:
    for _, table in tables(tomllib.loads(path.read_text())):
        assert not re.search(r"https?://|\bTODO\b|\?\?", str(table.get("source", "")))


@pytest.mark.parametrize("profile", list_profiles(), ids=lambda profile: profile.id)
def test_figures_are_of_a_plausible_size(profile: Any) -> None:
    per_core_and_ghz = profile.compute.fp32.gflops / profile.threads / (profile.cpu.clock_mhz / 1000)
    assert 7 <= per_core_and_ghz <= 32, "between one narrow and two wide multiply-adds a cycle"
    bytes_per_flop = profile.memory.bandwidth.gb_per_s / profile.compute.fp32.gflops
    assert 0.05 < bytes_per_flop < 1.5
    assert profile.memory.cache.l1d_bytes in (32_768, 49_152, 65_536, 131_072)
    assert profile.power.idle_mw < profile.power.typical_mw < profile.power.tdp_mw
    if profile.compute.int8 is not None:
        assert profile.compute.int8.gops > profile.compute.fp32.gflops
    if profile.compute.fp16 is not None:
        assert profile.compute.fp16.gflops == pytest.approx(2 * profile.compute.fp32.gflops)


def test_the_int8_form_is_the_one_that_runs_fast_there() -> None:
    forms = {profile.id: profile.int8.activations for profile in list_profiles()}
    assert forms.pop("x86-pc") == "u8"  # measured: 1.8 to 3.3 times fp32, s8 0.6 to 1.1 times
    assert forms.pop("iphone-browser") is None  # measured: int8 slower than fp32 in WebAssembly
    assert set(forms.values()) == {"s8"}


def test_shorthands_reach_into_the_tables() -> None:
    pi = load_profile("raspberry-pi-4")
    assert (pi.kind, pi.cores, pi.threads, pi.ram_mib, pi.usable_mib) == ("board", 4, 4, 4096, 2048)
    assert pi.compute.fp32.gflops == 48.0  # 4 cores x 1.5 GHz x 8 FLOP/cycle
    assert pi.providers == ["CPUExecutionProvider"]


def test_an_unknown_name_lists_the_close_ones() -> None:
    with pytest.raises(UnknownProfile) as caught:
        load_profile("Raspbery-Pi5")
    assert caught.value.close[0] == "raspberry-pi-5"
    assert "did you mean raspberry-pi-5" in str(caught.value)
    with pytest.raises(UnknownProfile, match="Known: android-flagship"):
        load_profile("zzz")


def test_a_profile_of_ones_own_is_loaded_by_path(tmp_path: Path) -> None:
    text = (PROFILES_DIR / "raspberry-pi-4.toml").read_text().replace('"raspberry-pi-4"', '"my-board"')
    path = tmp_path / "board.toml"
    path.write_text(text)
    assert load_profile(path).id == load_profile(str(path)).id == "my-board"


GOOD = (PROFILES_DIR / "raspberry-pi-4.toml").read_text()
BAD = [
    ("a number without source", re.sub(r"source = .*\n", "", GOOD, count=1), "source is missing in [cpu]"),
    ("an empty source", re.sub(r"source = .*", 'source = ""', GOOD, count=1), "at least 8 characters"),
    ("an unknown basis", GOOD.replace('"datasheet"', '"rumour"', 1), "rumour"),
    ("derived without arithmetic", re.sub(r"arithmetic = .*\n", "", GOOD, count=1), "add arithmetic"),
    ("arithmetic that gives another number", GOOD.replace("x 8 FLOP", "x 16 FLOP"), "arithmetic gives 96"),
    ("arithmetic without numbers", GOOD.replace("4 cores x 1.5 GHz x 8 FLOP", "many cores"), "start with a"),
    ("an unknown field", GOOD.replace("cores = 4", "cores = 4\nfpu = 1"), "there is no field 'fpu'"),
    ("a wrong type", GOOD.replace("cores = 4", 'cores = "4"'), "expected a whole number"),
    ("an endless peak", GOOD.replace("gflops = 48.0", "gflops = inf"), "1000000000"),
    ("a peak that is no number", GOOD.replace("gflops = 48.0", "gflops = nan"), "> 0"),
    ("more threads than cores", GOOD.replace("threads = 4", "threads = 5"), "cpu.threads"),
    ("more usable than there is", GOOD.replace("mib = 2048", "mib = 8192"), "usable"),
    ("idle above typical", GOOD.replace("idle_mw = 2300", "idle_mw = 9000"), "power must grow"),
    ("an int8 form that is none", GOOD.replace('activations = "s8"', 'activations = "s4"'), "s4"),
    ("an id that is no name", GOOD.replace('id = "raspberry-pi-4"', 'id = "../etc"'), "id: '../etc'"),
    ("no TOML", "cpu = [", "it is not TOML"),
    ("no text", "\0\0\0", "it is not TOML"),
    ("a huge file", GOOD + "#" * 70_000, "larger than"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "text", "says"), BAD, ids=[row[0] for row in BAD])
def test_a_broken_profile_is_refused_with_the_reason(what: str, text: str, says: str, tmp_path: Path) -> None:
    assert text != GOOD, f"{what}: the row changes nothing"
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(InvalidProfile, match=re.escape(says)):
        load_profile(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(InvalidProfile, match="no such file"):
            load_profile(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4 cores x 1.5 GHz x 8 FLOP/cycle", 48.0),
        ("1 core x 3.2 GHz x 32 FLOP/cycle + 3 cores x 2.8 GHz x 16 FLOP/cycle", 236.8),
        ("20000 dense int8 GOP/s / 2 bytes", 10_000.0),
        ("7", 7.0),
    ],
)
def test_arithmetic(text: str, value: float) -> None:
    assert evaluate_arithmetic(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "four cores", "4 cores x ", "4 / 0 things"])
def test_arithmetic_that_cannot_be_done_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        evaluate_arithmetic(text)
