"""Predictions: the form that the calibration states, and what they rest on."""

from __future__ import annotations

import math
import time

import msgspec
import pytest

from edgepress_devices.calibration import (
    CALIBRATION_MAX_BYTES,
    CalibratedMemory,
    CalibratedPower,
    Calibration,
    Correction,
    CrossValidation,
    KindFit,
    WholeModel,
    from_json,
    to_json,
)
from edgepress_devices.operator import Operator
from edgepress_devices.prediction import RUNTIME_BYTES, in_words, predict
from edgepress_devices.profile import load_profile
from edgepress_devices.roofline import L2_TIMES_MEMORY, roofline

PI = load_profile("raspberry-pi-4")
POINTWISE = Operator(
    name="a", op_type="Conv", dtype="fp32", macs=1_000_000, flops=2_000_000, weight_bytes=4000,
    read_bytes=40_000, written_bytes=40_000, depth=32, columns=32, rows=1000, layout="nchw",
)  # fmt: skip
ADD = Operator(name="b", op_type="Add", dtype="fp32", flops=10_000, read_bytes=80_000, written_bytes=40_000)


def calibration(**kinds: KindFit) -> Calibration:
    names = {name.replace("_", " "): fit for name, fit in kinds.items()}
    return Calibration(
        runtime="onnxruntime 1.31.1", threads=4, plan=1, at_ms=1, devices=["a", "b"], samples=100,
        node_overhead_us=0.5, run_overhead_us=3.0, kinds=names,
        error=CrossValidation(operator_median=0.1, model_median=0.08, model_worst=0.2, n=20),
    )  # fmt: skip


def kind(
    rate: float | None, moved: float, overhead_us: float, correction: Correction | None = None
) -> KindFit:
    return KindFit(
        operations_per_us=rate, bytes_per_us=moved, overhead_us=overhead_us, samples=9, correction=correction
    )


def total_us(operators: list[Operator], calibrated: Calibration | None) -> float:
    profile = msgspec.structs.replace(PI, calibration=calibrated)
    return predict(operators, profile, weight_bytes=4000, peak_activation_bytes=80_000).latency_us


def test_without_a_calibration_it_is_the_datasheets_roofline_and_says_so() -> None:
    told = predict([POINTWISE], PI, weight_bytes=4000, peak_activation_bytes=80_000)
    limits = roofline(PI)
    assert told.latency_us == pytest.approx(2_000_000 / limits.operations_per_us + limits.overhead_us)
    assert told.basis == told.memory_basis == told.energy_basis == "datasheet"
    assert told.memory_bytes == RUNTIME_BYTES + 84_000
    assert told.energy_mj == pytest.approx((5400 - 2300) * told.latency_us * 1e-6)
    assert in_words(told, PI) == "datasheet (roofline, expect a factor of 2)"


def test_values_that_fit_the_cache_move_at_its_rate_and_others_at_that_of_memory() -> None:
    small, large = ADD, msgspec.structs.replace(ADD, read_bytes=8_000_000, written_bytes=4_000_000)
    overhead_us, memory = roofline(PI).overhead_us, roofline(PI).bytes_per_us
    told = predict([small, large], PI, weight_bytes=0, peak_activation_bytes=0).operators
    assert told[0].latency_us - overhead_us == pytest.approx(120_000 / (L2_TIMES_MEMORY * memory))
    assert told[1].latency_us - overhead_us == pytest.approx(12_000_000 / memory)


def test_weights_stay_in_a_cache_only_where_the_whole_models_do() -> None:
    product = msgspec.structs.replace(POINTWISE, macs=1000, flops=2000, weight_bytes=500_000, rows=1)
    alone = predict([product], PI, weight_bytes=500_000, peak_activation_bytes=0).latency_us
    of_many = predict([product], PI, weight_bytes=20_000_000, peak_activation_bytes=0).latency_us
    assert of_many > 3 * alone


def test_the_longer_of_work_and_traffic_counts_and_the_overhead_comes_on_top() -> None:
    fitted = calibration(pointwise_nchw_fp32=kind(10_000.0, 1e6, 2.0), Add_fp32=kind(None, 5_000.0, 1.0))
    told = predict(
        [POINTWISE, ADD],
        msgspec.structs.replace(PI, calibration=fitted),
        weight_bytes=4000,
        peak_activation_bytes=80_000,
    )
    assert [row.latency_us for row in told.operators] == pytest.approx([202.0, 25.0])
    assert [row.bound for row in told.operators] == ["compute", "memory"]
    assert told.overhead_us == 3.0 + 2 * 0.5
    assert told.latency_us == pytest.approx(202.0 + 25.0 + 4.0)
    assert told.operators[0].operations_per_us == pytest.approx(2_000_000 / 202.0)
    assert told.operators[1].operations_per_byte == pytest.approx(10_000 / 120_000)
    assert told.error == 0.08
    assert (
        in_words(told, msgspec.structs.replace(PI, calibration=fitted)) == "calibrated on 2 devices (+-8 %)"
    )


def test_a_correction_counts_where_shapes_were_measured_and_fades_away_from_them() -> None:
    at = [math.log2(33)]
    correction = Correction(features=["columns"], lengths=[0.5], points=[at], weights=[math.log(3)])
    fitted = calibration(pointwise_nchw_fp32=kind(10_000.0, 1e6, 0.0, correction))
    wide = msgspec.structs.replace(POINTWISE, columns=4096)
    assert total_us([POINTWISE], fitted) == pytest.approx(3.5 + 3 * 200.0)
    assert total_us([wide], fitted) == pytest.approx(3.5 + 200.0)


def test_a_kind_that_was_never_measured_is_guessed_and_the_error_says_so() -> None:
    fitted = calibration(products_fp32=kind(10_000.0, 1e6, 0.0), pointwise_nhwc_int8=kind(1e5, 1e6, 0.0))
    profile = msgspec.structs.replace(PI, calibration=fitted)
    told = predict([POINTWISE], profile, weight_bytes=0, peak_activation_bytes=0)
    assert not told.operators[0].known
    assert told.error == pytest.approx(0.5)


def test_power_and_memory_of_the_calibration_count_where_it_has_them() -> None:
    fitted = msgspec.structs.replace(
        calibration(Add_fp32=kind(None, 5_000.0, 1.0)),
        power=CalibratedPower(idle_mw=1000.0, busy_mw=3000.0, method="ina3221", scope="board"),
        memory=CalibratedMemory(runtime_bytes=40_000_000),
    )
    profile = msgspec.structs.replace(PI, calibration=fitted)
    told = predict([ADD], profile, weight_bytes=1000, peak_activation_bytes=2000)
    assert told.memory_bytes == 40_003_000
    assert told.energy_mj == pytest.approx(2000.0 * told.latency_us * 1e-6)
    assert told.memory_basis == told.energy_basis == "calibration"


def test_two_hundred_operators_take_a_few_milliseconds() -> None:
    points = [[float(a), float(b)] for a in range(7) for b in range(7)]
    correction = Correction(
        features=["columns", "rows"], lengths=[2.0, 2.0], points=points, weights=[0.01] * len(points)
    )
    fitted = calibration(pointwise_nchw_fp32=kind(10_000.0, 1e6, 1.0, correction))
    operators = [msgspec.structs.replace(POINTWISE, columns=number + 1) for number in range(200)]
    took = []
    for _ in range(5):
        began = time.perf_counter()
        total_us(operators, fitted)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.02  # 3 ms on an idle PC


# --- the file -------------------------------------------------------------------------------------------


def test_a_calibration_is_read_as_it_was_written() -> None:
    fitted = calibration(Add_fp32=kind(None, 5_000.0, 1.0))
    assert from_json(to_json(fitted)) == fitted


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"points": [[1.0, 2.0]]}, "every point of the correction has 1 numbers"),
        ({"weights": [0.1, 0.2]}, "1 points have 2 weights"),
        ({"lengths": [0.0]}, "not above 0"),
    ],
)
def test_a_correction_that_does_not_fit_together_is_refused(change: dict[str, object], said: str) -> None:
    correction = Correction(features=["columns"], lengths=[1.0], points=[[1.0]], weights=[0.1])
    broken = msgspec.structs.replace(correction, **change)
    with pytest.raises(ValueError, match=said):
        from_json(to_json(calibration(Add_fp32=kind(None, 5_000.0, 1.0, broken))))


def test_a_file_that_is_too_large_is_refused_unread() -> None:
    with pytest.raises(ValueError, match="at most"):
        from_json(b" " * (CALIBRATION_MAX_BYTES + 1))


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (POINTWISE, "pointwise nchw fp32"),
        (ADD, "Add fp32"),
        (msgspec.structs.replace(POINTWISE, depth=9, kernel=9, groups=32, layout="nchwc"),
         "depthwise nchwc fp32"),
        (msgspec.structs.replace(POINTWISE, depth=27, kernel=9), "first convolution nchw fp32"),
        (msgspec.structs.replace(POINTWISE, depth=288, kernel=9), "convolution nchw fp32"),
        (msgspec.structs.replace(POINTWISE, depth=72, kernel=9, groups=4), "grouped convolution nchw fp32"),
        (msgspec.structs.replace(POINTWISE, op_type="QGemm", dtype="int8", rows=1, layout=""),
         "matrix times vector int8"),
        (msgspec.structs.replace(POINTWISE, op_type="MatMul", weight_bytes=0, layout=""),
         "product of values fp32"),
    ],
)  # fmt: skip
def test_operators_are_fitted_together_by_their_kernel(operator: Operator, expected: str) -> None:
    assert operator.kind == expected


def test_whole_models_depart_from_the_sum_of_their_operators_as_nets_of_their_size_did() -> None:
    fitted = calibration(Add_fp32=kind(None, 5_000.0, 1.0))
    low, high = math.log2(120_001), math.log2(120_001) + 4
    whole = WholeModel(at_low=math.log(0.8), at_high=math.log(1.2), low=low, high=high)
    with_whole = msgspec.structs.replace(fitted, whole=whole)
    assert total_us([ADD], with_whole) == pytest.approx(3.5 + 0.8 * 25.0)
    large = [ADD] * 1000  # 120 MB: beyond what was measured, as at its end
    assert total_us(large, with_whole) == pytest.approx(3.0 + 500.0 + 1.2 * 25_000.0)
