"""What devices say about themselves: their ``up/state`` messages, stored a batch at a time.

A thousand devices that install at once send some thousands of states within seconds. So a batch reads the
rows that it is about in one query, folds what each device said into one change, and writes one row and one
event for each device, not for each message.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec

from edgepress_devices.protocol import State
from edgepress_server.store.clones import CloneWatch
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events


@dataclass
class _Heard:
    """What is known of a device, with what it said in this batch folded in."""

    was_online: bool
    online: bool
    seq: int | None  # of the newest full state; None: there is none
    said: bool = False  # itself, and not the broker in its name
    state: State | None = None  # the newest full one of this batch
    cloned_at: int | None = None  # Unix ms, when this batch shows two boards with this identity

    def fold(self, state: State) -> None:
        self.online = state.online
        if not state.online and state.at_ms is None:
            return  # the will says only that: what was known stays
        self.said = True
        if self.seq is not None and state.seq < self.seq:
            return  # an old retained copy: it only tells that the device is there
        if self.state is not None:  # what this message leaves out, an earlier one of the batch told
            state = msgspec.structs.replace(
                state, agent=state.agent or self.state.agent, hardware=state.hardware or self.state.hardware
            )
        self.seq, self.state = state.seq, state


class DeviceStates:
    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events
        self._clones = CloneWatch()

    def record(self, device: str, state: State) -> bool:
        """Store one message; False when nobody registered this device or it was revoked."""
        return device in self.record_all([(device, state)])

    def record_all(self, messages: Sequence[tuple[str, State]]) -> set[str]:
        """Store messages in the order in which they came; the names of the senders that are enrolled.

        The will says only ``online: false``: what was known stays. A message with a lower ``seq`` than the
        stored one is an old retained copy: it only tells that the device is there. Senders that are not
        enrolled, or were revoked, are left out.
        """
        now = self._database.now_ms()
        with self._database.transaction() as connection:
            heard = self._read({name for name, _ in messages})
            for name, state in messages:
                if name in heard:
                    heard[name].fold(state)
                    if state.boot is not None and self._clones.is_cloned(name, state.boot, now):
                        heard[name].cloned_at = now
            connection.executemany(
                "UPDATE devices SET online = ?, seen_at = coalesce(?, seen_at), state = coalesce(?, state),"
                " agent_version = coalesce(?, agent_version), hardware = coalesce(?, hardware),"
                " cloned_at = coalesce(?, cloned_at) WHERE name = ?",
                [
                    (
                        int(device.online),
                        now if device.said else None,
                        _json(device.state),
                        None if device.state is None else device.state.agent,
                        None if device.state is None else _json(device.state.hardware),
                        device.cloned_at,
                        name,
                    )
                    for name, device in heard.items()
                ],
            )
            self._events.append_all(
                "device",
                "state",
                (
                    (name, {"online": device.online, "step": device.state.step if device.state else "idle"})
                    for name, device in heard.items()
                    if device.state is not None or device.online != device.was_online
                ),
            )
        return set(heard)

    def all_offline(self, except_for: Collection[str] = ()) -> None:
        """The broker was lost: nobody is known to be online until each device says so again."""
        with self._database.transaction() as connection:
            rows = self._database.rows("SELECT name FROM devices WHERE online = 1")
            names = [row["name"] for row in rows if row["name"] not in except_for]
            connection.executemany(
                "UPDATE devices SET online = 0 WHERE name = ?", [(name,) for name in names]
            )
            self._events.append_all("device", "state", ((name, {"online": False}) for name in names))

    def _read(self, names: set[str]) -> dict[str, _Heard]:
        rows = self._database.rows(
            # a state leaves out a ``seq`` of 0, its default
            "SELECT name, online, CASE WHEN state IS NULL THEN NULL"
            " ELSE coalesce(json_extract(state, '$.seq'), 0) END AS seq FROM devices"
            " WHERE name IN (SELECT value FROM json_each(?))"
            " AND enrolled_at IS NOT NULL AND revoked_at IS NULL",
            (json.dumps(sorted(names)),),
        )
        return {row["name"]: _Heard(bool(row["online"]), bool(row["online"]), row["seq"]) for row in rows}


def _json(message: msgspec.Struct | None) -> str | None:
    return None if message is None else msgspec.json.encode(message).decode()
