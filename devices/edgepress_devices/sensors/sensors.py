"""All sensors of a board behind one ``read()``: what a board cannot tell is None, and why is logged once.

So is a figure that no board can have: ``metrics.METRICS`` says what is plausible.

Power comes from the first of these that answers: Jetson INA monitors, the Raspberry Pi 5's PMIC, RAPL, a
battery that discharges. Where none does and a profile is given, it is estimated, and its ``method`` says so.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import msgspec

from edgepress_devices.power_estimate import estimate_power, profile_for_machine
from edgepress_devices.profile import DeviceProfile
from edgepress_devices.protocol import Reading
from edgepress_devices.say_once import say_once
from edgepress_devices.sensors.battery import Battery
from edgepress_devices.sensors.clock_rate import ClockRate
from edgepress_devices.sensors.commands import CommandPoller, Runner, run_command
from edgepress_devices.sensors.cpu import AgentCpuUse, CpuUse, PsutilCpuUse
from edgepress_devices.sensors.disk import DiskFree
from edgepress_devices.sensors.disk_traffic import DiskTraffic
from edgepress_devices.sensors.gpu import GpuLoad
from edgepress_devices.sensors.hardware import is_raspberry_pi, machine
from edgepress_devices.sensors.ina import InaPower
from edgepress_devices.sensors.memory import ProcessMemory, PsutilMemory, PsutilProcessMemory, SystemMemory
from edgepress_devices.sensors.network import Network
from edgepress_devices.sensors.plausible import plausible
from edgepress_devices.sensors.pmic import PmicPower
from edgepress_devices.sensors.rapl import RaplPower
from edgepress_devices.sensors.temperature import Temperature
from edgepress_devices.sensors.throttling import Throttling
from edgepress_devices.sensors.wifi import WifiSignal


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """One look at every sensor; fields are named and measured as in protocol.Sample."""

    rss_bytes: int | None
    mem_used_bytes: int | None
    mem_total_bytes: int | None
    cpu_percent: float | None
    temp_c: float | None
    throttled: bool | None
    power_mw: Reading | None
    battery_percent: float | None
    agent_cpu_percent: float | None
    disk_free_bytes: int | None
    swap_used_bytes: int | None
    cpu_mhz: float | None
    gpu_percent: float | None
    battery_charging: bool | None
    disk_read_bytes: int | None  # since the last look, as the three below
    disk_written_bytes: int | None
    net_rx_bytes: int | None
    net_tx_bytes: int | None
    wifi_dbm: float | None


class _PowerSensor(Protocol):
    def read(self) -> Reading | None: ...


_PLAUSIBLE_MW: Final = (1.0, 1e7)  # nothing we run on draws less, or more; a stuck counter gives 0


class Sensors:
    """The sensors under ``root`` (a board's own ``/``, or a recorded tree). Use from one thread.

    ``data_dir``: where free space is counted. ``profile``: lets power be estimated where nothing measures it.
    ``runner``: runs commands such as vcgencmd; ``clock``: seconds, monotonic.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        data_dir: Path | None = None,
        profile: DeviceProfile | None = None,
        runner: Runner = run_command,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        raspberry_pi = is_raspberry_pi(root)
        has_proc = root != Path("/") or sys.platform == "linux"
        self._commands = CommandPoller(runner)
        self._cpu: CpuUse | PsutilCpuUse = CpuUse(root) if has_proc else PsutilCpuUse()
        self._memory: SystemMemory | PsutilMemory = SystemMemory(root) if has_proc else PsutilMemory()
        self._process = ProcessMemory(root) if has_proc else PsutilProcessMemory()
        self._agent_cpu = AgentCpuUse(clock)
        self._disk = DiskFree(data_dir or root)
        self._temperature = Temperature(root)
        self._throttling = Throttling(root, self._commands, raspberry_pi)
        self._battery = Battery.find(root)
        self._clock_rate = ClockRate(root)
        self._gpu = GpuLoad.find(root)
        self._disk_traffic = DiskTraffic(root) if has_proc else None
        self._network = Network(root) if has_proc else None
        self._wifi = WifiSignal.find(root)
        self._power: _PowerSensor | None = (
            InaPower.find(root)
            or (PmicPower.find(self._commands) if raspberry_pi else None)
            or RaplPower.find(root, clock)
        )
        self._estimate_profile = None if profile is None else profile_for_machine(profile, machine(root))
        if self._power is None and self._battery is None:
            say_once("no sensor of this board measures power")

    def read(self) -> Readings:
        """Every sensor now; CPU use, counted power and traffic are since the last call."""
        memory = self._memory.read()
        cpu_percent = self._cpu.percent()
        battery = self._battery
        disk = None if self._disk_traffic is None else self._disk_traffic.since_last()
        network = None if self._network is None else self._network.since_last()
        return Readings(
            rss_bytes=plausible("rss_bytes", self._process.rss_bytes()),
            mem_used_bytes=plausible("mem_used_bytes", None if memory is None else memory.used_bytes),
            mem_total_bytes=plausible("mem_total_bytes", None if memory is None else memory.total_bytes),
            cpu_percent=plausible("cpu_percent", cpu_percent),
            temp_c=plausible("temp_c", self._temperature.celsius()),
            throttled=self._throttling.now(),
            power_mw=self._read_power(cpu_percent),
            battery_percent=plausible("battery_percent", None if battery is None else battery.percent()),
            agent_cpu_percent=plausible("agent_cpu_percent", self._agent_cpu.percent()),
            disk_free_bytes=plausible("disk_free_bytes", self._disk.free_bytes()),
            swap_used_bytes=plausible("swap_used_bytes", None if memory is None else memory.swap_used_bytes),
            cpu_mhz=plausible("cpu_mhz", self._clock_rate.mean_mhz()),
            gpu_percent=plausible("gpu_percent", None if self._gpu is None else self._gpu.percent()),
            battery_charging=None if battery is None else battery.charging(),
            disk_read_bytes=plausible("disk_read_bytes", None if disk is None else disk.taken_in),
            disk_written_bytes=plausible("disk_written_bytes", None if disk is None else disk.given_out),
            net_rx_bytes=plausible("net_rx_bytes", None if network is None else network.taken_in),
            net_tx_bytes=plausible("net_tx_bytes", None if network is None else network.given_out),
            wifi_dbm=plausible("wifi_dbm", None if self._wifi is None else self._wifi.dbm()),
        )

    def _read_power(self, cpu_percent: float | None) -> Reading | None:
        reading = None if self._power is None else self._power.read()
        if reading is not None and not _PLAUSIBLE_MW[0] <= reading.value <= _PLAUSIBLE_MW[1]:
            say_once(f"{reading.method} says {reading.value:g} mW: ignored", key=f"{reading.method} power")
            reading = None
        if reading is None and self._battery is not None:
            reading = self._battery.power()
        if reading is None and self._estimate_profile is not None and cpu_percent is not None:
            reading = estimate_power(self._estimate_profile, cpu_percent)
        return reading

    def close(self) -> None:
        """Stop the thread that runs commands, if there is one."""
        self._commands.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
