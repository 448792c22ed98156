"""Jetson power: INA3221 and INA238 monitors on the module's supply rails.

The total is one rail where the module has it, and is never added to the rails it feeds:

    VDD_IN       Xavier NX, Orin Nano, Orin NX   all that the module takes in
    POM_5V_IN    Jetson Nano, TX2                the same, older name; in the iio tree of L4T 32 (kernel 4.9)
    VIN          INA238 of Thor                  the same, the chip multiplies itself

AGX Orin has no such rail: its GPU, CPU and 5 V system rails (VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0) are fed
side by side and are added; VDDQ_VDD2_1V8AO is taken to hang on VIN_SYS_5V0 and is not (our reading of the
rail names, not checked on a board; in published outputs it carries about a watt).

hwmon states mV, mA and uW (kernel documentation, hwmon sysfs interface).
"""

import re
from pathlib import Path
from typing import Final

from edgepress_devices.protocol import Reading
from edgepress_devices.sensors.kernel_file import KernelFile, entries, first_line

_TOTAL_LABELS: Final = ("VDD_IN", "POM_5V_IN", "VIN")
_PARALLEL_LABELS: Final = frozenset({"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"})
_LABEL: Final = re.compile(r"in(\d)_label")


class InaPower:
    """Sum of the chosen rails; ``scope`` "module": the carrier board and its ports are not counted."""

    def __init__(self, method: str, scope: str, rails: list["_Rail"]) -> None:
        self._method, self._scope, self._rails = method, scope, rails

    @classmethod
    def find(cls, root: Path) -> "InaPower | None":
        rails = _hwmon_rails(root) | _iio_rails(root)
        for label in _TOTAL_LABELS:
            if label in rails:
                chip, rail = rails[label]
                return cls(chip, "module", [rail])
        if rails.keys() >= _PARALLEL_LABELS:
            return cls("ina3221", "module rails", [rails[label][1] for label in sorted(_PARALLEL_LABELS)])
        return None

    def read(self) -> Reading | None:
        total = 0.0
        for rail in self._rails:
            milliwatts = rail.milliwatts()
            if milliwatts is None:
                return None  # a sum with a hole is no total
            total += milliwatts
        return Reading(total, self._method, self._scope)


class _Rail:
    def __init__(self, factors: list[KernelFile], scale: float) -> None:
        self._factors, self._scale = factors, scale

    def milliwatts(self) -> float | None:
        product = self._scale
        for file in self._factors:
            number = file.number()
            if number is None:
                return None
            product *= number
        return product


def _hwmon_rails(root: Path) -> dict[str, tuple[str, _Rail]]:
    rails: dict[str, tuple[str, _Rail]] = {}
    for chip in entries(root / "sys/class/hwmon", "hwmon*"):
        name = first_line(chip / "name")
        if name == "ina238":
            rails["VIN"] = name, _Rail([KernelFile(chip / "power1_input", 32)], 1e-3)  # uW
        elif name == "ina3221":
            for file in entries(chip, "in*_label"):
                match = _LABEL.fullmatch(file.name)
                if match is None:
                    continue
                volt, ampere = chip / f"in{match[1]}_input", chip / f"curr{match[1]}_input"
                if volt.exists() and ampere.exists():  # in7 is the sum of the shunts and has no current
                    rail = _Rail([KernelFile(volt, 32), KernelFile(ampere, 32)], 1e-3)  # mV * mA = uW
                    rails[first_line(file)] = name, rail
    return rails


def _iio_rails(root: Path) -> dict[str, tuple[str, _Rail]]:
    rails: dict[str, tuple[str, _Rail]] = {}
    for device in entries(root / "sys/bus/i2c/drivers/ina3221x", "*/iio:device*"):
        for file in entries(device, "rail_name_*"):
            power = device / f"in_power{file.name.removeprefix('rail_name_')}_input"  # mW
            if power.exists():
                rails[first_line(file)] = "ina3221", _Rail([KernelFile(power, 32)], 1.0)
    return rails
