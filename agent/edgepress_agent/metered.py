"""Whether this device's link to the world costs by the byte, as NetworkManager knows it.

NetworkManager (1.0.6 and later) keeps a property ``Metered`` for each device: yes, no, or either guessed (a
phone's hotspot, a modem). The device with the default route of the lowest metric counts. Without
NetworkManager nothing is known, and unknown is not metered: an owner who knows better says so with
`edgepress-agent limits --metered yes`.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Final

LOOK_EVERY_S: Final = 60.0
TIMEOUT_S: Final = 5.0
OUTPUT_MAX_CHARS: Final = 100_000
_COMMAND: Final = ("-t", "-f", "GENERAL.METERED,IP4.ROUTE,IP6.ROUTE", "device", "show")
_DEFAULT_ROUTE: Final = re.compile(r"dst = (?:0\.0\.0\.0/0|::/0),.*?mt = (\d+)")


def parse_metered(output: str) -> bool | None:
    """Of `nmcli -t -f GENERAL.METERED,IP4.ROUTE,IP6.ROUTE device show`; None = it does not say."""
    best: tuple[int, bool] | None = None
    for block in re.split(r"\n\s*\n", output.replace("\\:", ":")):
        said = re.search(r"^GENERAL\.METERED:(yes|no)\b", block, re.MULTILINE)
        metrics = [int(metric) for metric in _DEFAULT_ROUTE.findall(block)]
        if said is not None and metrics and (best is None or min(metrics) < best[0]):
            best = min(metrics), said[1] == "yes"
    return None if best is None else best[1]


def ask_network_manager() -> bool | None:
    program = shutil.which("nmcli")
    if program is None:
        return None
    try:
        result = subprocess.run(
            [program, *_COMMAND],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_metered(result.stdout[:OUTPUT_MAX_CHARS]) if result.returncode == 0 else None


class MeteredLink:
    """Asked at most once a minute."""

    def __init__(self, ask: Callable[[], bool | None] = ask_network_manager) -> None:
        self._ask = ask
        self._asked_s = float("-inf")
        self._metered: bool | None = None

    def read(self, now_s: float) -> bool | None:
        if now_s - self._asked_s >= LOOK_EVERY_S:
            self._metered = self._ask()
            self._asked_s = now_s
        return self._metered
