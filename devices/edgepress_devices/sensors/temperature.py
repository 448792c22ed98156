"""Temperature of the processor, from thermal zones or, where there are none, from hwmon chips.

Boards have up to twenty zones with vendors' names. The first group below that a board has is taken, and the
hottest zone of the group. Zones outside the list say nothing about the processor (battery, PMIC, Wi-Fi); on
the Jetson Nano ``PMIC-Die`` even reads 100 degrees for ever.
"""

import re
from pathlib import Path
from typing import Final

from edgepress_devices.say_once import say_once
from edgepress_devices.sensors.kernel_file import KernelFile, entries, first_line

_ZONE_GROUPS: Final = (
    re.compile(r"tj(-therm(al)?)?"),  # Jetson Orin: junction, the hottest of all its sensors
    re.compile(r"x86_pkg_temp|TCPU"),
    re.compile(r"(?i)cpu[-_]?therm(al)?|cpu(ss)?(-?\d+)*(-usr|-step)?|cluster\d+"),  # Pi, Jetson Nano, phones
    re.compile(r"(?i)soc[-_]?(thermal|max)?|mtktscpu"),
    re.compile(r"acpitz"),  # often the case, not the processor: last
)
_HWMON_CHIPS: Final = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
_PLAUSIBLE_C: Final = (-40.0, 150.0)


class Temperature:
    """Degrees Celsius of the hottest processor zone."""

    def __init__(self, root: Path) -> None:
        self._files = _zones(root) or _hwmon(root)
        if not self._files:
            say_once("no thermal zone and no hwmon chip tells the processor's temperature")

    def celsius(self) -> float | None:
        hottest = None
        for file in self._files:
            milli = file.number()
            if milli is None:
                continue  # a zone whose part is powered off answers EAGAIN
            celsius = milli / 1000.0
            if _PLAUSIBLE_C[0] < celsius < _PLAUSIBLE_C[1]:
                hottest = celsius if hottest is None else max(hottest, celsius)
            else:
                say_once(f"{file.path} says {celsius} degrees: ignored", key=f"{file.path} implausible")
        return hottest


def _zones(root: Path) -> list[KernelFile]:
    zones = [
        (first_line(zone / "type"), zone / "temp")
        for zone in entries(root / "sys/class/thermal", "thermal_zone*")
    ]
    for group in _ZONE_GROUPS:
        chosen = [KernelFile(temp, 32) for kind, temp in zones if group.fullmatch(kind)]
        if chosen:
            return chosen
    return []


def _hwmon(root: Path) -> list[KernelFile]:
    for chip in entries(root / "sys/class/hwmon", "hwmon*"):
        if first_line(chip / "name") in _HWMON_CHIPS and (chip / "temp1_input").exists():
            return [KernelFile(chip / "temp1_input", 32)]  # Intel: the package; AMD: Tctl
    return []
