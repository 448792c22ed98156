"""A fit finds again what reports were made by, and believes no device that cannot be believed."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planted_reports import NETS, PROFILE_US, RUN_US, Law, planted

from edgepress_compression.calibrate import CalibrationError, DeviceReport, fit
from edgepress_compression.calibrate.samples import net_operators
from edgepress_devices.calibration import CALIBRATION_MAX_BYTES, Calibration, from_json, to_json
from edgepress_devices.microbench.nets import NAMES, PLAN_VERSION
from edgepress_devices.prediction import Prediction, predict
from edgepress_devices.profile import DeviceProfile, load_profile
from edgepress_devices.protocol import ProfilingReport

PC = load_profile("x86-pc")
UNSEEN = ("separable-49", "inverted-112", "residual-32", "lenet-28")


def fitted(*reports: ProfilingReport, profile: DeviceProfile = PC) -> Calibration:
    named = [DeviceReport(device=f"pc-{number}", report=one) for number, one in enumerate(reports)]
    return fit(named, profile)


def predicted(calibration: Calibration, net: str, form: str = "fp32") -> Prediction:
    runs = net_operators(net, form, "nchwc")
    profile = msgspec.structs.replace(PC, calibration=calibration)
    return predict(
        runs.operators,
        profile,
        weight_bytes=runs.weight_bytes,
        peak_activation_bytes=runs.peak_activation_bytes,
    )


def true_us(law: Law, net: str, form: str = "fp32") -> float:
    return RUN_US + sum(law(one) for one in net_operators(net, form, "nchwc").operators)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    fp32=st.floats(5_000, 200_000),
    int8=st.floats(20_000, 800_000),
    memory=st.floats(5_000, 60_000),
    overhead=st.floats(0.5, 5.0),
)
def test_nets_that_were_never_timed_are_predicted_by_the_law_that_the_others_follow(
    fp32: float, int8: float, memory: float, overhead: float
) -> None:
    law = Law(fp32, int8, memory, overhead)
    calibration = fitted(planted(law, noise=0.02))
    for net in UNSEEN:
        for form in ("fp32", "u8"):
            told = predicted(calibration, net, form).latency_us
            assert told == pytest.approx(true_us(law, net, form), rel=0.15), (net, form)


def test_what_is_sustained_can_be_read_off_the_fit() -> None:
    calibration = fitted(planted(Law()))
    kind = calibration.kinds["convolution nchwc fp32"]
    assert kind.operations_per_us == pytest.approx(50_000, rel=0.1)
    assert calibration.kinds["products int8"].operations_per_us == pytest.approx(150_000, rel=0.1)
    assert calibration.profile_us["fp32"] == pytest.approx(PROFILE_US, rel=0.05)
    assert calibration.run_overhead_us == pytest.approx(RUN_US, rel=0.2)
    assert calibration.error.model_median < 0.03
    assert calibration.error.n == 2 * len(NETS)


def test_a_calibration_survives_its_json_and_stays_small() -> None:
    calibration = fitted(planted(Law(), noise=0.1, nets=NAMES))
    raw = to_json(calibration)
    assert len(raw) < 0.85 * CALIBRATION_MAX_BYTES
    assert from_json(raw) == calibration


def test_noise_shows_in_the_error_that_is_told() -> None:
    quiet, loud = fitted(planted(Law(), noise=0.01)), fitted(planted(Law(), noise=0.4))
    assert quiet.error.operator_median < 0.05 < loud.error.operator_median


def test_wild_times_of_a_few_kernels_move_nothing() -> None:
    report = planted(Law())
    for number in range(0, len(report.kernels), 40):
        report.kernels[number].mean_us *= 30
    calibration = fitted(report)
    for net in UNSEEN:
        assert predicted(calibration, net).latency_us == pytest.approx(true_us(Law(), net), rel=0.2)


# --- devices that cannot be believed --------------------------------------------------------------------


def test_of_three_devices_the_poisoned_one_is_named_and_changes_nothing() -> None:
    honest = [planted(Law(), noise=0.03, seed=seed) for seed in (1, 2)]
    alone = fitted(*honest)
    calibration = fitted(*honest, planted(Law(), slower=5.0))
    assert calibration.devices == ["pc-0", "pc-1"]
    assert [(one.device, "5 times their times" in one.reason) for one in calibration.rejected] == [
        ("pc-2", True)
    ]
    for net in UNSEEN:
        assert predicted(calibration, net).latency_us == pytest.approx(
            predicted(alone, net).latency_us, rel=1e-6
        )


def test_a_device_whose_kernels_are_shuffled_is_rejected_though_its_sum_is_right() -> None:
    honest = [planted(Law(), noise=0.03, seed=seed) for seed in (1, 2)]
    calibration = fitted(*honest, planted(Law(), noise=1.0, seed=3))
    assert [one.device for one in calibration.rejected] == ["pc-2"]
    assert "either direction" in calibration.rejected[0].reason


def test_of_two_devices_that_disagree_nothing_tells_which_is_right() -> None:
    with pytest.raises(CalibrationError, match="ask a third device") as raised:
        fitted(planted(Law()), planted(Law(), slower=4.0))
    assert [one.device for one in raised.value.rejected] == ["pc-0", "pc-1"]


def test_of_two_devices_the_one_faster_than_its_datasheet_is_the_wrong_one() -> None:
    calibration = fitted(planted(Law()), planted(Law(), slower=0.01))
    assert calibration.devices == ["pc-0"]
    assert "faster than the datasheet's peak allows" in calibration.rejected[0].reason
    assert "correct the peaks" in calibration.rejected[0].reason


def test_kernels_that_have_nothing_to_do_with_the_whole_net_are_not_believed() -> None:
    report = planted(Law())
    for net in report.nets:
        net.p50_us *= 10
    with pytest.raises(CalibrationError, match="one of the two is not true"):
        fitted(report)


def test_devices_that_differ_by_luck_are_all_used() -> None:
    reports = [planted(Law(), slower=factor, noise=0.05, seed=n) for n, factor in enumerate((1.0, 1.15, 0.9))]
    calibration = fitted(*reports)
    assert calibration.devices == ["pc-0", "pc-1", "pc-2"]
    assert not calibration.rejected


def test_a_device_with_another_runtime_is_left_out_with_the_reason() -> None:
    others = [planted(Law(), seed=seed) for seed in (1, 2)]
    calibration = fitted(*others, planted(Law(), runtime="onnxruntime 1.20.0"))
    assert calibration.runtime == "onnxruntime 1.31.1"
    assert "ran onnxruntime 1.20.0, the others onnxruntime 1.31.1" in calibration.rejected[0].reason


def test_the_newest_report_of_a_device_counts() -> None:
    old, new = planted(Law(), slower=3.0), planted(Law())
    reports = [DeviceReport(device="pc", report=one) for one in (old, new)]
    assert predicted(fit(reports, PC), "lenet-28").latency_us == pytest.approx(
        true_us(Law(), "lenet-28"), rel=0.1
    )


def test_no_report_at_all_and_too_small_a_report_say_what_to_do() -> None:
    with pytest.raises(CalibrationError, match="send a device a job"):
        fit([], PC)
    with pytest.raises(CalibrationError, match="2 of the calibration nets were timed"):
        fitted(planted(Law(), nets=("plain-32", "lenet-24"), forms=("fp32",)))
    unknown = planted(Law())
    for kernel in unknown.kernels:
        kernel.name = f"another {kernel.name}"
    with pytest.raises(CalibrationError, match="update their agent"):
        fitted(unknown)


def test_power_is_the_median_of_devices_with_one_kind_of_sensor() -> None:
    reports = [planted(Law(), seed=n, power_mw=(2000.0 + n, 6000.0 + n)) for n in range(3)]
    power = fitted(*reports).power
    assert power is not None
    assert (power.idle_mw, power.busy_mw, power.method) == (2001.0, 6001.0, "ina3221")
    assert fitted(planted(Law())).power is None


def test_energy_and_memory_rest_on_what_was_measured() -> None:
    told = predicted(fitted(planted(Law(), power_mw=(2000.0, 6000.0))), "plain-32")
    assert told.energy_basis == told.memory_basis == "calibration"
    assert told.energy_mj == pytest.approx(4000.0 * told.latency_us * 1e-6)
    runs = net_operators("plain-32", "fp32", "nchwc")
    assert told.memory_bytes == 60_000_000 + runs.weight_bytes + runs.peak_activation_bytes


def test_times_of_another_plan_s_nets_are_not_fitted_to_these() -> None:
    other = msgspec.structs.replace(planted(Law()), plan=PLAN_VERSION + 1)
    with pytest.raises(CalibrationError, match="update the agents"):
        fitted(other)
