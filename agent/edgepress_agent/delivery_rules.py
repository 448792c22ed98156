"""Whether a fetch may go on now: the want's rules and this device's own, the stricter of both. Pure.

In this order, and the first that holds is what people read:

1. the start: a moment drawn from ``start_within_s`` after the want was issued, so that a fleet does not come
   as one. Drawn from device and want, so a restart keeps it. A late joiner's has passed; a fetch that has
   chunks already began.
2. the hours, the want's and the device's own
3. the metered link, where the rule says wait
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from edgepress_agent.hours import Hours, format_hours, opens_s, within
from edgepress_agent.local_limits import LocalLimits
from edgepress_devices.delivery_messages import Delivery

LOOK_AGAIN_S: Final = 60.0  # a metered link, or hours that never come


@dataclass(frozen=True)
class Hold:
    """Not now."""

    reason: str  # State.waiting
    seconds: float  # then ask again


@dataclass(frozen=True)
class Moment:
    clock_s: float  # Unix seconds, SignedClock's
    clock_trusted: bool = True


def strictest_rate(delivery: Delivery, own: LocalLimits) -> int | None:
    rates = [rate for rate in (delivery.rate_bytes_s, own.rate_bytes_s) if rate is not None]
    return min(rates, default=None)


def start_s(device: str, counter: int, issued_at_s: int, within_s: int) -> float:
    """The moment in Unix seconds at which this device begins with this want."""
    if within_s == 0:
        return float(issued_at_s)
    drawn = hashlib.sha256(f"{device} {counter}".encode("ascii")).digest()
    return issued_at_s + within_s * int.from_bytes(drawn[:8], "big") / 2**64


def hold(
    delivery: Delivery,
    own: LocalLimits,
    *,
    start_at_s: float,
    begun: bool,
    moment: Moment,
    metered: Callable[[], bool | None],
) -> Hold | None:
    """None: go on. ``begun``: chunks are here already; ``metered()``: None = unknown."""
    clock_s = moment.clock_s
    if not begun and clock_s < start_at_s:
        when = datetime.fromtimestamp(start_at_s, UTC)
        return Hold(f"until {when:%H:%M:%S} UTC, its start", _soon(start_at_s - clock_s))
    hours = [delivery.hours, own.hours]
    if not all(within(each, clock_s) for each in hours):
        return _outside(hours, moment)
    if delivery.metered == "wait" and own.metered != "no" and (own.metered == "yes" or metered() is True):
        return Hold("on a metered link", LOOK_AGAIN_S)
    return None


def _outside(hours: Sequence[Hours], moment: Moment) -> Hold:
    opens_at_s = opens_s(hours, moment.clock_s)
    if opens_at_s is None:
        both = " and ".join(format_hours(each) for each in hours)
        return Hold(f"its download hours never come: {both} have no minute in common", LOOK_AGAIN_S)
    reason = f"until {datetime.fromtimestamp(opens_at_s, UTC):%H:%M} UTC, its download hours"
    if not moment.clock_trusted:
        said = datetime.fromtimestamp(moment.clock_s, UTC)
        reason += f" (its clock is wrong; after the newest signed time it is {said:%H:%M} or later)"
    return Hold(reason, _soon(opens_at_s - moment.clock_s))


def _soon(seconds: float) -> float:
    """A clock may be set meanwhile: look again within the minute."""
    return min(LOOK_AGAIN_S, max(0.05, seconds))
