"""How long an operator takes at least: the roofline of a device profile, from its datasheet.

An operator needs its arithmetic done and its data moved; the two overlap, so the longer of them counts
(Williams, Waterman, Patterson 2009, "Roofline: an insightful visual performance model for multicore
architectures", Communications of the ACM 52(4)). On top of it comes what a runtime spends on calling it:

    latency = max(operations / peak, bytes / bandwidth) + overhead

What fits a cache comes from there: the values that an operator passes on, where they fit next to each other,
and the weights, where those of the whole model stay in it from one run to the next. It is a lower bound that
ranks shapes of layers for one device, not a forecast of milliseconds; prediction.py forecasts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from edgepress_devices.profile import Compute, DeviceProfile

DataType = Literal["fp32", "fp16", "int8"]
BYTES: Final[dict[str, int]] = {"fp32": 4, "fp16": 2, "int8": 1}

# What onnxruntime 1.31 spends on a node that has nothing to do: a chain of 310 elementwise operators on 8
# numbers took 0.32 us a node longer than one of 10, one thread at 2.6 GHz.
CPU_OVERHEAD_CYCLES: Final = 830.0
# Starting a CUDA kernel on a stream: a few microseconds on any driver; an estimate, not a measurement.
GPU_OVERHEAD_US: Final = 5.0
# How many times faster than memory a cache delivers: estimates, as datasheets of boards state no figure. They
# are on the low side of what desktops and boards of the last ten years show (2 to 4, and 4 to 10).
L3_TIMES_MEMORY: Final = 2.5
L2_TIMES_MEMORY: Final = 5.0
_GPU_PROVIDERS: Final = frozenset({"TensorrtExecutionProvider", "CUDAExecutionProvider"})


@dataclass(frozen=True)
class CacheLevel:
    """Working sets up to `size_bytes` move at `bytes_per_us`."""

    size_bytes: int
    bytes_per_us: float


@dataclass(frozen=True)
class Roofline:
    """A device's two limits for one data type.

    Operations count a multiply-add as two. `ridge` is the operations a byte above which arithmetic is the
    longer of the two.
    """

    operations_per_us: float
    bytes_per_us: float  # of memory
    overhead_us: float
    caches: tuple[CacheLevel, ...] = ()  # the smallest first

    @property
    def ridge(self) -> float:
        return self.operations_per_us / self.bytes_per_us

    def latency_us(self, *, operations: float, bytes_moved: float) -> float:
        return max(operations / self.operations_per_us, bytes_moved / self.bytes_per_us) + self.overhead_us

    def rate(self, working_set_bytes: float) -> float:
        """Bytes a microsecond at which a working set of this size moves."""
        for level in self.caches:
            if working_set_bytes <= level.size_bytes:
                return level.bytes_per_us
        return self.bytes_per_us


def roofline(profile: DeviceProfile, dtype: DataType = "fp32") -> Roofline:
    """The limits of the processor that the profile's runtime uses first.

    A data type that the processor has no arithmetic for runs as fp32 there.
    """
    gpu = profile.gpu if profile.gpu is not None and profile.providers[0] in _GPU_PROVIDERS else None
    compute = profile.compute if gpu is None else gpu.compute
    overhead_us = GPU_OVERHEAD_US if gpu is not None else CPU_OVERHEAD_CYCLES / profile.cpu.clock_mhz
    bytes_per_us = profile.memory.bandwidth.gb_per_s * 1e3
    return Roofline(
        operations_per_us=_peak_gops(compute, dtype) * 1e3,
        bytes_per_us=bytes_per_us,
        overhead_us=overhead_us,
        caches=() if gpu is not None else _caches(profile, bytes_per_us),
    )


def latency_us(profile: DeviceProfile, *, macs: float, bytes_moved: float, dtype: DataType = "fp32") -> float:
    """Microseconds of one operator with that many multiply-adds, whose weights, inputs and outputs are
    `bytes_moved` bytes together, all of them in memory."""
    return roofline(profile, dtype).latency_us(operations=2 * macs, bytes_moved=bytes_moved)


def _caches(profile: DeviceProfile, memory_bytes_per_us: float) -> tuple[CacheLevel, ...]:
    cache = profile.memory.cache
    levels = [CacheLevel(cache.l2_bytes, L2_TIMES_MEMORY * memory_bytes_per_us)]
    if cache.l3_bytes is not None and cache.l3_bytes > cache.l2_bytes:
        levels.append(CacheLevel(cache.l3_bytes, L3_TIMES_MEMORY * memory_bytes_per_us))
    return tuple(levels)


def _peak_gops(compute: Compute, dtype: DataType) -> float:
    """1e9 operations per second."""
    if dtype == "int8" and compute.int8 is not None:
        return compute.int8.gops
    if dtype == "fp16" and compute.fp16 is not None:
        return compute.fp16.gflops
    return compute.fp32.gflops
