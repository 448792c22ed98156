"""How busy the GPU is, where the kernel tells it in a file.

    Jetson   ``load`` of the GPU's device, per mille; its place changed from L4T to L4T
    AMD      ``gpu_busy_percent`` of the card (kernel documentation, amdgpu)

Others are not read: Intel's, Raspberry Pi's and phones' GPUs tell no share in a file that is the same on all
of them, and NVIDIA's cards in PCs answer ``nvidia-smi`` only, a process of its own at every look.
"""

from pathlib import Path
from typing import Final

from edgepress_devices.sensors.kernel_file import KernelFile, entries

_JETSON: Final = (
    "gpu.0/load",  # Nano, TX2, Xavier: a link to the platform device
    "platform/gpu.0/load",
    "platform/*.gpu/load",
    "platform/*.g[avp][0-9]*b/load",  # Orin 17000000.ga10b, Xavier 17000000.gv11b, TX2 17000000.gp10b
    "platform/bus@0/*.gpu/load",  # L4T 36
)


class GpuLoad:
    def __init__(self, file: KernelFile, per_percent: float) -> None:
        self._file, self._per_percent = file, per_percent

    @classmethod
    def find(cls, root: Path) -> "GpuLoad | None":
        for pattern in _JETSON:
            for path in entries(root / "sys/devices", pattern):
                return cls(KernelFile(path, 32), 10.0)
        for path in entries(root / "sys/class/drm", "card*/device/gpu_busy_percent"):
            return cls(KernelFile(path, 32), 1.0)
        return None

    def percent(self) -> float | None:
        number = self._file.number()
        return None if number is None else number / self._per_percent
