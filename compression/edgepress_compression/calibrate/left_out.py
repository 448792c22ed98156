"""What predictions of nets that were left out of a fit teach: how wrong it is, and what whole nets add.

The profile times each kernel by itself. In a small net kernels run quicker than that makes believe, and in a
large one, whose data pushes everything else out of the caches, slower.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgepress_compression.calibrate.gaussian_process import Floats
from edgepress_compression.calibrate.samples import median_of
from edgepress_devices.calibrated import whole_factor
from edgepress_devices.calibration import Calibration, CrossValidation, WholeModel
from edgepress_devices.prediction import Prediction

NETS_MIN: Final = 12  # for a line
FACTOR_LOG_MAX: Final = 0.5
_ROUNDS: Final = 30


@dataclass(frozen=True)
class BlindNet:
    told: Prediction  # without the factor of the whole
    usual_us: float
    kernels: Mapping[str, float]  # us, as the profile told them
    traffic: int


def whole_model(nets: Sequence[BlindNet]) -> WholeModel | None:
    """The line with the least absolute error; None: too few nets, or all of one size."""
    if len(nets) < NETS_MIN:
        return None
    sizes = np.array([math.log2(one.traffic + 1) for one in nets])
    gaps = np.array([math.log(one.usual_us / one.told.latency_us) for one in nets])
    low, high = float(np.quantile(sizes, 0.03)), float(np.quantile(sizes, 0.97))
    if high - low < 1:
        return None
    share = (np.clip(sizes, low, high) - low) / (high - low)
    rows = np.stack([1 - share, share], axis=1)  # (nets, 2): what the ends weigh
    weights: Floats = np.ones(len(nets))
    ends: Floats = np.zeros(2)
    for _ in range(_ROUNDS):  # iteratively reweighted least squares
        ends = np.linalg.lstsq(rows * weights[:, None], gaps * weights, rcond=None)[0].astype(np.float64)
        weights = 1 / np.sqrt(np.maximum(np.abs(rows @ ends - gaps), 0.01))
    at_low, at_high = (round(min(max(float(end), -FACTOR_LOG_MAX), FACTOR_LOG_MAX), 4) for end in ends)
    return WholeModel(at_low=at_low, at_high=at_high, low=round(low, 3), high=round(high, 3))


def errors(nets: Sequence[BlindNet], calibration: Calibration) -> tuple[CrossValidation, dict[str, float]]:
    """(of nets and kernels, median by kind of operator), relative."""
    of_nets, of_kernels = [], []
    of_kinds: dict[str, list[float]] = {}
    for net in nets:
        whole = whole_factor(calibration.whole, net.traffic)
        run_us = net.told.overhead_us
        of_nets.append(abs((whole * (net.told.latency_us - run_us) + run_us) / net.usual_us - 1))
        for row in net.told.operators:
            if net.kernels.get(row.name, 0.0) <= 0:
                continue
            added = calibration.profile_us.get(row.dtype, 0.0)
            error = abs((whole * row.latency_us + added) / net.kernels[row.name] - 1)
            of_kernels.append(error)
            of_kinds.setdefault(row.kind, []).append(error)
    return CrossValidation(
        operator_median=round(median_of(of_kernels), 4) if of_kernels else 0.0,
        model_median=round(median_of(of_nets), 4),
        model_worst=round(max(of_nets), 4),
        n=len(of_nets),
    ), {name: round(median_of(one), 4) for name, one in of_kinds.items()}
