"""What a board sends, receives, reads and writes: whose bytes count, and what counters that go back tell."""

from collections.abc import Callable

import pytest
from board import Board
from hypothesis import given
from hypothesis import strategies as st

from edgepress_devices.sensors import Readings
from edgepress_devices.sensors.growth import Growth, Pair

MakeBoard = Callable[[str], Board]


def add(machine: Board, path: str, line_of: str, *, column: int, more: int) -> None:
    """Let one counter of a list grow: the line that has ``line_of``, its n-th word."""
    file = machine.root / path
    lines = []
    for line in file.read_text().splitlines():
        words = line.replace(":", ": ").split()
        if len(words) > column and line_of in (words[0].rstrip(":"), words[2] if len(words) > 2 else ""):
            words[column] = str(int(words[column]) + more)
        lines.append(" ".join(words))
    file.write_text("\n".join(lines) + "\n")


def receive(machine: Board, interface: str, size_bytes: int) -> None:
    add(machine, "proc/net/dev", interface, column=1, more=size_bytes)


def send(machine: Board, interface: str, size_bytes: int) -> None:
    add(machine, "proc/net/dev", interface, column=9, more=size_bytes)


def write(machine: Board, disk: str, size_bytes: int) -> None:
    add(machine, "proc/diskstats", disk, column=9, more=size_bytes // 512)


def traffic(readings: Readings) -> tuple[int | None, int | None]:
    return readings.net_rx_bytes, readings.net_tx_bytes


def test_traffic_is_what_went_over_all_physical_interfaces_since_the_last_look(board: MakeBoard) -> None:
    pi = board("raspberry-pi-4")
    with pi.sensors() as sensors:
        assert traffic(sensors.read()) == (0, 0)
        receive(pi, "wlan0", 1500)
        receive(pi, "eth0", 100)
        send(pi, "wlan0", 60)
        assert traffic(sensors.read()) == (1600, 60)
        assert traffic(sensors.read()) == (0, 0)


@pytest.mark.parametrize(
    ("name", "interface"),
    [
        ("raspberry-pi-4", "lo"),
        ("raspberry-pi-5", "docker0"),
        ("raspberry-pi-5", "veth7d21c4e"),
        ("jetson-agx-orin", "can0"),
        ("jetson-nano", "l4tbr0"),
        ("x86-laptop", "wg0"),
        ("x86-laptop", "br-1f2e3d4c5b6a"),
        ("amd-desktop", "bond0"),
        ("amd-desktop", "vnet0"),
        ("x86-container", "lo"),
    ],
)
def test_bytes_that_pass_twice_or_stay_here_are_not_counted(
    name: str, interface: str, board: MakeBoard
) -> None:
    machine = board(name)
    with machine.sensors() as sensors:
        receive(machine, interface, 1_000_000)
        assert traffic(sensors.read()) == (0, 0)


def test_in_a_container_the_only_interface_counts(board: MakeBoard) -> None:
    machine = board("x86-container")
    with machine.sensors() as sensors:
        receive(machine, "eth0", 777)
        assert traffic(sensors.read()) == (777, 0)


@pytest.mark.attack("counters going back", "an interval in which a counter went back has no traffic at all")
def test_a_counter_that_goes_back_tells_nothing_of_that_interval_and_the_next_one_again(
    board: MakeBoard,
) -> None:
    pi = board("raspberry-pi-4")
    with pi.sensors() as sensors:
        receive(pi, "eth0", 5000)
        receive(pi, "wlan0", -300_000_000)  # the driver was loaded anew
        assert traffic(sensors.read()) == (None, None)
        receive(pi, "eth0", 10)
        assert traffic(sensors.read()) == (10, 0)


def test_an_interface_that_comes_is_counted_from_there_and_one_that_goes_is_no_loss(board: MakeBoard) -> None:
    pi = board("raspberry-pi-4")
    table = pi.root / "proc/net/dev"
    without = table.read_text()
    stick = "  usb0: 900000 1 0 0 0 0 0 0 4000 1 0 0 0 0 0 0\n"
    pi.write("sys/class/net/usb0/device/uevent", "DRIVER=cdc_ether")
    with pi.sensors() as sensors:
        table.write_text(without + stick)
        assert traffic(sensors.read()) == (0, 0)
        receive(pi, "usb0", 50)
        assert traffic(sensors.read()) == (50, 0)
        table.write_text(without)
        assert traffic(sensors.read()) == (0, 0)


def test_a_list_longer_than_a_page_is_read_to_its_end(board: MakeBoard) -> None:
    pi = board("raspberry-pi-4")
    table = pi.root / "proc/net/dev"
    lines = table.read_text().splitlines()
    veths = [f"veth{i:07x}: {'12345678 ' * 16}" for i in range(200)]
    table.write_text("\n".join([*lines[:2], *veths, *lines[2:]]) + "\n")
    assert table.stat().st_size > 4 * 4096
    with pi.sensors() as sensors:
        receive(pi, "wlan0", 33)
        assert traffic(sensors.read()) == (33, 0)


def test_whole_disks_are_counted_in_sectors_of_512_bytes(board: MakeBoard) -> None:
    desktop = board("amd-desktop")
    with desktop.sensors() as sensors:
        for disk in ("sda", "sda1", "md0", "nvme0n1"):
            write(desktop, disk, 4096)
        add(desktop, "proc/diskstats", "sda", column=5, more=2)
        readings = sensors.read()
    assert (readings.disk_read_bytes, readings.disk_written_bytes) == (1024, 2 * 4096)


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("raspberry-pi-4", "mmcblk0p2"),
        ("raspberry-pi-4", "loop0"),
        ("raspberry-pi-5", "zram0"),
        ("x86-laptop", "dm-0"),
        ("x86-laptop", "nvme0n1p2"),
    ],
)
def test_parts_of_disks_and_what_stands_on_them_are_not_counted(
    name: str, device: str, board: MakeBoard
) -> None:
    machine = board(name)
    with machine.sensors() as sensors:
        write(machine, device, 1 << 20)
        readings = sensors.read()
    assert (readings.disk_read_bytes, readings.disk_written_bytes) == (0, 0)


def test_a_board_without_disks_of_its_own_tells_no_traffic(board: MakeBoard) -> None:
    with board("x86-container").sensors() as sensors:
        assert sensors.read().disk_read_bytes is None
    with board("android-phone").sensors() as sensors:
        readings = sensors.read()
    assert (readings.disk_written_bytes, readings.net_rx_bytes, readings.net_tx_bytes) == (None, None, None)


@pytest.mark.parametrize(
    "level",
    [" 40.", " 0.", "-256.", "-9999", "x", ""],
    ids=["relative", "zero", "off", "far", "word", "none"],
)
def test_a_level_that_is_not_in_dbm_is_no_signal(level: str, board: MakeBoard) -> None:
    pi = board("raspberry-pi-4")
    pi.write("proc/net/wireless", f"h\nh\n wlan0: 0000   58.  {level}  -256        0      0")
    with pi.sensors() as sensors:
        assert sensors.read().wifi_dbm is None


@pytest.mark.parametrize(
    ("status", "charging"),
    [("Charging", True), ("Full", False), ("Not charging", False), ("Unknown", None), ("", None)],
)
def test_whether_a_battery_charges(status: str, charging: bool | None, board: MakeBoard) -> None:
    laptop = board("x86-laptop")
    laptop.write("sys/class/power_supply/BAT0/status", status)
    with laptop.sensors() as sensors:
        assert sensors.read().battery_charging is charging


@pytest.mark.attack(
    "impossible sensor values", "a GPU at 900 %, a clock of 99 THz, a load below 0 are absent"
)
@pytest.mark.parametrize("load", ["9000", "-1", "busy"])
def test_a_load_that_cannot_be_is_absent(load: str, board: MakeBoard) -> None:
    jetson = board("jetson-nano")
    jetson.write("sys/devices/gpu.0/load", load)
    for cpu in range(4):
        jetson.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq", 99 * 10**9)
    with jetson.sensors() as sensors:
        readings = sensors.read()
    assert (readings.gpu_percent, readings.cpu_mhz) == (None, None)


def test_cores_that_share_a_clock_are_read_once_and_all_count(board: MakeBoard) -> None:
    pi = board("raspberry-pi-4")
    cpus = pi.root / "sys/devices/system/cpu"
    for cpu in (0, 1, 2):
        (cpus / f"cpu{cpu}/cpufreq/scaling_cur_freq").unlink()
        (cpus / f"cpu{cpu}/cpufreq").rmdir()
        (cpus / f"cpu{cpu}/cpufreq").symlink_to(cpus / "policy0")
    pi.write("sys/devices/system/cpu/policy0/scaling_cur_freq", 600_000)
    with pi.sensors() as sensors:
        assert len(sensors._clock_rate._clocks) == 2
        assert sensors.read().cpu_mhz == pytest.approx((3 * 600 + 1500) / 4)


counts = st.dictionaries(
    st.sampled_from("abc"), st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda pair: Pair(*pair))
)


@given(st.lists(counts | st.none(), max_size=8))
def test_growth_is_never_negative_and_never_of_a_part_that_went_back(
    looks: list[dict[str, Pair] | None],
) -> None:
    growth, before = Growth(), None
    for now in looks:
        grown = growth.since_last(now)
        both = [] if now is None or before is None else sorted(now.keys() & before.keys())
        went_back = [part for part in both if min(map(int.__sub__, now[part], before[part])) < 0]
        if now is None or before is None or went_back:
            assert grown is None
        else:
            assert grown is not None and min(grown) >= 0
            assert grown.taken_in == sum(now[part][0] - before[part][0] for part in now if part in before)
        before = before if now is None else now
