"""Reports of made-up devices whose times follow a known law: what a fit has to find again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from edgepress_compression.calibrate.samples import net_operators
from edgepress_devices.microbench.nets import PLAN_VERSION
from edgepress_devices.operator import Operator
from edgepress_devices.protocol import KernelTime, NetTime, ProfilingReport, Reading

NETS = ("plain-32", "separable-96", "residual-16", "fire-160", "perceptron-1", "attention-24", "lenet-24")
PROFILE_US = 2.0  # what the made-up runtime's profile adds to a kernel
RUN_US = 4.0


@dataclass(frozen=True)
class Law:
    """The plain form, with rates of one datasheet-like machine."""

    fp32_per_us: float = 50_000.0
    int8_per_us: float = 150_000.0
    bytes_per_us: float = 20_000.0
    overhead_us: float = 1.0
    depthwise: float = 1.0  # how many times slower depthwise convolutions are

    def __call__(self, one: Operator) -> float:
        rate = self.int8_per_us if one.dtype == "int8" else self.fp32_per_us
        work = one.flops / rate if one.macs else 0.0
        longest = max(work, one.bytes_moved / self.bytes_per_us)
        return longest * (self.depthwise if one.family == "depthwise" else 1.0) + self.overhead_us


def planted(
    law: Callable[[Operator], float],
    *,
    nets: Sequence[str] = NETS,
    forms: Sequence[str] = ("fp32", "u8"),
    noise: float = 0.0,
    seed: int = 0,
    slower: float = 1.0,
    layout: str = "nchwc",
    runtime: str = "onnxruntime 1.31.1",
    threads: int = 1,
    power_mw: tuple[float, float] | None = None,
) -> ProfilingReport:
    """`slower`: all its times by this factor; `noise`: standard deviation of each time's logarithm."""
    random = Random(seed)
    rows, kernels = [], []
    for form in forms:
        for net in nets:
            total = 0.0
            for one in net_operators(net, form, layout).operators:
                us = slower * law(one) * math.exp(random.gauss(0.0, noise))
                total += us
                kernels.append(KernelTime(net, form, one.name, one.op_type, us + PROFILE_US, 0.02 * us, 100))
            total += RUN_US
            rows.append(NetTime(net, form, 0.99 * total, total, total, 0.01 * total, 100))
    idle, busy = (None, None) if power_mw is None else (Reading(mw, "ina3221", "board") for mw in power_mw)
    return ProfilingReport(
        id="job",
        what="device",
        plan=PLAN_VERSION,
        digest=None,
        runtime=runtime,
        machine="x86_64",
        threads=threads,
        nets=rows,
        kernels=kernels,
        idle_mw=idle,
        busy_mw=busy,
        runtime_rss_bytes=60_000_000,
    )
