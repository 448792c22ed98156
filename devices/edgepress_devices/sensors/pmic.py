"""Raspberry Pi 5 power: the PMIC's own converters, ``vcgencmd pmic_read_adc``.

Each rail comes as two lines::

    VDD_CORE_A current(7)=1.23400000A
    VDD_CORE_V volt(15)=0.87500000V

The sum of V * I over the rails is what leaves the PMIC: its own losses, the USB ports and the fan are not in
it, so a meter at the plug shows more. ``EXT5V_V`` and ``BATT_V`` have a voltage only and add nothing.
"""

import re
from typing import Final

from edgepress_devices.protocol import Reading
from edgepress_devices.say_once import say_once
from edgepress_devices.sensors.commands import CommandPoller

PMIC_READ_ADC: Final = ("vcgencmd", "pmic_read_adc")
_LINE: Final = re.compile(r"^\s*(\w+)_([AV]) (?:current|volt)\(\d+\)=([0-9]{1,6}(?:\.[0-9]{1,12})?)[AV]\s*$")


class PmicPower:
    def __init__(self, commands: CommandPoller) -> None:
        self._commands = commands

    @classmethod
    def find(cls, commands: CommandPoller) -> "PmicPower | None":
        output = commands.watch(PMIC_READ_ADC)
        if output is None or sum_of_rails_mw(output) is None:
            say_once("this board has no PMIC that measures currents (only the Raspberry Pi 5 does)")
            return None
        return cls(commands)

    def read(self) -> Reading | None:
        milliwatts = sum_of_rails_mw(self._commands.latest(PMIC_READ_ADC) or "")
        return None if milliwatts is None else Reading(milliwatts, "pmic", "rails")


def sum_of_rails_mw(output: str) -> float | None:
    """Sum of V * I in milliwatts over rails with both; None where no rail has."""
    amperes: dict[str, float] = {}
    volts: dict[str, float] = {}
    for line in output.splitlines():
        match = _LINE.match(line)
        if match is not None:
            (amperes if match[2] == "A" else volts)[match[1]] = float(match[3])
    rails = amperes.keys() & volts.keys()
    return 1000.0 * sum(amperes[rail] * volts[rail] for rail in sorted(rails)) if rails else None
