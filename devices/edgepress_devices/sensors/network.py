"""Network traffic of the board, from /proc/net/dev (proc(5)): bytes through its physical interfaces.

Only interfaces with a device behind them are counted (``/sys/class/net/NAME/device``): bridges, bonds, VLANs,
tunnels and containers' interfaces carry the same bytes once more. Where no interface has one, as in
containers, all are counted whose names are not those of loopback and virtual ones.
"""

import re
from pathlib import Path
from typing import Final

from edgepress_devices.say_once import say_once
from edgepress_devices.sensors.growth import Growth, Pair
from edgepress_devices.sensors.kernel_file import KernelFile

_LINE: Final = re.compile(r"^ *([^\s:]{1,32}):((?: *[0-9]{1,20}){16})\s*$", re.MULTILINE)
_RECEIVED, _SENT = 0, 8  # bytes, among a line's 16 numbers
_COUNTER_MAX: Final = 2**64
_NEVER: Final = re.compile(r"lo|v?can\d+")  # a field bus is no network
_VIRTUAL: Final = re.compile(
    r"(veth|docker|br|virbr|vnet|tun|tap|wg|tailscale|zt|dummy|ifb|sit|gre|gretap|erspan|ip6tnl|ip6gre|ip6_vti|ip_vti"
    r"|tunl|bond|team|macvlan|macvtap|ipvlan|vxlan|nlmon|rmnet_data|cni|flannel|cali|lxc|lxdbr|podman).*|.*\.\d+"
)


class Network:
    """Bytes received and sent since the last look."""

    def __init__(self, root: Path) -> None:
        self._file = KernelFile(root / "proc/net/dev", 65_536)
        self._folder = root / "sys/class/net"
        self._physical: dict[str, bool] = {}  # interfaces that are there now
        self._growth = Growth()
        self._growth.since_last(self._counters())

    def since_last(self) -> Pair | None:
        return self._growth.since_last(self._counters())

    def _counters(self) -> dict[str, Pair] | None:
        text = self._file.whole_text()
        if text is None:
            return None
        found = {name: _pair(numbers) for name, numbers in _LINE.findall(text) if not _NEVER.fullmatch(name)}
        self._physical = {
            name: self._physical[name]
            if name in self._physical
            else (self._folder / name / "device").exists()
            for name in found
        }
        if any(self._physical.values()):
            return {name: pair for name, pair in found.items() if pair and self._physical[name]}
        counted = {name: pair for name, pair in found.items() if pair and not _VIRTUAL.fullmatch(name)}
        if not counted:
            say_once(f"{self._file.path} lists no network interface: traffic is unknown")
            return None
        return counted


def _pair(numbers: str) -> Pair | None:
    columns = [int(word) for word in numbers.split()]
    received, sent = columns[_RECEIVED], columns[_SENT]
    return Pair(received, sent) if max(received, sent) < _COUNTER_MAX else None
