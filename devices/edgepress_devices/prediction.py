"""How long a model will take on a device, how much memory it will need and how much energy it will use.

With a calibration in the profile, from what such devices were measured to sustain (calibration.py has the
form); without one, from the datasheet's roofline, which is a lower bound. Pure arithmetic on the operators
that the runtime executes: nothing is run and nothing is imported.

    latency = run overhead + sum over operators of (its time + node overhead)
    memory  = runtime + weights + values that are alive together
    energy  = (power while busy - power while idle) * latency: what the inference itself costs
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from edgepress_devices.calibrated import CalibratedKinds, Sustained, model_traffic
from edgepress_devices.calibration import Calibration
from edgepress_devices.operator import Operator
from edgepress_devices.profile import DeviceProfile
from edgepress_devices.roofline import DataType, Roofline, roofline

Basis = Literal["datasheet", "calibration", "measurement"]
Bound = Literal["compute", "memory", "overhead"]

# Resident memory of a process with Python, numpy and onnxruntime, before a model: 68 MB with 1.31 on x86-64.
RUNTIME_BYTES: Final = 68_000_000
DATASHEET_ERROR: Final = 1.0  # a factor of two: what a lower bound of peaks is worth
UNKNOWN_KIND_ERROR: Final = 0.5  # of time that rests on a kind of operator that was never measured


class OperatorPrediction(msgspec.Struct, frozen=True, kw_only=True):
    """One operator. A share of the model's overheads is in no operator."""

    name: str
    op_type: str
    kind: str
    dtype: str
    latency_us: float
    bound: Bound  # which of the three is the longest
    operations: int
    bytes_moved: int
    operations_per_us: float  # that this prediction amounts to
    operations_per_byte: float
    known: bool  # False: no operator of its kind was measured, so it is guessed from others


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    latency_us: float
    memory_bytes: int
    energy_mj: float | None  # None: the profile states no power
    basis: Basis
    error: float | None  # expected relative error of the latency, 0.08 = 8 %
    memory_basis: Basis = "datasheet"
    energy_basis: Basis = "datasheet"
    overhead_us: float = 0.0  # of the run and its nodes; in latency_us
    operators: list[OperatorPrediction] = []


def predict(
    operators: Sequence[Operator],
    profile: DeviceProfile,
    *,
    weight_bytes: int,
    peak_activation_bytes: int,
) -> Prediction:
    """Of one inference of one sample. The latency rests on the profile's calibration where it has one."""
    calibration = profile.calibration
    if calibration is None:
        rows = [_from_datasheet(one, profile, weight_bytes) for one in operators]
        overhead_us, error = 0.0, DATASHEET_ERROR
    else:
        kinds = CalibratedKinds(calibration, model_traffic(operators))
        rows = [_from_calibration(one, kinds.of(one)) for one in operators]
        overhead_us = calibration.run_overhead_us + len(rows) * calibration.node_overhead_us
        error = _expected_error(rows, calibration)
    latency_us = overhead_us + math.fsum(row.latency_us for row in rows)
    runtime = None if calibration is None or calibration.memory is None else calibration.memory.runtime_bytes
    power = None if calibration is None else calibration.power
    if power is None:
        busy_mw = profile.power.typical_mw - profile.power.idle_mw
    else:
        busy_mw = power.busy_mw - power.idle_mw
    return Prediction(
        latency_us=latency_us,
        memory_bytes=(runtime or RUNTIME_BYTES) + weight_bytes + peak_activation_bytes,
        energy_mj=max(0.0, busy_mw) * latency_us * 1e-6,  # mW x us = nJ
        basis="datasheet" if calibration is None else "calibration",
        error=error,
        memory_basis="datasheet" if runtime is None else "calibration",
        energy_basis="datasheet" if power is None else "calibration",
        overhead_us=overhead_us,
        operators=rows,
    )


def in_words(prediction: Prediction, profile: DeviceProfile) -> str:
    """What a predicted latency rests on: to stand beside it wherever a person sees it."""
    calibration = profile.calibration
    if prediction.basis == "measurement":
        return "measured"
    if prediction.basis == "datasheet" or calibration is None:
        return "datasheet (roofline, expect a factor of 2)"
    devices = "1 device" if len(calibration.devices) == 1 else f"{len(calibration.devices)} devices"
    error = "" if prediction.error is None else f" (+-{100 * prediction.error:.0f} %)"
    return f"calibrated on {devices}{error}"


# --- datasheet -----------------------------------------------------------------------------------------


def datasheet_type(dtype: str) -> DataType:
    """The type whose peak counts: 4-bit weights are multiplied as fp32."""
    return "int8" if dtype == "int8" else "fp16" if dtype == "fp16" else "fp32"


def _from_datasheet(one: Operator, profile: DeviceProfile, weight_bytes: int) -> OperatorPrediction:
    limits = roofline(profile, datasheet_type(one.dtype))
    compute_us = one.flops / limits.operations_per_us
    memory_us = traffic_us(one, limits, weight_bytes)
    return _row(one, compute_us, memory_us, limits.overhead_us, known=True)


def traffic_us(one: Operator, limits: Roofline, weight_bytes: int) -> float:
    """Values pass through the cache that holds them all; weights come from the one that holds the model's."""
    values = one.read_bytes + one.written_bytes
    return values / limits.rate(values) + one.weight_bytes / limits.rate(weight_bytes + values)


# --- calibration ---------------------------------------------------------------------------------------


def _from_calibration(one: Operator, sustained: Sustained) -> OperatorPrediction:
    rate, factor = sustained.operations_per_us, sustained.work_factor
    compute_us = 0.0 if rate is None else factor * one.flops / rate
    memory_us = factor * one.bytes_moved / sustained.bytes_per_us
    return _row(one, compute_us, memory_us, sustained.call_us, known=sustained.known)


# --- both ----------------------------------------------------------------------------------------------


def _row(
    one: Operator, compute_us: float, memory_us: float, overhead_us: float, *, known: bool
) -> OperatorPrediction:
    longest = max(compute_us, memory_us)
    latency_us = longest + overhead_us
    bound: Bound = "overhead" if overhead_us > longest else "memory" if memory_us > compute_us else "compute"
    return OperatorPrediction(
        name=one.name,
        op_type=one.op_type,
        kind=one.kind,
        dtype=one.dtype,
        latency_us=latency_us,
        bound=bound,
        operations=one.flops,
        bytes_moved=one.bytes_moved,
        operations_per_us=one.flops / latency_us if latency_us > 0 else 0.0,
        operations_per_byte=one.flops / one.bytes_moved if one.bytes_moved else 0.0,
        known=known,
    )


def _expected_error(rows: Sequence[OperatorPrediction], calibration: Calibration) -> float:
    """That of models, and more where much of the time rests on kinds that were never measured."""
    total = math.fsum(row.latency_us for row in rows)
    guessed = math.fsum(row.latency_us for row in rows if not row.known) / total if total > 0 else 0.0
    return calibration.error.model_median * (1 - guessed) + UNKNOWN_KIND_ERROR * guessed
