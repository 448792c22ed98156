"""Reads what `decide` wants from the store; and writes down where devices stand, after what they report."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from edgepress_server.rollout.devices import DeviceFacts, observe
from edgepress_server.rollout.facts import Cell, RolloutFacts
from edgepress_server.rollout.figures import ProfileFigures
from edgepress_server.rollout.passing import LOOK_AGAIN_MS
from edgepress_server.rollout.timers import MINUTE_MS
from edgepress_server.store import Store
from edgepress_server.store.rollout_moves import Mark
from edgepress_server.store.rollout_policy import Policy
from edgepress_server.store.rollout_reads import AWAY_MS
from edgepress_server.store.rollout_rows import read_report

log = logging.getLogger(__name__)

MARKS_PER_TRANSACTION: Final = 2000


@dataclass(frozen=True)
class Known:
    facts: RolloutFacts
    look_again: int | None  # Unix ms: when a device that is gone for a moment counts as gone


class Looks:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._figures: dict[str, tuple[int, int | None, Sequence[ProfileFigures]]] = {}

    def observe(self, devices: Collection[str] | None) -> set[str]:
        """Write down where these devices (None: all) stand now; ids of the rollouts they are in.

        A mark is written only where the row still says what it was made from: a person may have resumed it.
        """
        rows = self._store.rollout_reads.observed(devices)
        marks: list[Mark] = []
        for row in rows:
            known = DeviceFacts(
                device=row["device"],
                digest=row["digest"],
                state=row["state"],
                reason=row["reason"],
                want_counter=row["want_counter"],
                revoked=row["revoked_at"] is not None,
                superseded=bool(row["later"])
                or (row["want_counter"] is not None and row["owner"] != row["rollout"]),
                report=None if row["old_key"] else read_report(row["report"]),
            )
            state, reason = observe(known)
            if (state, reason) != (known.state, known.reason):
                marks.append((row["rollout"], row["device"], known.state, known.reason, state, reason))
        for start in range(0, len(marks), MARKS_PER_TRANSACTION):
            self._store.rollout_moves.mark(marks[start : start + MARKS_PER_TRANSACTION])
        return {row["rollout"] for row in rows}

    def read(self, rollout_id: str) -> Known:
        """Raises LookupError where there is no such rollout."""
        store, reads = self._store, self._store.rollout_reads
        row = reads.row(rollout_id)
        if row is None:
            raise LookupError(rollout_id)
        now = store.now_ms()
        policy = msgspec.json.decode(row["policy"], type=Policy)
        cells = reads.cells(rollout_id)
        told, first = 0, None
        if policy.rate_per_minute is not None:
            told, first = reads.told_lately(rollout_id, now - MINUTE_MS)
        rolling_back = row["state"] == "rolling_back"
        facts = RolloutFacts(
            id=rollout_id,
            state=row["state"],
            policy=policy,
            cells=[
                Cell(c["profile"], c["wave"], c["state"], bool(c["there"]), c["n"], bool(c["enrolled"]))
                for c in cells
            ],
            stage_since=row["stage_since"],
            wave=row["wave"],
            begun_at=row["begun_at"],
            settled_at=row["settled_at"],
            reason=row["reason"],
            release=row["release_state"],
            release_id=row["release"],
            withdrawn_reason=row["withdrawn_reason"],
            approved=reads.approved(rollout_id),
            failed=reads.failed(rollout_id) if any(c["state"] == "failed" for c in cells) else (),
            told_lately=told,
            next_slot_at=None if first is None else first + MINUTE_MS,
            download_slots=self._download_slots(),
            overruled=row["overruled"] == row["wave"],
            rollback=bool(row["rollback"]),
            give_back=len(reads.to_give_back(rollout_id)) if rolling_back else 0,
            take_back=len(reads.to_take_back(rollout_id)) if rolling_back and row["rollback"] else 0,
            going_back=reads.going_back(rollout_id) if rolling_back else (),
            deltas_pending=store.deltas.pending(row["release"]) if policy.delta != "never" else 0,
            figures=lambda fresh: self._judged_by(rollout_id, policy, row["gates_since"], fresh),
        )
        fresh = [c["fresh"] for c in cells if c["fresh"] is not None and c["state"] not in ("committed",)]
        return Known(facts, min(fresh) + AWAY_MS + 1 if fresh else None)

    def forget(self, rollout_id: str) -> None:
        self._figures.pop(rollout_id, None)

    def _download_slots(self) -> int | None:
        """How many more devices the fleet's download limit has room for; each may use its own rate."""
        fleet = self._store.delivery.fleet()
        if fleet.fleet_rate_bytes_s is None:
            return None
        each = fleet.rate_bytes_s or fleet.fleet_rate_bytes_s
        return max(0, max(1, fleet.fleet_rate_bytes_s // each) - self._store.rollout_reads.downloading())

    def _judged_by(
        self, rollout_id: str, policy: Policy, since: int | None, fresh: bool
    ) -> Sequence[ProfileFigures]:
        """Kept for a few seconds while a stage goes on; read anew where a stage is to pass."""
        now = self._store.now_ms()
        kept = self._figures.get(rollout_id)
        if kept is not None and kept[1] == since and not fresh and now - kept[0] < LOOK_AGAIN_MS:
            return kept[2]
        found = self._store.rollout_figures.of(rollout_id, since=since, min_devices=policy.gates.min_devices)
        self._figures[rollout_id] = (now, since, found)
        return found
