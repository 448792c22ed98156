"""What each board's sensors tell, on reconstructed trees; and that a board which cannot tell says None."""

import logging
import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from board import TREES, Board
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_devices import protocol
from edgepress_devices.protocol import Reading, Sample
from edgepress_devices.sensors import Readings, Sensors, describe_hardware
from edgepress_devices.sensors.cpu import AgentCpuUse
from edgepress_devices.sensors.throttling import parse_get_throttled

MakeBoard = Callable[[str], Board]
PAGE = os.sysconf("SC_PAGE_SIZE")

# board, temperature, throttled now, power of the first look (RAPL needs two), battery
WHAT_THEY_TELL = [
    ("raspberry-pi-4", 51.121, False, None, None),
    ("raspberry-pi-5", 56.65, False, Reading(2578.289, "pmic", "rails"), None),
    ("raspberry-pi-zero-2w", 81.738, True, None, None),
    ("jetson-nano", 34.5, None, Reading(2309, "ina3221", "module"), None),
    ("jetson-orin-nano", 48.062, False, Reading(5016 * 912 / 1000, "ina3221", "module"), None),
    (
        "jetson-agx-orin",
        51.5,
        True,
        Reading((19792 * 160 + 19792 * 48 + 4968 * 953) / 1000, "ina3221", "module rails"),
        None,
    ),
    ("x86-laptop", 54.0, False, Reading(11.58 * 0.843 * 1000, "battery", "device"), 73.0),
    ("amd-desktop", 61.25, None, None, None),
    ("x86-container", None, None, None, None),
    ("android-phone", 52.9, True, Reading(3.912 * 0.412 * 1000, "battery", "device"), 64.0),
]


@pytest.mark.parametrize(("name", "temp", "throttled", "power", "battery"), WHAT_THEY_TELL)
def test_what_a_board_tells(
    name: str,
    temp: float | None,
    throttled: bool | None,
    power: Reading | None,
    battery: float | None,
    board: MakeBoard,
) -> None:
    with board(name).sensors() as sensors:
        readings = sensors.read()
    assert (readings.temp_c, readings.throttled, readings.battery_percent) == (temp, throttled, battery)
    if power is None:
        assert readings.power_mw is None
    else:
        assert readings.power_mw is not None
        assert readings.power_mw.value == pytest.approx(power.value, rel=1e-6)
        assert (readings.power_mw.method, readings.power_mw.scope) == (power.method, power.scope)
    assert readings.mem_total_bytes is not None and readings.mem_used_bytes is not None
    assert 0 < readings.mem_used_bytes < readings.mem_total_bytes
    assert readings.rss_bytes in (6120 * PAGE, 1530 * PAGE)
    assert readings.disk_free_bytes is not None and readings.disk_free_bytes > 0


# board, swap used in KiB, mean clock, GPU, charging, Wi-Fi
WHAT_ELSE_THEY_TELL = [
    ("raspberry-pi-4", 102396 - 98300, 1500.0, None, None, -52.0),
    ("raspberry-pi-5", None, 1800.0, None, None, None),
    ("raspberry-pi-zero-2w", 102396 - 51196, 700.0, None, None, -71.0),
    ("jetson-nano", 2029628 - 1880124, 1479.0, 43.6, None, None),
    ("jetson-orin-nano", None, (4 * 1510.4 + 2 * 729.6) / 6, 91.2, None, None),
    ("jetson-agx-orin", None, 1696.0, 0.0, None, None),
    ("x86-laptop", 0, 1000.0, None, False, -46.0),
    ("amd-desktop", None, 4125.0, 17.0, None, None),
    ("x86-container", None, None, None, None, None),
    ("android-phone", 3145724 - 1200000, (6 * 1804.8 + 2 * 2208.0) / 8, None, False, None),
]


@pytest.mark.parametrize(("name", "swap_kib", "mhz", "gpu", "charging", "dbm"), WHAT_ELSE_THEY_TELL)
def test_what_else_a_board_tells(
    name: str,
    swap_kib: int | None,
    mhz: float | None,
    gpu: float | None,
    charging: bool | None,
    dbm: float | None,
    board: MakeBoard,
) -> None:
    with board(name).sensors() as sensors:
        readings = sensors.read()
    assert readings.swap_used_bytes == (None if swap_kib is None else 1024 * swap_kib)
    assert readings.cpu_mhz == (None if mhz is None else pytest.approx(mhz))
    assert (readings.gpu_percent, readings.battery_charging, readings.wifi_dbm) == (gpu, charging, dbm)


def test_every_tree_is_in_the_table() -> None:
    assert {path.name for path in TREES.iterdir() if path.is_dir()} == {row[0] for row in WHAT_THEY_TELL}
    assert {row[0] for row in WHAT_ELSE_THEY_TELL} == {row[0] for row in WHAT_THEY_TELL}


def test_readings_have_the_names_of_a_sample_and_travel_in_one(board: MakeBoard) -> None:
    with board("jetson-orin-nano").sensors() as sensors:
        readings = sensors.read()
    assert set(Readings.__struct_fields__) <= set(Sample.__struct_fields__)
    sample = Sample(at_ms=1, interval_ms=1000, **msgspec.structs.asdict(readings))
    batch = protocol.TelemetryBatch(1, "e", 1, [sample])
    assert protocol.decode_batch(protocol.encode_batch(batch)) == batch


def stat(busy: int, idle: int, iowait: int = 0) -> str:
    return f"cpu  {busy} 0 0 {idle} {iowait} 0 0 0 0 0\ncpu0 1 2 3 4"


def test_cpu_use_is_the_share_since_the_last_look(board: MakeBoard) -> None:
    pi = board("raspberry-pi-4")
    pi.write("proc/stat", stat(1000, 1000))
    with pi.sensors() as sensors:
        for busy, idle, iowait, percent in (
            (1030, 1070, 0, 30.0),
            (1030, 1070, 0, 30.0),  # within one tick nothing is new
            (1030, 1090, 80, 0.0),  # waiting for the disk is idle
            (1130, 1090, 80, 100.0),
        ):
            pi.write("proc/stat", stat(busy, idle, iowait))
            assert sensors.read().cpu_percent == pytest.approx(percent)


@pytest.mark.parametrize("content", ["", "cpu", "cpu a b c d e f", "cpu0 1 2 3 4 5 6 7", "\xff"])
def test_a_broken_proc_stat_tells_nothing(content: str, board: MakeBoard) -> None:
    pi = board("raspberry-pi-4")
    pi.write("proc/stat", content)
    with pi.sensors() as sensors:
        assert sensors.read().cpu_percent is None


def test_a_phone_that_hides_proc_stat_tells_no_cpu_use_and_why_once(
    board: MakeBoard, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="edgepress.sensors")
    with board("android-phone").sensors() as sensors:
        assert [sensors.read().cpu_percent for _ in range(5)] == [None] * 5
    reasons = [record.message for record in caplog.records if "proc/stat" in record.message]
    assert len(reasons) == len(set(reasons)) > 0


def test_the_agents_own_cpu_use_is_of_one_core() -> None:
    times = iter([0.0, 2.0, 2.0, 3.0])
    used = iter([1.0, 1.5, 1.6, 3.5])
    agent = AgentCpuUse(lambda: next(times), lambda: next(used))
    assert agent.percent() == pytest.approx(25.0)
    assert agent.percent() is None  # no time has passed
    assert agent.percent() == pytest.approx(200.0)  # two cores for a second


@pytest.mark.parametrize("kib", ["0", "9" * 30])
def test_an_impossible_amount_of_memory_is_none(kib: str, board: MakeBoard) -> None:
    pi = board("raspberry-pi-4")
    pi.write("proc/meminfo", f"MemTotal: {kib} kB\nMemFree: 1 kB\nMemAvailable: 1 kB")
    pi.write("proc/self/statm", f"1 {'9' * 30} 1 1 0 1 0")
    with pi.sensors() as sensors:
        readings = sensors.read()
    assert (readings.mem_total_bytes, readings.mem_used_bytes, readings.rss_bytes) == (None, None, None)


@pytest.mark.parametrize("milli", ["-274000", "999999", "", "hot"])
def test_an_impossible_temperature_is_none(milli: str, board: MakeBoard) -> None:
    pi = board("raspberry-pi-4")
    pi.write("sys/class/thermal/thermal_zone0/temp", milli)
    with pi.sensors() as sensors:
        assert sensors.read().temp_c is None


def test_a_zone_that_wakes_up_is_read_again(board: MakeBoard) -> None:
    pi = board("raspberry-pi-4")
    temp = "sys/class/thermal/thermal_zone0/temp"
    with pi.sensors() as sensors:
        assert sensors.read().temp_c == 51.121
        sensors._temperature._files[0].close()  # as after a failed read
        pi.break_file(temp)
        assert sensors.read().temp_c is None
        (pi.root / temp).rmdir()
        pi.write(temp, 60_000)
        assert sensors.read().temp_c == 60.0


@pytest.mark.parametrize(
    ("output", "throttled"),
    [
        ("throttled=0x0\n", False),
        ("throttled=0x1\n", False),  # low voltage alone holds nothing back
        ("throttled=0x2\n", True),
        ("throttled=0x4\n", True),
        ("throttled=0x8\n", True),
        ("throttled=0xf0000\n", False),  # history since boot
        ("throttled=0x50005\n", True),
        ("", None),
        ("throttled=no", None),
        (None, None),
        ('error=1 error_msg="Command not registered"', None),
    ],
)
def test_the_bits_of_get_throttled(output: str | None, throttled: bool | None) -> None:
    assert parse_get_throttled(output) is throttled


def test_a_throttle_counter_that_grows_says_throttled_until_it_rests(board: MakeBoard) -> None:
    laptop = board("x86-laptop")
    counter = "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
    with laptop.sensors() as sensors:
        assert sensors.read().throttled is False
        laptop.write(counter, 45)
        assert sensors.read().throttled is True
        assert sensors.read().throttled is False


def test_a_fan_that_turns_is_no_throttling_and_a_slowed_cpu_is(board: MakeBoard) -> None:
    jetson = board("jetson-orin-nano")
    with jetson.sensors() as sensors:
        jetson.write("sys/class/thermal/cooling_device0/cur_state", 4)  # pwm-fan
        assert sensors.read().throttled is False
        jetson.write("sys/class/thermal/cooling_device1/cur_state", 1)  # cpufreq-cpu0
        assert sensors.read().throttled is True


def test_over_current_events_of_a_jetson_say_throttled(board: MakeBoard) -> None:
    jetson = board("jetson-orin-nano")
    with jetson.sensors() as sensors:
        jetson.write("sys/class/hwmon/hwmon2/oc3_event_cnt", 2)
        assert sensors.read().throttled is True
        assert sensors.read().throttled is False


def test_only_a_raspberry_pi_runs_vcgencmd(board: MakeBoard) -> None:
    for name in ("x86-laptop", "jetson-nano", "x86-container"):
        machine = board(name)
        with machine.sensors() as sensors:
            sensors.read()
        assert machine.ran == []


def test_no_thread_is_left_behind(board: MakeBoard) -> None:
    before = set(threading.enumerate())
    with board("raspberry-pi-5").sensors() as sensors:
        sensors.read()
        assert {thread.name for thread in threading.enumerate()} >= {"sensor-commands"}
    assert set(threading.enumerate()) == before


def test_a_look_at_a_whole_board_takes_less_than_a_fifth_of_a_millisecond(board: MakeBoard) -> None:
    with board("raspberry-pi-5").sensors("raspberry-pi-5") as sensors:
        looks = []
        for _ in range(200):
            before = time.thread_time_ns()  # CPU time: other programs on this machine do not count
            sensors.read()
            looks.append((time.thread_time_ns() - before) / 1000)
    assert statistics.median(looks) < 200, "microseconds; measured 40 to 80"


def test_this_very_machine_can_be_read() -> None:
    with Sensors(data_dir=Path(__file__).parent) as sensors:
        readings = sensors.read()
    assert readings.rss_bytes is not None and readings.rss_bytes > 1_000_000
    assert readings.mem_total_bytes is not None and readings.mem_total_bytes > readings.rss_bytes


def test_no_data_folder_no_free_space(tmp_path: Path) -> None:
    with Sensors(data_dir=tmp_path / "gone") as sensors:
        assert sensors.read().disk_free_bytes is None


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_garbage_in_any_file_breaks_nothing(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = data.draw(st.sampled_from([row[0] for row in WHAT_THEY_TELL]))
    machine = Board(name, tmp_path_factory.mktemp("board"))
    files = sorted(path for path in machine.root.rglob("*") if path.is_file())
    for path in data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=12, unique=True)):
        path.write_bytes(data.draw(st.binary(max_size=60) | st.just(b"-1\n") | st.just(b"9" * 30)))
    with machine.sensors("raspberry-pi-4") as sensors:
        for _ in range(2):
            machine.now_s += 1.0
            readings = sensors.read()
            batch = protocol.TelemetryBatch(1, "e", 1, [Sample(1, 1, **msgspec.structs.asdict(readings))])
            assert protocol.decode_batch(protocol.encode_batch(batch)) == batch
    hardware = describe_hardware(machine.root)
    assert protocol.from_json(
        protocol.State, protocol.to_json(protocol.State(online=True, hardware=hardware))
    )


@pytest.mark.parametrize(
    ("name", "system", "model", "cores", "ram_bytes"),
    [
        ("raspberry-pi-4", "Linux 6.6.51+rpt-rpi-v8", "Raspberry Pi 4 Model B Rev 1.5", 4, 3884372 * 1024),
        ("jetson-nano", "Linux 4.9.337-tegra", "NVIDIA Jetson Nano Developer Kit", 4, 4059264 * 1024),
        (
            "x86-laptop",
            "Linux 6.8.0-45-generic",
            "11th Gen Intel(R) Core(TM) i5-1135G7 @ 2.40GHz",
            8,
            16068352 * 1024,
        ),
        ("android-phone", "Linux 5.4.210-qgki", "Qualcomm Technologies, Inc SM6375", 8, 5720352 * 1024),
    ],
)
def test_hardware_is_described(name: str, system: str, model: str, cores: int, ram_bytes: int) -> None:
    hardware = describe_hardware(TREES / name)
    assert (hardware.system, hardware.board, hardware.cores, hardware.ram_bytes) == (
        system,
        model,
        cores,
        ram_bytes,
    )
    assert hardware.python is not None and hardware.onnxruntime is not None


def test_the_architecture_comes_from_the_board_where_its_kernel_tells() -> None:
    assert describe_hardware(TREES / "raspberry-pi-5").machine == "aarch64"
