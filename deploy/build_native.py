"""Build the codec's hot loops: compression/native -> one small library, only when something changed.

    python deploy/build_native.py [--force]          for this machine, into the package
    python deploy/build_native.py --target aarch64   for another (see TARGETS), into build/native/aarch64
    python deploy/build_native.py --wasm             WebAssembly, for the agent in the browser
    python deploy/build_native.py --wheels dist      a wheel for each target, and one without a library
    python deploy/build_native.py --check            every target compiles, without warnings and without libc

The compiler is Zig's, from the Python package ``ziglang`` (extra ``dev``): one download compiles C for all of
them. Where this interpreter has none, ``cc`` of PATH builds for this machine. The library knows no libc, so
one file serves glibc and musl of any age. A build is made aside and replaces the old one by renaming. Exit
status 1 and one sentence when it cannot build. Standard library only: the build hook loads this file by path.
"""

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = ROOT / "compression/native"
# What git ignores: the library of this machine inside the package, the others aside.
INSTALLED: Final = ROOT / "compression/edgepress_compression/codec/native"
ASIDE: Final = ROOT / "build/native"
BROWSER: Final = ROOT / "agent/browser/src/codec/native"
COMMAND: Final = "python deploy/build_native.py"


class BuildError(RuntimeError):
    """The library could not be built; the text says what to do."""


class NoCompilerError(BuildError):
    """Neither ziglang nor a C compiler is here."""


class NoTargetError(BuildError):
    """The system is not one of TARGETS."""


class Target(NamedTuple):
    triple: str  # as Zig names it; no libc in any
    cpu: str
    tags: str  # of the wheel; no libc is used, so the oldest that pip knows are the honest ones
    file: str = "libedgepress_codec.so"


TARGETS: Final[Mapping[str, Target]] = MappingProxyType(
    {
        # The first x86-64, SSE2: v2 and v3 (AVX2) decoded within 10 % of it, both ways, on the design's sets.
        "x86_64": Target("x86_64-linux-none", "x86_64", "manylinux_2_17_x86_64.musllinux_1_1_x86_64"),
        "aarch64": Target("aarch64-linux-none", "generic", "manylinux_2_17_aarch64.musllinux_1_1_aarch64"),
        # NEON and VFPv3: a 32-bit Raspberry Pi OS on anything after the first Pi and the Pi Zero.
        "armv7l": Target(
            "arm-linux-eabihf", "generic+v7a+neon", "manylinux_2_17_armv7l.musllinux_1_1_armv7l"
        ),
    }
)
WASM: Final = Target("wasm32-freestanding", "generic+simd128+bulk_memory", "", "codec.wasm")

_C_FLAGS: Final = ("-std=c11", "-O3", "-ffreestanding", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")
_ZIG_FLAGS: Final = ("-O", "ReleaseFast", "-fstrip", "-fcompiler-rt")
_LIBRARY: Final = ("build-lib", "-dynamic", "-z", "defs")  # an undefined symbol is an error
# memory is exported and grows; what the caller may use of it starts at __heap_base.
_MODULE: Final = ("build-exe", "-fno-entry", "-rdynamic", "--stack", "131072", "--export=__heap_base")


def host() -> str:
    """The name in TARGETS of the machine (and interpreter) this runs on. Raises NoTargetError."""
    machine, wide = platform.machine().lower(), sys.maxsize > 2**32
    if sys.platform == "linux":
        if machine in ("x86_64", "amd64") and wide:
            return "x86_64"
        if machine in ("aarch64", "arm64") and wide:
            return "aarch64"
        if machine in ("aarch64", "arm64", "armv7l", "armv8l"):
            return "armv7l"
    raise NoTargetError(
        f"No compiled codec for {sys.platform} on {machine or 'an unknown processor'}: edgepress decodes"
        " with numpy there, slower and to the same values."
    )


def sources_sha256(sources: Path = SOURCES) -> str:
    """SHA-256 over the names and bytes of the C source and its headers, in sorted order."""
    total = hashlib.sha256()
    for path in sorted([*sources.glob("*.c"), *sources.glob("*.h")]):
        name = path.name.encode()
        total.update(len(name).to_bytes(4, "big") + name + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def build(name: str | None = None, *, out: Path | None = None, force: bool = False) -> Path | None:
    """Build for ``name`` (of TARGETS, or "wasm"; None: this machine) into ``out`` when needed.

    Returns the file's path when it was built, None when it was up to date. Raises BuildError.
    """
    native = name is None
    name = host() if name is None else name
    target = WASM if name == "wasm" else TARGETS[name]
    if out is None:
        out = INSTALLED if native else BROWSER if name == "wasm" else ASIDE / name
    compiler, version = _compiler(native)
    command = _command(compiler, target)
    told = json.dumps([sources_sha256(), name, version, command[len(compiler) :]])
    stamp = {"sha256": hashlib.sha256(told.encode()).hexdigest(), "target": name, "compiler": version}
    file, mark = out / target.file, out / "stamp.json"
    if not force and file.is_file() and _read(mark) == stamp:
        return None
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".edgepress-", dir=out) as folder:
            made = Path(folder)
            _run(command, made)
            (made / "stamp.json").write_text(json.dumps(stamp, indent=2) + "\n", "utf-8")
            mark.unlink(missing_ok=True)  # a build killed between the two renames counts as none
            (made / target.file).replace(file)
            (made / "stamp.json").replace(mark)
    except OSError as error:
        raise BuildError(f"{out} could not be written: {error}.") from error
    return file


def wheel_tags(name: str) -> str:
    """The platforms of a wheel with the library for ``name``: only Zig's is free of this machine's libc."""
    return TARGETS[name].tags if importlib.util.find_spec("ziglang") is not None else f"linux_{name}"


def check() -> dict[str, int]:
    """Bytes of the library for every target, built in a temporary folder. Raises BuildError."""
    with tempfile.TemporaryDirectory(prefix="edgepress-native-") as folder:
        sizes = {}
        for name, target in [*TARGETS.items(), ("wasm", WASM)]:
            build(name, out=Path(folder) / name)
            sizes[name] = (Path(folder) / name / target.file).stat().st_size
        return sizes


def wheels(folder: Path) -> list[Path]:
    """A wheel for each target and a pure one, into ``folder``. Raises BuildError."""
    if importlib.util.find_spec("hatchling") is None:
        raise BuildError("Wheels need hatchling: run `pip install hatchling ziglang`.")
    made = []
    for name in (*TARGETS, "none"):
        with tempfile.TemporaryDirectory(prefix="edgepress-wheel-") as aside:
            _run(
                [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", aside],
                ROOT,
                {"EDGEPRESS_NATIVE_TARGET": name},
            )
            (wheel,) = Path(aside).glob("*.whl")
            folder.mkdir(parents=True, exist_ok=True)
            made.append(Path(shutil.move(wheel, folder / wheel.name)))
    return made


def _compiler(native: bool) -> tuple[list[str], str]:
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang"], f"zig {importlib.metadata.version('ziglang')}"
    found = shutil.which("cc") if native else None
    if found is None:
        raise NoCompilerError(
            f"The compiled codec needs a C compiler: run `pip install ziglang` and then `{COMMAND}`."
        )
    return [found], _run([found, "--version"], ROOT).splitlines()[0]


def _command(compiler: list[str], target: Target) -> list[str]:
    source = str(SOURCES / "codec.c")
    if compiler[0] != sys.executable:  # for this machine only; a warning of some compiler stops nobody
        flags = [flag for flag in _C_FLAGS if flag != "-Werror"]
        return [*compiler, "-shared", "-fPIC", *flags, "-s", "-o", target.file, source]
    kind = _MODULE if target is WASM else _LIBRARY
    which = ("-target", target.triple, f"-mcpu={target.cpu}")
    emit = f"-femit-bin={target.file}"
    return [*compiler, *kind, *_ZIG_FLAGS, *which, emit, "-cflags", *_C_FLAGS, "--", source]


def _run(command: list[str], folder: Path, env: Mapping[str, str] = MappingProxyType({})) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "NO_COLOR": "1", **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )
    except OSError as error:
        raise BuildError(f"{command[0]} does not start: {error}.") from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"`{' '.join(command)}` took more than 10 minutes.") from error
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode != 0:
        raise BuildError(f"`{' '.join(command)}` failed:\n{said[-3000:]}")
    return said


def _read(stamp: Path) -> object:
    try:
        return json.loads(stamp.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the compiled codec when its sources changed.")
    parser.add_argument("--force", action="store_true", help="build even when the stamp matches")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--target", choices=sorted(TARGETS), help="another machine than this one")
    what.add_argument("--wasm", action="store_true", help="WebAssembly for browsers")
    what.add_argument("--wheels", type=Path, metavar="FOLDER", help="wheels for all machines")
    what.add_argument("--check", action="store_true", help="compile for every target, keep nothing")
    arguments = parser.parse_args()
    try:
        if arguments.check:
            print("codec: " + ", ".join(f"{name} {size} B" for name, size in check().items()))
        elif arguments.wheels is not None:
            for wheel in wheels(arguments.wheels):
                print(f"{wheel} {wheel.stat().st_size / 1e6:.2f} MB")
        else:
            name = "wasm" if arguments.wasm else arguments.target
            file = build(name, force=arguments.force)
            print(f"codec built: {file}, {file.stat().st_size} B" if file else "codec is up to date")
    except NoTargetError as error:  # nothing is wrong: numpy decodes there
        print(error, file=sys.stderr)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
