"""What board this is, told once when the agent starts."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from edgepress_devices.protocol import Hardware
from edgepress_devices.sensors.kernel_file import first_line
from edgepress_devices.sensors.memory import SystemMemory

_RUNTIME_PACKAGES: Final = ("onnxruntime", "onnxruntime-gpu")
_CPU_NAME: Final = re.compile(r"^(?:model name|Hardware)\s*:\s*(.+)$", re.MULTILINE)
_TEXT_MAX_CHARS: Final = 500  # of protocol.Text


def describe_hardware(root: Path = Path("/")) -> Hardware:
    """The board as far as it can be read; what cannot be is absent."""
    kernel = root / "proc/sys/kernel"
    system = " ".join(filter(None, (first_line(kernel / "ostype"), first_line(kernel / "osrelease"))))
    memory = SystemMemory(root).read()
    return Hardware(
        machine=machine(root),
        system=(system or f"{platform.system()} {platform.release()}")[:_TEXT_MAX_CHARS],
        board=board_name(root),
        cores=_cores(root),
        ram_bytes=None if memory is None else memory.total_bytes,
        python=platform.python_version(),
        onnxruntime=_runtime_version(),
    )


def machine(root: Path = Path("/")) -> str:
    """x86_64, aarch64, armv7l ...: /proc/sys/kernel/arch since Linux 6.1, else what Python says."""
    return first_line(root / "proc/sys/kernel/arch") or platform.machine()


def board_name(root: Path = Path("/")) -> str | None:
    """The device tree's model, or the CPU's name on machines without one."""
    model = first_line(root / "proc/device-tree/model")
    if not model:
        match = _CPU_NAME.search(_cpuinfo(root))
        model = match[1].strip() if match else platform.processor()
    return model[:_TEXT_MAX_CHARS] or None


def is_raspberry_pi(root: Path = Path("/")) -> bool:
    return (board_name(root) or "").startswith("Raspberry Pi")


def _cores(root: Path) -> int | None:
    counted = len(re.findall(r"^processor\s*:", _cpuinfo(root), re.MULTILINE))
    return counted or os.cpu_count()


def _cpuinfo(root: Path) -> str:
    try:
        with (root / "proc/cpuinfo").open("rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace")
    except OSError:  # not Linux
        return ""


def _runtime_version() -> str | None:
    for package in _RUNTIME_PACKAGES:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None
