"""The price of a bit while a model is trained towards a number of bytes.

Bytes are to fall along a geometric curve, from those at the start to the target at the end of the ramp, and
to stay there. The price's logarithm is moved by the logarithm of how far they are off (integral control): no
knowledge of the model is needed, and the price finds its own scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_FIRST = 0.02  # of the price at which the bits' gradient is as long as the loss'; those that hold are near it
_LEAST = 1e-3  # of the first price
_GAIN = 0.25  # of the logarithm of how far bytes will be off, per decision
_AHEAD = 0.15  # of the ramp, that is looked ahead
_SLOPE_NEWS = 0.2  # weight of the newest slope
_MOST_MOVE = 0.5
_REMEMBERED = ("_price", "_start", "_truth", "_measured", "_off", "_at", "_slope")


@dataclass
class PriceControl:
    """`price` is asked every few steps; `measure` gives the bytes of the artifact as it is,
    at most `measurements` times, to hold the estimate true. `fixed_bytes` is what an artifact of zeros takes.
    """

    target_bytes: float
    fixed_bytes: float
    measure: Callable[[], int]
    ramp: float  # fraction of the training in which bytes fall to the target
    measurements: int = 10
    _price: float | None = None
    _start: float | None = None
    _truth: float = 1.0  # real bytes over estimated ones
    _measured: int = -1
    _off: float | None = None
    _at: float = 0.0
    _slope: float = 0.0

    def resume_state(self) -> dict[str, Any]:
        """Everything that the next price depends on."""
        return {name: getattr(self, name) for name in _REMEMBERED}

    def resume_from(self, state: dict[str, Any]) -> None:
        for name in _REMEMBERED:
            setattr(self, name, state[name])

    def estimate(self, bits: float) -> float:
        """Bytes of the artifact."""
        return self.fixed_bytes + self._truth * bits / 8

    def price(self, fraction: float, bits: float, balance: float) -> float:
        """Nats of loss a bit. `balance`: the price at which the gradient of the bits was as long as that of
        the loss, at first."""
        due = int(fraction * self.measurements)
        if due > self._measured:
            self._measured = due
            self._truth = max(self.measure() - self.fixed_bytes, 1.0) / max(bits / 8, 1.0)
        now = self.estimate(bits)
        if self._start is None:
            self._start = max(now, self.target_bytes)
        done = min(1.0, fraction / self.ramp)
        wanted = self._start * (self.target_bytes / self._start) ** done
        off = math.log(max(now - self.fixed_bytes, 1.0) / max(wanted - self.fixed_bytes, 1.0))
        if self._off is not None and fraction > self._at:
            slope = (off - self._off) / (fraction - self._at)
            self._slope += _SLOPE_NEWS * (slope - self._slope)
        self._off, self._at = off, fraction
        move = _GAIN * (off + _AHEAD * self.ramp * self._slope)
        if self._price is None:
            self._price = _FIRST * balance
        least = _LEAST * _FIRST * balance
        self._price = max(least, self._price * math.exp(min(max(move, -_MOST_MOVE), _MOST_MOVE)))
        return self._price
