"""Reports of a device that behaves as planted: what a fit has to find again. Nothing is timed."""

from __future__ import annotations

import random

from edgepress_compression.calibrate.samples import net_operators
from edgepress_devices.microbench.nets import NAMES
from edgepress_devices.protocol import KernelTime, NetTime, ProfilingReport
from edgepress_server.store.profiling import ProfilingJobRow

LAYOUT = "nchwc"
RUN_US = 4.0


def planted(
    job: ProfilingJobRow,
    *,
    slower: float = 1.0,
    noise: float = 0.02,
    count: int = 14,
    seed: int = 1,
    blurred: bool = False,
) -> ProfilingReport:
    """Of the first ``count`` nets in fp32: 40 Gop/s, 8 GB/s, 1.5 us a call, all ``slower`` times as long.

    ``noise``: of each kernel, the standard deviation of its logarithm. ``blurred``: all kernels of a net
    are told to take alike; the times of whole nets are right.
    """
    drawn = random.Random(seed)
    nets, kernels = [], []
    for name in NAMES[:count]:
        operators = net_operators(name, "fp32", LAYOUT).operators
        times_us = [
            slower * drawn.lognormvariate(0.0, noise) * (max(one.flops / 4e4, one.bytes_moved / 8e3) + 1.5)
            for one in operators
        ]
        total_us = RUN_US * slower + sum(times_us)
        if blurred:
            times_us = [sum(times_us) / len(times_us)] * len(times_us)
        kernels += [
            KernelTime(name, "fp32", one.name, one.op_type, time_us, 0.02 * time_us, 40)
            for one, time_us in zip(operators, times_us, strict=True)
        ]
        nets.append(NetTime(name, "fp32", 0.97 * total_us, total_us, total_us, 0.01 * total_us, 40))
    return ProfilingReport(
        id=job.id,
        what="device",
        plan=job.plan,
        digest=None,
        runtime="onnxruntime 1.31.1",
        machine="x86_64",
        threads=4,
        nets=nets,
        kernels=kernels,
    )
