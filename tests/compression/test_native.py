"""The compiled codec: the right library is loaded, a wrong one is not; edgepress.h and Python agree."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgepress_compression.codec import native
from edgepress_compression.codec.bytestream import CodecError

REPOSITORY = Path(__file__).parents[2]
HEADER = (REPOSITORY / "compression/native/edgepress.h").read_text("utf-8")


@pytest.fixture
def fresh(monkeypatch):
    """The loader as a new process has it, before and after."""
    monkeypatch.delenv("EDGEPRESS_NATIVE", raising=False)
    native._library.cache_clear()
    yield monkeypatch
    native._library.cache_clear()


def test_every_error_of_the_header_has_its_sentence():
    numbers = {int(number) for number in re.findall(r"EP_[A-Z_]+ = (-\d+)", HEADER)}
    assert len(numbers) > 5
    assert numbers == set(native.REASONS)
    assert int(re.search(r"EP_FULL = (-\d+)", HEADER)[1]) == native.FULL


def test_loader_and_header_name_the_same_abi():
    assert int(re.search(r"#define EP_ABI (\d+)", HEADER)[1]) == native.ABI


def test_the_library_is_built_from_these_sources(fresh):
    said = subprocess.run(
        [sys.executable, str(REPOSITORY / "deploy/build_native.py")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert native.available()
    assert native.status("ep_abi") == native.ABI


@pytest.mark.parametrize(
    ("claim", "library"),
    [
        ("there is none", None),
        ("it is empty", b""),
        ("it is damaged", b"\x7fELF\x02\x01\x01" + bytes(57)),
        ("it is text", b"not a library\n"),
    ],
)
def test_numpy_decodes_where_the_library_cannot_be_loaded(fresh, tmp_path, claim, library):
    path = tmp_path / "libedgepress_codec.so"
    if library is not None:
        path.write_bytes(library)
    fresh.setattr(native, "LIBRARY", path)
    assert not native.available(), claim
    with pytest.raises(RuntimeError, match=r"ask available\(\) first"):
        native.status("ep_abi")


@pytest.mark.parametrize(
    ("claim", "source"),
    [
        ("it has another ABI", "long long ep_abi(void) { return 1000000; }"),
        ("it is another library", "int other(void) { return 1; }"),
    ],
)
def test_a_library_of_something_else_is_not_used(fresh, tmp_path, claim, source):
    (tmp_path / "other.c").write_text(source)
    command = [sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-o", "other.so", "other.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    fresh.setattr(native, "LIBRARY", tmp_path / "other.so")
    assert not native.available(), claim


def test_every_function_that_python_calls_is_there(fresh):
    """A name that the loader does not find would be an error only when that coder is used."""
    package = Path(native.__file__).parents[1]
    called = {
        name
        for path in package.rglob("*.py")
        for name in re.findall(r'native\.(?:call|status)\(\s*"(ep_\w+)"', path.read_text("utf-8"))
    }
    assert len(called) > 10
    library = native._library()
    assert library is not None, native.missing_reason()
    assert [name for name in sorted(called) if not hasattr(library, name)] == []


def test_it_says_why_numpy_decodes(fresh, tmp_path):
    assert native.missing_reason() is None
    fresh.setattr(native, "LIBRARY", tmp_path / "none.so")
    native._library.cache_clear()
    assert "run `python deploy/build_native.py`" in native.missing_reason()
    fresh.setattr(native, "_SOURCES", tmp_path)  # as an installed wheel has it
    assert "This installation has no compiled codec" in native.missing_reason()
    fresh.setenv("EDGEPRESS_NATIVE", "0")
    assert "EDGEPRESS_NATIVE=0 is set" in native.missing_reason()


def test_edgepress_native_0_does_without_it(fresh):
    fresh.setenv("EDGEPRESS_NATIVE", "0")
    assert not native.available()


def test_a_negative_result_is_an_error_with_its_sentence(monkeypatch):
    for number, sentence in native.REASONS.items():
        monkeypatch.setattr(native, "status", lambda *_, number=number: number)
        with pytest.raises(CodecError, match=sentence):
            native.call("ep_anything", 1)


def test_arrays_that_are_not_in_c_order_are_refused():
    if not native.available():
        assert os.environ.get("CI") != "true", f"in CI nothing is left out: {native.missing_reason()}"
        pytest.skip("the codec is not built: python deploy/build_native.py")
    with pytest.raises(ValueError, match="C order"):
        native.status("ep_abi", np.zeros((4, 4), np.uint8).T[1:])


def test_threads_decode_at_the_same_time():
    """No writable globals: eight threads, each with its own symbols, all get them back."""
    from edgepress_compression.codec.coder import symbol_dtype
    from edgepress_compression.codec.registry import SYMBOL_CODERS

    def round_trips(seed):
        rng = np.random.default_rng(seed)
        for alphabet in (3, 200, 900):
            shape = (40, 30 + seed)
            symbols = np.clip(np.rint(rng.normal(alphabet / 2, alphabet / 8, shape)), 0, alphabet - 1)
            symbols = symbols.astype(symbol_dtype(alphabet)).reshape(-1)
            for coder in SYMBOL_CODERS.values():
                payload = coder.encode(symbols, alphabet, shape)
                if payload is not None:
                    out = np.empty_like(symbols)
                    coder.decode(memoryview(payload), alphabet, shape, out)
                    assert np.array_equal(out, symbols)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(round_trips, range(8)))
