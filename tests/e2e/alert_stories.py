"""A fleet in which things go wrong: boards grow hot after a rollout, a hall loses its power, one resolves.

The telemetry goes through the real store and the real alert engine looks at it; what is planted is what the
boards measure. The story ends now, so that the pages show it as something that goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alert_story import Watched
from server_story import Clock

from edgepress_server.alerts.rule import Baseline, Rule
from edgepress_server.store import Store, open_store, unix_ms

MINUTE_MS: Final = 60_000
LASTS_MINUTES: Final = 26
HALL_3: Final = tuple(f"press-{n:02d}" for n in range(1, 9))
HALL_4: Final = tuple(f"gate-{n:02d}" for n in range(1, 5))
CALM: Final = {"temp_c": 61.0, "rss_bytes": 48_000_000, "cpu_percent": 31.0, "pace_us": 21_000.0}

HOT: Final = Rule(
    name="hot", title="Board is hot", kind="threshold", metric="temp_c", window_s=120, fire_at=80.0,
    resolve_at=75.0, for_s=60, resolve_for_s=60, severity="warning", runbook="temperature-high",
)  # fmt: skip
SLOW: Final = Rule(
    name="slow", title="Latency above a limit", kind="threshold", metric="latency_us", aggregate="p95",
    window_s=120, fire_at=30_000.0, resolve_at=25_000.0, for_s=60, resolve_for_s=60, severity="critical",
    least=5,
)  # fmt: skip
AWAY: Final = Rule(
    name="away", title="Device offline", kind="absence", absent="offline", fire_at=300.0, severity="critical",
    group_by=("label:site",), runbook="device-offline",
)  # fmt: skip
UNUSUAL: Final = Rule(
    name="unusual", title="Latency above its usual", kind="baseline", metric="latency_us", aggregate="p95",
    fire_at=1.5, resolve_at=1.2, baseline=Baseline(), enabled=False,
)  # fmt: skip


class AlertStories:
    """``tell`` lives through it; afterwards five presses are hot and slow, and hall 4 is away."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.clock.ms = unix_ms() - LASTS_MINUTES * MINUTE_MS
        self.store: Store = open_store(folder, self.clock)
        self.watched = Watched(self.store, self.clock)

    def tell(self) -> None:
        watched = self.watched
        watched.enrol(*HALL_3, profile="raspberry-pi-4", site="hall-3")
        watched.enrol(*HALL_4, profile="jetson-orin-nano", site="hall-4")
        watched.only(HOT, SLOW, AWAY, UNUSUAL)
        watched.hook()
        for i, name in enumerate((*HALL_3, *HALL_4)):
            measured = {**CALM, "temp_c": CALM["temp_c"] + i % 3, "pace_us": CALM["pace_us"] + 300 * i}
            watched.values[name] = measured
        watched.minutes(6)
        watched.say(press_08={**CALM, "temp_c": 88.0})
        watched.minutes(4)
        watched.say(press_08=dict(CALM))  # it has cooled down: this one is over
        watched.minutes(4)
        for i, name in enumerate(HALL_3[:5]):
            watched.values[name] = {**CALM, "temp_c": 83.0 + i, "pace_us": 33_000.0 + 500 * i}
        watched.minutes(5)
        for name in HALL_4:
            watched.fleet.devices[name].report("idle", online=False)
            watched.values[name] = None
        watched.minutes(6)

    def until_now(self) -> None:
        assert self.clock.ms <= unix_ms(), "the story lasts longer than LASTS_MINUTES"
        self.clock.ms = unix_ms()
