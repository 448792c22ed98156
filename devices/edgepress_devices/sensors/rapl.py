"""x86 power: running average power limit counters of Intel and AMD, through the powercap tree.

``energy_uj`` counts microjoules and wraps at ``max_energy_range_uj``; power is the difference over the time
between two readings. The domains lie inside each other, psys (platform) > package > core, and are never
added, except the packages of several sockets. ``intel-rapl-mmio`` shows the same package once more and is not
read. Since 2020 the kernel lets only root read the counters (CVE-2020-8694), and containers rarely see them.
"""

import time
from collections.abc import Callable
from pathlib import Path

from edgepress_devices.protocol import Reading
from edgepress_devices.say_once import say_once
from edgepress_devices.sensors.kernel_file import KernelFile, entries, first_line

_FASTEST_W = 2000.0  # no package draws more: a longer gap than range / this may hide a whole wrap


class RaplPower:
    """Power since the last call. ``scope`` "platform" (psys) or "package" (processor, not the PC)."""

    def __init__(self, scope: str, domains: list["_Domain"], clock: Callable[[], float]) -> None:
        self._scope, self._domains, self._clock = scope, domains, clock
        self._last_s = clock()

    @classmethod
    def find(cls, root: Path, clock: Callable[[], float] = time.monotonic) -> "RaplPower | None":
        platform: list[_Domain] = []
        packages: list[_Domain] = []
        for zone in entries(root / "sys/class/powercap", "intel-rapl:*"):
            name = first_line(zone / "name")
            if name == "psys":
                platform.append(_Domain(zone))
            elif name.startswith("package-"):
                packages.append(_Domain(zone))
        for scope, domains in (("platform", platform), ("package", packages)):
            if domains and all(domain.usable for domain in domains):
                return cls(scope, domains, clock)
        if platform or packages:
            say_once(
                "RAPL counters are there but only root may read them: run the agent as root to measure power"
            )
        return None

    def read(self) -> Reading | None:
        now = self._clock()
        elapsed_s, self._last_s = now - self._last_s, now
        joules = 0.0
        for domain in self._domains:
            used_uj = domain.used_uj(elapsed_s)
            if used_uj is None:
                return None
            joules += used_uj / 1e6
        return Reading(1000.0 * joules / elapsed_s, "rapl", self._scope) if elapsed_s > 0 else None


class _Domain:
    def __init__(self, zone: Path) -> None:
        self._file = KernelFile(zone / "energy_uj", 32)
        self._range_uj = KernelFile(zone / "max_energy_range_uj", 32).number() or 0
        self._last_uj = self._file.number()

    @property
    def usable(self) -> bool:
        return self._last_uj is not None and self._range_uj > 0

    def used_uj(self, elapsed_s: float) -> int | None:
        now_uj, before_uj = self._file.number(), self._last_uj
        self._last_uj = now_uj
        if now_uj is None or before_uj is None or elapsed_s * _FASTEST_W * 1e6 > self._range_uj:
            return None
        used_uj = now_uj - before_uj
        return used_uj if used_uj >= 0 else used_uj + self._range_uj
