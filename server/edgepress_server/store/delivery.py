"""Under which rules devices may fetch: of the fleet, and of single devices; what is stricter counts.

Hours are written as people say them ("22:00-06:00" in a time zone) and go to devices as minutes of the day in
UTC, as they are on the day the want is signed.
"""

from __future__ import annotations

import re
import secrets
import zoneinfo
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec

from edgepress_devices.protocol import Delivery
from edgepress_server.errors import InvalidInputError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events
from edgepress_server.store.wants import Wants
from edgepress_server.trust.ticket import SECRET_BYTES

_HOURS: Final = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
DAY: Final = 1440  # minutes
HOURS_MAX: Final = 8
FLEET: Final = "fleet"


class DeliveryRules(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What an operator sets; absent = not limited."""

    rate_bytes_s: Annotated[int, msgspec.Meta(ge=1000, le=2**40)] | None = None  # of one device
    hours: Annotated[list[str], msgspec.Meta(max_length=HOURS_MAX)] = []  # "22:00-06:00"
    timezone: Annotated[str, msgspec.Meta(max_length=64)] = "UTC"  # IANA, of the hours
    metered: Literal["allow", "wait"] = "allow"
    transport: Literal["auto", "mqtt", "https"] = "auto"
    start_within_s: Annotated[int, msgspec.Meta(ge=0, le=7 * 86_400)] = 0
    fleet_rate_bytes_s: Annotated[int, msgspec.Meta(ge=1000, le=2**40)] | None = None
    """of all downloads together; of the fleet's rules only"""


class DeliveryStore:
    def __init__(self, database: Database, events: Events, wants: Wants) -> None:
        self._database = database
        self._events = events
        self._wants = wants

    def fleet(self) -> DeliveryRules:
        """The rules of every device."""
        return self._read(FLEET)

    def device(self, name: str) -> DeliveryRules:
        """What was set for one device beside the fleet's rules."""
        return self._read(f"device/{name}")

    def set_fleet(self, rules: DeliveryRules, *, actor: str | None) -> DeliveryRules:
        """Raises InvalidInputError. Downloads under way are told."""
        return self._write(FLEET, check_rules(rules), None, actor)

    def set_device(self, name: str, rules: DeliveryRules, *, actor: str | None) -> DeliveryRules:
        """Raises InvalidInputError. A download under way is told."""
        if rules.fleet_rate_bytes_s is not None:
            raise InvalidInputError(
                "delivery_rules", "A rate of all downloads together is for the fleet, not for one device."
            )
        return self._write(f"device/{name}", check_rules(rules), name, actor)

    def rules(self, name: str, also: Delivery | None = None) -> Delivery:
        """What counts for one device now: the strictest of fleet, device and ``also`` (a rollout's).

        Where two transports are named the device's counts before the fleet's, the rollout's before both.
        """
        moment = datetime.fromtimestamp(self._database.now_ms() / 1000, UTC)
        found = [as_delivery(self.fleet(), moment), as_delivery(self.device(name), moment)]
        return strictest([*found, also] if also is not None else found)

    @property
    def fleet_rate(self) -> int | None:
        """Bytes a second for all downloads together; None: not limited."""
        return self.fleet().fleet_rate_bytes_s

    def ticket_secret(self) -> bytes:
        """What tickets are signed with; drawn once."""
        with self._database.transaction() as connection:
            row = self._database.row("SELECT value FROM facts WHERE key = 'ticket_secret'")
            if row is not None:
                return bytes.fromhex(msgspec.json.decode(row["value"], type=str))
            secret = secrets.token_bytes(SECRET_BYTES)
            connection.execute(
                "INSERT INTO facts (key, value) VALUES ('ticket_secret', ?)",
                (msgspec.json.encode(secret.hex()).decode(),),
            )
            return secret

    def _read(self, subject: str) -> DeliveryRules:
        row = self._database.row("SELECT rules FROM delivery_rules WHERE subject = ?", (subject,))
        return DeliveryRules() if row is None else msgspec.json.decode(row["rules"], type=DeliveryRules)

    def _write(
        self, subject: str, rules: DeliveryRules, device: str | None, actor: str | None
    ) -> DeliveryRules:
        with self._database.transaction() as connection:
            if rules == DeliveryRules():
                connection.execute("DELETE FROM delivery_rules WHERE subject = ?", (subject,))
            else:
                connection.execute(
                    "INSERT OR REPLACE INTO delivery_rules (subject, rules, updated_at, actor)"
                    " VALUES (?, ?, ?, ?)",
                    (subject, msgspec.json.encode(rules).decode(), self._database.now_ms(), actor),
                )
            self._wants.outdate(device)
            kind: Literal["server", "device"] = "server" if device is None else "device"
            self._events.append(kind, device or FLEET, "delivery_rules", actor=actor)
        return rules


def check_rules(rules: DeliveryRules) -> DeliveryRules:
    """The rules themselves, where they can be kept. Raises InvalidInputError."""
    try:
        zoneinfo.ZoneInfo(rules.timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInputError(
            "timezone", f"{rules.timezone[:64]!r} is no time zone; use one such as UTC or Europe/Berlin."
        ) from error
    for text in rules.hours:
        _minutes(text)
    return rules


def as_delivery(rules: DeliveryRules, moment: datetime) -> Delivery:
    """The rules as a device gets them, hours in UTC as of ``moment``."""
    offset = moment.astimezone(zoneinfo.ZoneInfo(rules.timezone)).utcoffset()
    shift = 0 if offset is None else int(offset.total_seconds()) // 60
    hours = [((a - shift) % DAY, (b - shift) % DAY) for a, b in map(_minutes, rules.hours)]
    return Delivery(
        start_within_s=rules.start_within_s,
        rate_bytes_s=rules.rate_bytes_s,
        hours=hours,
        metered=rules.metered,
        transport=rules.transport,
    )


def strictest(rules: list[Delivery]) -> Delivery:
    """What all of them allow. Hours that exclude each other leave one minute: never would look like a fault
    of the device."""
    rates = [each.rate_bytes_s for each in rules if each.rate_bytes_s is not None]
    named = [each.transport for each in rules if each.transport != "auto"]
    return Delivery(
        start_within_s=max((each.start_within_s for each in rules), default=0),
        rate_bytes_s=min(rates) if rates else None,
        hours=_common([each.hours for each in rules if each.hours]),
        metered="wait" if any(each.metered == "wait" for each in rules) else "allow",
        transport=named[-1] if named else "auto",
        full=all(each.full for each in rules),
    )


def _minutes(text: str) -> tuple[int, int]:
    match = _HOURS.fullmatch(text.strip())
    if match is None:
        raise InvalidInputError("hours", f"{text[:40]!r} are no hours; write them as 22:00-06:00.")
    start, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if start > DAY or end > DAY or start == end:
        raise InvalidInputError(
            "hours", f"{text[:40]!r} are no hours: they end where they begin, or are past 24:00."
        )
    return start % DAY, end % DAY


def _common(many: list[list[tuple[int, int]]]) -> list[tuple[int, int]]:
    """The minutes of the day that all sets of hours allow, as at most HOURS_MAX ranges."""
    if not many:
        return []
    allowed = [all(any(_within(minute, a, b) for a, b in hours) for hours in many) for minute in range(DAY)]
    if all(allowed):
        return []
    starts = [m for m in range(DAY) if allowed[m] and not allowed[m - 1]]
    ranges = []
    for start in starts:
        end = start
        while allowed[end % DAY]:
            end += 1
        ranges.append((start, end % DAY))
    longest = sorted(ranges, key=lambda each: -((each[1] - each[0]) % DAY))[:HOURS_MAX]
    return sorted(longest) or [(many[-1][0][0], (many[-1][0][0] + 1) % DAY)]


def _within(minute: int, start: int, end: int) -> bool:
    return start <= minute < end if start < end else minute >= start or minute < end
