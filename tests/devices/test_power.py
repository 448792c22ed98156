"""Power and energy: counters that wrap, rails inside each other, batteries with a sign, named estimates."""

from collections.abc import Callable

import pytest
from board import Board

from edgepress_devices.energy import EnergyMeter
from edgepress_devices.power_estimate import estimate_power, profile_for_machine
from edgepress_devices.profile import list_profiles, load_profile
from edgepress_devices.protocol import Reading
from edgepress_devices.sensors.ina import InaPower
from edgepress_devices.sensors.pmic import sum_of_rails_mw
from edgepress_devices.sensors.rapl import RaplPower

MakeBoard = Callable[[str], Board]
PSYS, PACKAGE, CORE = (f"sys/class/powercap/intel-rapl:{zone}/energy_uj" for zone in ("1", "0", "0:0"))
RANGE_UJ = 262_143_328_850


def rapl(board: Board) -> RaplPower:
    found = RaplPower.find(board.root, board.clock)
    assert found is not None
    return found


def test_rapl_takes_psys_and_adds_nothing_that_it_contains(board: MakeBoard) -> None:
    laptop = board("x86-laptop")
    power = rapl(laptop)
    laptop.now_s += 2.0
    laptop.write(PSYS, 262_142_000_000)
    laptop.write(PACKAGE, 262_143_000_000)
    assert power.read() == Reading(1000.0, "rapl", "platform")  # 2 J in 2 s


def test_a_rapl_counter_that_wraps_loses_nothing(board: MakeBoard) -> None:
    laptop = board("x86-laptop")
    power = rapl(laptop)
    laptop.now_s += 1.0
    laptop.write(PSYS, 262_140_000_000 + 9_000_000 - RANGE_UJ)  # 9 J later, over the end
    assert power.read() == Reading(9000.0, "rapl", "platform")


def test_without_psys_the_packages_of_all_sockets_are_added_and_the_mmio_twin_is_not(
    board: MakeBoard,
) -> None:
    desktop = board("amd-desktop")
    for name, text in (("name", "package-1"), ("energy_uj", 0), ("max_energy_range_uj", 65_532_610_987)):
        desktop.write(f"sys/class/powercap/intel-rapl:1/{name}", text)
        desktop.write(f"sys/class/powercap/intel-rapl-mmio:1/{name}", text)
    power = rapl(desktop)
    desktop.now_s += 1.0
    desktop.write("sys/class/powercap/intel-rapl:0/energy_uj", 30_000_000)  # wrapped from the very end
    desktop.write("sys/class/powercap/intel-rapl:1/energy_uj", 20_000_000)
    desktop.write("sys/class/powercap/intel-rapl-mmio:1/energy_uj", 20_000_000)
    assert power.read() == Reading(50_000.0, "rapl", "package")


def test_a_gap_that_may_hide_a_whole_wrap_tells_nothing(board: MakeBoard) -> None:
    desktop = board("amd-desktop")
    power = rapl(desktop)
    desktop.now_s += 3600.0
    desktop.write("sys/class/powercap/intel-rapl:0/energy_uj", 1_000_000)
    assert power.read() is None
    desktop.now_s += 1.0
    desktop.write("sys/class/powercap/intel-rapl:0/energy_uj", 31_000_000)
    assert power.read() == Reading(30_000.0, "rapl", "package")


def test_rapl_counters_that_only_root_may_read_are_no_sensor(board: MakeBoard) -> None:
    laptop = board("x86-laptop")
    for path in (PSYS, PACKAGE, CORE):
        laptop.break_file(path)
    assert RaplPower.find(laptop.root, laptop.clock) is None


def test_vdd_in_is_never_added_to_the_rails_it_feeds(board: MakeBoard) -> None:
    jetson = board("jetson-orin-nano")
    power = InaPower.find(jetson.root)
    assert power is not None
    jetson.write("sys/class/hwmon/hwmon1/curr2_input", 900)  # VDD_CPU_GPU_CV
    assert power.read() == Reading(pytest.approx(5016 * 912 / 1000), "ina3221", "module")  # type: ignore[arg-type]
    jetson.write("sys/class/hwmon/hwmon1/curr1_input", 2000)  # VDD_IN
    assert power.read() == Reading(pytest.approx(10_032), "ina3221", "module")  # type: ignore[arg-type]


def test_a_rail_that_cannot_be_read_leaves_no_half_total(board: MakeBoard) -> None:
    jetson = board("jetson-agx-orin")
    power = InaPower.find(jetson.root)
    assert power is not None and power.read() is not None
    jetson.write("sys/class/hwmon/hwmon3/in2_input", "")
    assert power.read() is None


@pytest.mark.parametrize("milliamperes", [0, -5, "9" * 30])
def test_a_total_that_no_board_can_draw_is_none(milliamperes: object, board: MakeBoard) -> None:
    jetson = board("jetson-orin-nano")
    jetson.write("sys/class/hwmon/hwmon1/curr1_input", str(milliamperes))
    with jetson.sensors() as sensors:
        assert sensors.read().power_mw is None


def test_an_ina238_tells_its_power_itself(board: MakeBoard) -> None:
    jetson = board("jetson-agx-orin")
    jetson.write("sys/class/hwmon/hwmon5/name", "ina238")
    jetson.write("sys/class/hwmon/hwmon5/power1_input", 38_250_000)  # uW
    power = InaPower.find(jetson.root)
    assert power is not None
    assert power.read() == Reading(pytest.approx(38_250), "ina238", "module")  # type: ignore[arg-type]


PMIC = """
   VDD_CORE_A current(7)=2.00000000A
   3V3_SYS_A current(1)=0.10000000A
   LOST_A current(9)=5.00000000A
   VDD_CORE_V volt(15)=0.90000000V
   3V3_SYS_V volt(9)=3.30000000V
   EXT5V_V volt(24)=5.15500000V
   BATT_V volt(25)=0.00000000V
"""


def test_pmic_power_is_volts_times_amperes_of_rails_that_have_both() -> None:
    assert sum_of_rails_mw(PMIC) == pytest.approx(1000 * (2 * 0.9 + 0.1 * 3.3))


@pytest.mark.parametrize(
    "output", ["", 'error=1 error_msg="Command not registered"', "VDD_CORE_A current(7)=1.0A", "x" * 70_000]
)
def test_pmic_output_without_a_whole_rail_is_no_power(output: str) -> None:
    assert sum_of_rails_mw(output) is None


BATTERY = "sys/class/power_supply/battery/"
BATTERIES = [
    ("current counted negative", {"current_now": "-500000", "voltage_now": "4000000"}, 2000.0),
    ("current counted positive", {"current_now": "500000", "voltage_now": "4000000"}, 2000.0),
    ("power told by the driver itself", {"power_now": "-3100000", "current_now": "1"}, 3100.0),
    ("charging", {"status": "Charging", "current_now": "900000"}, None),
    ("full", {"status": "Full", "current_now": "900000"}, None),
    ("a driver that counts milliamperes", {"current_now": "-500", "voltage_now": "4000"}, None),
    ("a current that is no number", {"current_now": "n/a"}, None),
]


@pytest.mark.parametrize(("what", "files", "mw"), BATTERIES, ids=[row[0] for row in BATTERIES])
def test_battery_power(what: str, files: dict[str, str], mw: float | None, board: MakeBoard) -> None:
    phone = board("android-phone")
    for name, text in files.items():
        phone.write(BATTERY + name, text)
    with phone.sensors() as sensors:
        reading = sensors.read().power_mw
    assert (None if reading is None else reading.value) == mw, what


def test_the_battery_of_a_mouse_is_not_the_boards(board: MakeBoard) -> None:
    pi = board("raspberry-pi-4")
    for name, text in (("type", "Battery"), ("scope", "Device"), ("capacity", 50), ("status", "Discharging")):
        pi.write(f"sys/class/power_supply/hid-0/{name}", text)
    with pi.sensors() as sensors:
        assert sensors.read().battery_percent is None


@pytest.mark.parametrize("capacity", ["-1", "101", "", "full"])
def test_a_battery_charge_out_of_range_is_none(capacity: str, board: MakeBoard) -> None:
    phone = board("android-phone")
    phone.write(BATTERY + "capacity", capacity)
    with phone.sensors() as sensors:
        assert sensors.read().battery_percent is None


def test_rapl_of_the_laptop_comes_before_its_battery(board: MakeBoard) -> None:
    laptop = board("x86-laptop")
    with laptop.sensors() as sensors:
        laptop.now_s += 1.0
        laptop.write(PSYS, 262_142_000_000)
        assert sensors.read().power_mw == Reading(2000.0, "rapl", "platform")


@pytest.mark.parametrize("profile", list_profiles(), ids=lambda profile: profile.id)
def test_an_estimate_goes_from_idle_to_typical_and_names_itself(profile) -> None:  # type: ignore[no-untyped-def]
    idle, half, full = (estimate_power(profile, percent) for percent in (0.0, 50.0, 100.0))
    assert (idle.value, full.value) == (profile.power.idle_mw, profile.power.typical_mw)
    assert half.value == pytest.approx((idle.value + full.value) / 2)
    assert {r.method for r in (idle, half, full)} == {f"estimate:cpu*profile:{profile.id}"}
    assert estimate_power(profile, 250.0) == full and estimate_power(profile, -3.0) == idle


def test_a_board_without_power_sensor_is_estimated_and_says_so(board: MakeBoard) -> None:
    pi = board("raspberry-pi-4")
    pi.write("proc/stat", "cpu  0 0 0 0 0 0 0 0 0 0")
    with pi.sensors("raspberry-pi-4") as sensors:
        pi.write("proc/stat", "cpu  50 0 0 50 0 0 0 0 0 0")
        power = sensors.read().power_mw
    assert power is not None and power.value == (2300 + 5400) / 2
    assert power.method == "estimate:cpu*profile:raspberry-pi-4"


def test_without_a_profile_or_cpu_use_there_is_no_estimate(board: MakeBoard) -> None:
    with board("x86-container").sensors() as sensors:
        assert sensors.read().power_mw is None
    phone = board("android-phone")  # hides its CPU use
    phone.write(BATTERY + "status", "Charging")
    with phone.sensors("android-midrange") as sensors:
        assert sensors.read().power_mw is None


def test_an_estimate_is_of_the_machine_that_runs_and_not_of_the_board_it_plays() -> None:
    pi, pc, page = (load_profile(name) for name in ("raspberry-pi-4", "x86-pc", "iphone-browser"))
    assert profile_for_machine(pi, "aarch64") == profile_for_machine(pi, "arm64") == pi
    assert profile_for_machine(pi, "x86_64") == profile_for_machine(page, "AMD64") == pc
    assert profile_for_machine(pc, "aarch64") is None
    assert profile_for_machine(pi, "riscv64") is None


def mw(value: float, method: str = "ina3221", scope: str = "module") -> Reading:
    return Reading(value, method, scope)


def test_energy_is_what_was_drawn_above_idle_shared_by_the_inferences() -> None:
    meter = EnergyMeter()
    assert meter.update(mw(5000), 1.0, 0) is None  # learns
    assert meter.update(mw(9000), 2.0, 40) == mw(4000 * 2 / 40)  # mJ


def test_half_the_duty_at_the_same_work_costs_the_same_energy_each() -> None:
    meter = EnergyMeter()
    meter.update(mw(2000), 1.0, 0)
    busy_throughout, busy_half = meter.update(mw(5000), 1.0, 100), meter.update(mw(3500), 1.0, 50)
    assert busy_throughout == busy_half == mw(30.0)


def test_idle_follows_slowly() -> None:
    meter = EnergyMeter()
    for value in (1000, 2000):
        meter.update(mw(value), 1.0, 0)
    assert meter.idle_mw(mw(0)) == (pytest.approx(1100), "ina3221")
    for _ in range(100):
        meter.update(mw(2000), 1.0, 0)
    assert meter.idle_mw(mw(0)) == (pytest.approx(2000, rel=1e-3), "ina3221")


UNKNOWN = [
    ("power is unknown", None, 1.0, 10),
    ("nothing was inferred", mw(9000), 1.0, 0),
    ("it drew no more than idle", mw(5000), 1.0, 10),
    ("no time passed", mw(9000), 0.0, 10),
    ("idle was only seen by another method", mw(9000, "battery", "device"), 1.0, 10),
    ("idle was only seen in another scope", mw(9000, "ina3221", "board"), 1.0, 10),
]


@pytest.mark.parametrize(("why", "power", "seconds", "count"), UNKNOWN, ids=[row[0] for row in UNKNOWN])
def test_energy_is_none_when(why: str, power: Reading | None, seconds: float, count: int) -> None:
    meter = EnergyMeter()
    meter.update(mw(5000), 1.0, 0)
    assert meter.update(power, seconds, count) is None, why


def test_a_device_never_seen_idle_uses_the_profiles_idle_power_and_says_so() -> None:
    meter = EnergyMeter(load_profile("raspberry-pi-4"), "aarch64")
    energy = meter.update(Reading(3300, "meter", "board"), 1.0, 10)
    assert energy == Reading(100.0, "meter - idle:profile:raspberry-pi-4", "board")
    assert meter.update(mw(9000, "rapl", "package"), 1.0, 10) is None  # a package is not the whole device


def test_an_agent_that_plays_a_pi_on_a_pc_idles_like_a_pc() -> None:
    pi, pc = load_profile("raspberry-pi-4"), load_profile("x86-pc")
    power = estimate_power(pc, 100.0)
    energy = EnergyMeter(pi, "x86_64").update(power, 1.0, 10)
    assert energy is not None and energy.value == (pc.power.typical_mw - pc.power.idle_mw) / 10
    assert energy.method == "estimate:cpu*profile:x86-pc - idle:profile:x86-pc"


def test_energy_of_an_estimate_is_an_estimate(board: MakeBoard) -> None:
    pi = board("raspberry-pi-4")
    pi.write("proc/stat", "cpu  0 0 0 0 0 0 0 0 0 0")
    with pi.sensors("raspberry-pi-4") as sensors:
        pi.write("proc/stat", "cpu  100 0 0 0 0 0 0 0 0 0")
        meter = EnergyMeter(load_profile("raspberry-pi-4"), "aarch64")
        energy = meter.update(sensors.read().power_mw, 1.0, 31)
    assert energy is not None and energy.value == pytest.approx(3100 / 31)
    assert energy.method.startswith("estimate:")
