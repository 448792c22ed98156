"""Whether the board is held back right now, by heat or by its supply.

Three kinds of witness, all that a board has are asked:

    firmware   Raspberry Pi: ``vcgencmd get_throttled``, bits 1 to 3 (Raspberry Pi documentation, vcgencmd);
               bit 0 is low voltage alone, bits 16 and up are history
    counters   x86 ``thermal_throttle/*_throttle_count`` and Jetson ``oc*_event_cnt`` (over-current): they
               count events, so a count that grew since the last reading says yes
    coolers    cooling devices that slow the processor and are not in state 0; fans are none of them
"""

import re
from pathlib import Path
from typing import Final

from edgepress_devices.say_once import say_once
from edgepress_devices.sensors.commands import CommandPoller
from edgepress_devices.sensors.kernel_file import KernelFile, entries, first_line

GET_THROTTLED: Final = ("vcgencmd", "get_throttled")
_HELD_BACK_BITS: Final = 0b1110  # 1 frequency capped, 2 throttled, 3 soft temperature limit
_OUTPUT: Final = re.compile(r"throttled=0x([0-9a-fA-F]{1,8})")
_SLOWING_COOLER: Final = re.compile(
    r"(thermal-)?cpufreq-.*|(thermal-)?devfreq-.*|Processor|.*-throttle-alert|.*-hot-surface-alert"
)


class Throttling:
    def __init__(self, root: Path, commands: CommandPoller, is_raspberry_pi: bool) -> None:
        self._commands = commands
        self._firmware = is_raspberry_pi and parse_get_throttled(commands.watch(GET_THROTTLED)) is not None
        self._counters = [KernelFile(path, 32) for path in _counter_paths(root)]
        self._counts = [file.number() for file in self._counters]
        self._coolers = [
            KernelFile(cooler / "cur_state", 32)
            for cooler in entries(root / "sys/class/thermal", "cooling_device*")
            if _SLOWING_COOLER.fullmatch(first_line(cooler / "type"))
        ]
        if not (self._firmware or self._counters or self._coolers):
            say_once("no firmware, counter or cooling device tells whether the board is throttled")

    def now(self) -> bool | None:
        answers = [self._firmware_says(), self._counters_say(), self._coolers_say()]
        if True in answers:
            return True
        return False if False in answers else None

    def _firmware_says(self) -> bool | None:
        return parse_get_throttled(self._commands.latest(GET_THROTTLED)) if self._firmware else None

    def _counters_say(self) -> bool | None:
        answer: bool | None = None
        for i, file in enumerate(self._counters):
            count, before = file.number(), self._counts[i]
            if count is None:
                continue
            self._counts[i] = count
            if before is not None:
                answer = bool(answer) or count > before
        return answer

    def _coolers_say(self) -> bool | None:
        states = [state for state in (file.number() for file in self._coolers) if state is not None]
        return any(state > 0 for state in states) if states else None


def parse_get_throttled(output: str | None) -> bool | None:
    """``throttled=0x50005`` -> True. None where it is no such answer."""
    match = _OUTPUT.search(output or "")
    return None if match is None else bool(int(match[1], 16) & _HELD_BACK_BITS)


def _counter_paths(root: Path) -> list[Path]:
    cpus = root / "sys/devices/system/cpu"
    package = cpus / "cpu0/thermal_throttle/package_throttle_count"  # one for all cores of a socket
    paths = [package] if package.exists() else entries(cpus, "cpu*/thermal_throttle/core_throttle_count")
    for chip in entries(root / "sys/class/hwmon", "hwmon*"):
        if first_line(chip / "name").startswith("soctherm_oc"):
            paths += entries(chip, "oc*_event_cnt")
    return paths
