"""Batteries of laptops and phones: charge, and power while unplugged (kernel ABI sysfs-class-power).

Drivers disagree on the sign of ``current_now`` while discharging, so only its size is used, and ``status``
says the direction. While charging or full the charger feeds the board, and the battery cannot tell what it
draws.
"""

from pathlib import Path
from typing import Final

from edgepress_devices.protocol import Reading
from edgepress_devices.say_once import say_once
from edgepress_devices.sensors.kernel_file import KernelFile, entries, first_line

_PLAUSIBLE_MW: Final = (10.0, 500_000.0)  # outside, the driver counts in other units than the kernel asks for

_CHARGING: Final = {"Charging": True, "Discharging": False, "Not charging": False, "Full": False}


class Battery:
    def __init__(self, folder: Path) -> None:
        self._status = KernelFile(folder / "status", 32)
        self._capacity = KernelFile(folder / "capacity", 32) if (folder / "capacity").exists() else None
        self._power = KernelFile(folder / "power_now", 32) if (folder / "power_now").exists() else None
        self._current_and_voltage: tuple[KernelFile, KernelFile] | None = None
        if (folder / "current_now").exists() and (folder / "voltage_now").exists():
            self._current_and_voltage = (
                KernelFile(folder / "current_now", 32),
                KernelFile(folder / "voltage_now", 32),
            )

    @classmethod
    def find(cls, root: Path) -> "Battery | None":
        for folder in entries(root / "sys/class/power_supply", "*"):
            # scope Device: the battery of a mouse or a pen
            if first_line(folder / "type") == "Battery" and first_line(folder / "scope") != "Device":
                return cls(folder)
        return None

    def percent(self) -> float | None:
        percent = None if self._capacity is None else self._capacity.number()
        return float(percent) if percent is not None and 0 <= percent <= 100 else None

    def charging(self) -> bool | None:
        """False while it is full, gives power, or is kept as it is; None where the driver does not know."""
        return _CHARGING.get((self._status.text() or "").strip())

    def power(self) -> Reading | None:
        """What the whole device draws, screen included; None while it is plugged in."""
        if (self._status.text() or "").strip() != "Discharging":
            return None
        milliwatts = self._milliwatts()
        if milliwatts is None:
            return None
        if not _PLAUSIBLE_MW[0] <= milliwatts <= _PLAUSIBLE_MW[1]:
            say_once(f"the battery's driver says {milliwatts:g} mW: ignored", key="battery power")
            return None
        return Reading(milliwatts, "battery", "device")

    def _milliwatts(self) -> float | None:
        if self._power is not None:
            microwatts = self._power.number()
            return None if microwatts is None else abs(microwatts) / 1e3
        if self._current_and_voltage is not None:
            microamperes, microvolts = (file.number() for file in self._current_and_voltage)
            if microamperes is not None and microvolts is not None:
                return abs(microamperes) * microvolts / 1e9
        return None
