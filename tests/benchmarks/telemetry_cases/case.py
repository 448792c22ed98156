"""What a case of the telemetry benchmark is given, and the rows that it gives: one row of the table each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from delivery_cases.case import Row

__all__ = ["Broker", "Options", "Row"]

Broker = Literal["embedded", "mosquitto"]


@dataclass(frozen=True)
class Options:
    folder: Path  # on a disk; every case makes its own below
    seconds: float  # how long a case that measures over time runs
    devices: int | None = None  # None: what the case's target asks for
    broker: Broker = "embedded"
    outage_s: float = 600.0
    keep: Path | None = None  # where the seeded store lies and is used again
