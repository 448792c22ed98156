"""All sensors of a board behind one ``read()``: what a board cannot tell is None, and why is logged once.

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
from edgepress_devices.sensors.commands import CommandPoller, Runner, run_command
from edgepress_devices.sensors.cpu import AgentCpuUse, CpuUse, PsutilCpuUse
from edgepress_devices.sensors.disk import DiskFree
from edgepress_devices.sensors.hardware import is_raspberry_pi, machine
from edgepress_devices.sensors.ina import InaPower
from edgepress_devices.sensors.memory import ProcessMemory, PsutilMemory, PsutilProcessMemory, SystemMemory
from edgepress_devices.sensors.pmic import PmicPower
from edgepress_devices.sensors.rapl import RaplPower
from edgepress_devices.sensors.temperature import Temperature
from edgepress_devices.sensors.throttling import Throttling


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
        self._power: _PowerSensor | None = (
            InaPower.find(root)
            or (PmicPower.find(self._commands) if raspberry_pi else None)
            or RaplPower.find(root, clock)
        )
        self._estimate_profile = None if profile is None else profile_for_machine(profile, machine(root))
        if self._power is None and self._battery is None:
            say_once("no sensor of this board measures power")

    def read(self) -> Readings:
        """Every sensor now; CPU use and counted power are averages since the last call."""
        memory = self._memory.read()
        cpu_percent = self._cpu.percent()
        return Readings(
            rss_bytes=self._process.rss_bytes(),
            mem_used_bytes=None if memory is None else memory.used_bytes,
            mem_total_bytes=None if memory is None else memory.total_bytes,
            cpu_percent=cpu_percent,
            temp_c=self._temperature.celsius(),
            throttled=self._throttling.now(),
            power_mw=self._read_power(cpu_percent),
            battery_percent=None if self._battery is None else self._battery.percent(),
            agent_cpu_percent=self._agent_cpu.percent(),
            disk_free_bytes=self._disk.free_bytes(),
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
