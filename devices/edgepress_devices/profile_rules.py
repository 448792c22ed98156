"""What contradicts itself in a profile. Each rule looks at the fields it needs and is quiet without them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final

from edgepress_devices.arithmetic import evaluate_arithmetic
from edgepress_devices.inheritance import Table
from edgepress_devices.profile_errors import Problem

GPU_PROVIDERS: Final = ("TensorrtExecutionProvider", "CUDAExecutionProvider")
# Words in cpu.isa that only one machine has. "no dot product" is a statement about any of them.
_ISA: Final = {
    "aarch64": r"\b(NEON|SVE2?|SME2?|SDOT|UDOT|Armv[89](\.\d+)?(-A)?|ASIMD)\b",
    "x86_64": r"\b(AVX2?|AVX-?512\w*|AVX-VNNI|VNNI|SSE[\d.]*|AMX\w*|FMA3?|x86-64(-v\d)?)\b",
    "wasm32": r"\b(WebAssembly|WASM)\b",
}


def contradictions(table: Table, own: Table) -> list[Problem]:
    """``table`` is the whole profile, ``own`` what its text states itself."""
    problems: list[Problem] = []
    for rule in (_cpu, _memory, _power, _data_types, _providers, _machine):
        problems += rule(table)
    for path, inner in _tables(table, ""):
        problems += _arithmetic(path, inner)
    if "inherits" in own:
        problems += _stale_peaks(table, own)
    return problems


def _cpu(table: Table) -> Iterator[Problem]:
    threads, cores = _number(table, "cpu", "threads"), _number(table, "cpu", "cores")
    if threads is not None and cores is not None and threads > cores:
        yield Problem(
            path="cpu.threads",
            message=f"cpu.threads = {threads:g} is larger than cpu.cores = {cores:g}",
            fix="give the runtime at most one thread a core",
        )


def _memory(table: Table) -> Iterator[Problem]:
    usable, ram = _number(table, "memory", "usable", "mib"), _number(table, "memory", "ram_mib")
    if usable is None or ram is None:
        return
    if usable > ram:
        yield Problem(
            path="memory.usable.mib",
            message=f"memory.usable.mib = {usable:g} is larger than memory.ram_mib = {ram:g}",
            fix="state what a model may take; half of the memory is a usual share",
        )
    elif usable > 0.95 * ram:
        yield Problem(
            path="memory.usable.mib",
            message=f"{usable:g} of {ram:g} MiB leave nothing for the system",
            fix="state what a model may take; half of the memory is a usual share",
            level="warning",
        )


def _power(table: Table) -> Iterator[Problem]:
    figures = [_number(table, "power", name) for name in ("idle_mw", "typical_mw", "tdp_mw")]
    known = [figure for figure in figures if figure is not None]
    if known != sorted(known):
        yield Problem(
            path="power",
            message="power must grow: idle_mw <= typical_mw <= tdp_mw",
            fix="correct the one that is out of order",
        )


def _data_types(table: Table) -> Iterator[Problem]:
    def peak(name: str) -> bool:
        return _get(table, "compute", name) is not None or _get(table, "gpu", "compute", name) is not None

    form = _get(table, "int8", "activations")
    if form in ("u8", "s8") and isinstance(table.get("compute"), dict) and not peak("int8"):
        yield Problem(
            path="int8.activations",
            message=f'"{form}" says that int8 runs fast here, but there is no peak for it',
            fix='add [compute.int8] with gops, or say activations = "none"',
        )
    if (
        _get(table, "fp16", "supported") is True
        and isinstance(table.get("compute"), dict)
        and not peak("fp16")
    ):
        yield Problem(
            path="fp16.supported",
            message="fp16 is said to be worth using, but there is no peak for it",
            fix="add [compute.fp16] (or [gpu.compute.fp16]) with gflops, or say supported = false",
        )


def _providers(table: Table) -> Iterator[Problem]:
    providers = _get(table, "runtime", "providers")
    if not isinstance(providers, list) or not providers:
        return
    gpu = [name for name in providers if name in GPU_PROVIDERS]
    if gpu and table.get("gpu") is None:
        yield Problem(
            path="runtime.providers",
            message=f"{gpu[0]} runs on a GPU, but there is no table [gpu]",
            fix="add [gpu] and [gpu.compute.fp32], or take the provider away",
        )
    web = _get(table, "runtime", "engine") == "onnxruntime-web"
    native = [name for name in providers if isinstance(name, str) and name.endswith("ExecutionProvider")]
    if web and native:
        yield Problem(
            path="runtime.providers",
            message=f"onnxruntime-web has no {native[0]}",
            fix='its providers are "wasm", "webgpu", "webgl" and "webnn"',
        )


def _machine(table: Table) -> Iterator[Problem]:
    machine, isa = _get(table, "cpu", "machine"), _get(table, "cpu", "isa")
    engine = _get(table, "runtime", "engine")
    if engine is not None and machine in _ISA and (engine == "onnxruntime-web") != (machine == "wasm32"):
        yield Problem(
            path="cpu.machine",
            message=f'machine "{machine}" with the engine "{engine}"',
            fix='in a browser it is "wasm32" with "onnxruntime-web", elsewhere neither of them',
        )
    if machine not in _ISA or not isinstance(isa, str):
        return
    has = [part for part in re.split(r"[,;]", isa) if not re.match(r"\s*(no|without)\b", part, re.IGNORECASE)]
    for other, words in _ISA.items():
        found = re.search(words, ",".join(has), re.IGNORECASE)
        if other != machine and found is not None:
            yield Problem(
                path="cpu.isa",
                message=f'"{found[0]}" belongs to {other}, but cpu.machine is "{machine}"',
                fix="correct one of the two",
            )


def _arithmetic(path: str, table: Table) -> Iterator[Problem]:
    where, text = f"{path}.arithmetic", table.get("arithmetic")
    if text is None:
        if table.get("basis") == "derived":
            yield Problem(
                path=where,
                message=f"[{path}] is derived without its computation",
                fix='add arithmetic = "4 cores x 1.5 GHz x ..."',
            )
        return
    if not isinstance(text, str):
        return  # the structure says so already
    try:
        result = evaluate_arithmetic(text)
    except ValueError as error:
        yield Problem(
            path=where, message=str(error), fix="write products of numbers, such as 4 cores x 1.5 GHz"
        )
        return
    numbers = [
        value for value in table.values() if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    if numbers and not any(math.isclose(result, number, rel_tol=0.01) for number in numbers):
        says = ", ".join(f"{number:g}" for number in numbers)
        yield Problem(
            path=where,
            message=f"arithmetic gives {result:g}, the table says {says}",
            fix="correct one of them",
        )


def _stale_peaks(table: Table, own: Table) -> Iterator[Problem]:
    """A peak that was taken over was computed for the other profile's clock and cores."""
    changed = [name for name in ("clock_mhz", "threads", "cores") if _get(own, "cpu", name) is not None]
    compute = table.get("compute")
    if not changed or not isinstance(compute, dict):
        return
    kept = [name for name in compute if _get(own, "compute", name) is None]
    if kept:
        yield Problem(
            path="compute",
            message=f"the peaks of {', '.join(kept)} are taken over from {str(own['inherits'])[:63]}, whose "
            f"{', '.join(f'cpu.{name}' for name in changed)} may be another",
            fix=f"state {' and '.join(f'[compute.{name}]' for name in kept)} for this processor",
            level="warning",
        )


def _tables(table: Table, prefix: str) -> Iterator[tuple[str, Table]]:
    for key, value in table.items():
        if isinstance(value, dict) and not (prefix == "" and key == "calibration"):
            yield prefix + key, value
            yield from _tables(value, f"{prefix}{key}.")


def _get(table: Table, *path: str) -> Any:
    value: Any = table
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _number(table: Table, *path: str) -> float | None:
    value = _get(table, *path)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        return None
    return float(value)
