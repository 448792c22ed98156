"""The roofline: the longer of arithmetic and traffic, from the profile's own numbers."""

from __future__ import annotations

import pytest

from edgepress_devices.profile import list_profiles, load_profile
from edgepress_devices.roofline import CPU_OVERHEAD_CYCLES, GPU_OVERHEAD_US, latency_us, roofline


def test_arithmetic_counts_where_it_is_longer() -> None:
    pi = load_profile("raspberry-pi-4")  # 48 GFLOP/s, 12.8 GB/s, 1500 MHz
    overhead_us = CPU_OVERHEAD_CYCLES / 1500
    assert latency_us(pi, macs=24e6, bytes_moved=1e3) == pytest.approx(1000 + overhead_us)


def test_traffic_counts_where_it_is_longer() -> None:
    pi = load_profile("raspberry-pi-4")
    overhead_us = CPU_OVERHEAD_CYCLES / 1500
    assert latency_us(pi, macs=1e3, bytes_moved=12.8e6) == pytest.approx(1000 + overhead_us)


def test_a_jetson_runs_on_its_gpu_and_is_bound_by_memory_where_a_pi_is_not() -> None:
    pi, jetson = load_profile("raspberry-pi-4"), load_profile("jetson-orin-nano")
    assert roofline(jetson).operations_per_us == pytest.approx(1280e3)
    assert roofline(jetson).overhead_us == GPU_OVERHEAD_US
    assert roofline(pi).ridge < 4
    assert roofline(jetson).ridge > 18


@pytest.mark.parametrize("profile", list_profiles(), ids=lambda profile: profile.id)
def test_int8_is_never_slower_than_fp32_by_the_roofline(profile: object) -> None:
    device = load_profile(profile.id)  # type: ignore[attr-defined]
    assert roofline(device, "int8").operations_per_us >= roofline(device).operations_per_us


def test_a_type_without_arithmetic_runs_as_fp32() -> None:
    pi = load_profile("raspberry-pi-4")  # has no fp16 arithmetic
    assert roofline(pi, "fp16") == roofline(pi, "fp32")
