"""What ``edgepress profile new --here`` can tell about the machine it runs on, as tables of a profile.

Read, and therefore "measured": processor, cores, clock, memory, caches. Peaks follow from them by rule of
thumb and say that they are estimates; what cannot be read is left to the profile that the new one stands on.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil

from edgepress_devices.sensors.hardware import board_name, machine
from edgepress_devices.sensors.kernel_file import first_line

Table = dict[str, Any]
BASES: Final = {"x86_64": "x86-pc", "aarch64": "raspberry-pi-4"}  # to stand on where none is named
_MIB: Final = 1 << 20
_SIZES: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

# (flag in /proc/cpuinfo, words in cpu.isa)
_X86: Final = (
    ("sse4_2", "SSE4.2"), ("avx", "AVX"), ("avx2", "AVX2"), ("fma", "FMA"), ("avx512f", "AVX-512"),
    ("avx_vnni", "AVX-VNNI"), ("avx512_vnni", "AVX512-VNNI"), ("amx_int8", "AMX"),
)  # fmt: skip
_ARM: Final = (
    ("asimd", "128-bit NEON"), ("asimddp", "dot product"), ("asimdhp", "half-precision arithmetic"),
    ("i8mm", "8-bit matrix multiply"), ("bf16", "bfloat16"), ("sve", "SVE"),
)  # fmt: skip


def tables_here(root: Path = Path("/")) -> Table:
    """What this machine tells, with source and basis. Raises ValueError where no kind of profile fits it."""
    kind = machine_kind(root)
    day = datetime.now(UTC).date().isoformat()
    read = {
        "basis": "measured",
        "source": f"read on this machine on {day}: /proc/cpuinfo, /proc/meminfo, /sys",
    }
    flags = _flags(root)
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    cpu: Table = {"model": (board_name(root) or f"a processor of {kind}")[:400], "machine": kind}
    isa = [words for flag, words in (_X86 if kind == "x86_64" else _ARM) if flag in flags]
    if isa:
        cpu["isa"] = ", ".join(isa)
    cpu |= {"cores": cores, "threads": cores}
    clock = _clock_mhz(root)
    if clock is not None:
        cpu["clock_mhz"] = clock
    total_mib = psutil.virtual_memory().total // _MIB
    found: Table = {
        "cpu": cpu | read,
        "memory": {
            "ram_mib": total_mib,
            "kind": "of a type that the system does not tell",
            **read,
            "usable": {
                "mib": max(1, total_mib // 2),
                "basis": "estimate",
                "source": "half of the memory; the rest is for the system and other programs",
            },
        },
    }
    cache = _cache(root)
    if cache:
        found["memory"]["cache"] = cache | read
    if clock is not None:
        found["compute"] = _peaks(kind, flags, cores, clock / 1000)
    return found


def machine_kind(root: Path) -> str:
    name = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine(root).lower(), machine(root).lower())
    if name not in BASES:
        raise ValueError(f"this machine is {name or 'unknown'}: profiles are of {' and '.join(BASES)}")
    return name


def _peaks(kind: str, flags: set[str], cores: int, ghz: float) -> Table:
    """Rules of thumb, operations a cycle and core; compute tables of the profile."""
    if kind == "x86_64":
        fp32 = 64 if "avx512f" in flags else 32 if "fma" in flags else 16
        int8 = 4 * fp32 if {"avx_vnni", "avx512_vnni"} & flags else 2 * fp32
        rule = (
            "two multiply-adds a cycle of 16 lanes with AVX-512, 8 with AVX2; int8: 4 times, without VNNI 2"
        )
    else:
        fp32 = 16 if "asimddp" in flags else 8  # cores with the dot product have two 128-bit pipes
        int8 = 4 * fp32 if "asimddp" in flags else 2 * fp32
        rule = "one 4-lane multiply-add a cycle, two on cores with the dot product; int8 2 and 4 times that"
    source = f"rule of thumb: {rule}; `edgepress profile calibrate` replaces it by what is measured"
    peaks: Table = {
        "fp32": {"gflops": _peak(cores, ghz, fp32), "arithmetic": _product(cores, ghz, fp32, "FLOP")},
        "int8": {"gops": _peak(cores, ghz, int8), "arithmetic": _product(cores, ghz, int8, "OP")},
    }
    if kind == "aarch64" and "asimdhp" in flags:
        half = 2 * fp32
        peaks["fp16"] = {"gflops": _peak(cores, ghz, half), "arithmetic": _product(cores, ghz, half, "FLOP")}
    return {name: table | {"basis": "estimate", "source": source} for name, table in peaks.items()}


def _peak(cores: int, ghz: float, a_cycle: int) -> float:
    return round(cores * ghz * a_cycle, 1)


def _product(cores: int, ghz: float, a_cycle: int, operation: str) -> str:
    return f"{cores} cores x {ghz:g} GHz x {a_cycle} {operation}/cycle"


def _flags(root: Path) -> set[str]:
    try:
        with (root / "proc/cpuinfo").open("rb") as file:
            text = file.read(1 << 20).decode("utf-8", "replace")
    except OSError:  # not Linux
        return set()
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return set(found[1].split()) if found else set()


def _clock_mhz(root: Path) -> int | None:
    """The highest the fastest core can go; in virtual machines, what it goes now."""
    highest = [
        int(text) // 1000
        for path in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/cpuinfo_max_freq"))
        if (text := first_line(path) or "").isdecimal()
    ]
    if highest and max(highest) > 0:
        return max(highest)
    frequency = psutil.cpu_freq()
    now = max(frequency.max, frequency.current) if frequency is not None else 0.0
    return round(now) if now >= 1 else None


def _cache(root: Path) -> Table:
    """L1 data of a core, all of L2, all of L3, in bytes; {} where the kernel does not tell the first two."""
    sizes: dict[int, dict[str, int]] = {}  # level -> cores that share it -> bytes
    first: int | None = None
    for index in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cache/index[0-9]*")):
        level, kind = first_line(index / "level") or "", first_line(index / "type") or ""
        match = re.fullmatch(r"(\d+)([KMG]?)", first_line(index / "size") or "")
        shared = first_line(index / "shared_cpu_list") or index.parent.parent.name
        if match is None or not level.isdecimal() or kind == "Instruction":
            continue
        size = int(match[1]) * _SIZES.get(match[2], 1)
        if level == "1":
            first = max(first or 0, size)
        else:
            sizes.setdefault(int(level), {})[shared] = size
    if first is None or 2 not in sizes:
        return {}
    cache: Table = {"l1d_bytes": first, "l2_bytes": sum(sizes[2].values())}
    cache["l3_bytes"] = sum(sizes[3].values()) if 3 in sizes else "none"
    return cache
