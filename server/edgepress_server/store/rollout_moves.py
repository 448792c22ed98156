"""What the rollout engine writes: states of rollouts and of their devices."""

from __future__ import annotations

from collections.abc import Sequence

from edgepress_server.store.audit import Audit
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events
from edgepress_server.store.rollout_decisions import Decisions, What
from edgepress_server.store.rollout_rows import DeviceState, RolloutState

Mark = tuple[str, str, DeviceState, str, DeviceState, str]  # rollout, device, old state, reason; new ones
Previous = tuple[str | None, str | None, str | None]  # rollout, release, digest


class RolloutMoves:
    def __init__(self, database: Database, events: Events, audit: Audit) -> None:
        self._database = database
        self._events = events
        self._audit = audit
        self.decisions = Decisions(database)

    # --- rollouts -----------------------------------------------------------------------------------------

    def set_state(
        self,
        rollout_id: str,
        state: RolloutState,
        reason: str,
        *,
        what: What | None = None,
        resume: RolloutState | None = None,
        actor: str | None = None,
    ) -> None:
        """``what``: the decision that is noted with the reason. What a person asks for is audited with the
        request; what the server decides is audited here."""
        with self._database.transaction() as connection:
            now = self._database.now_ms()
            connection.execute(
                "UPDATE rollouts SET state = ?, reason = ?, resume_state = ?, stage_since = ?, waiting = '',"
                " finished_at = CASE WHEN ? IN ('done', 'aborted') THEN ? END WHERE id = ?",
                (state, reason, resume, now, state, now, rollout_id),
            )
            self._events.append(
                "rollout", rollout_id, "state", actor=actor, data={"state": state, "reason": reason}
            )
            if what is not None:
                self.decisions.add(rollout_id, what, reason, actor=actor)
            if actor is None:
                data = {"state": state, "reason": reason}
                self._audit.append("rollout_state", rollout_id, source="server", data=data)

    def begin(self, rollout_id: str, why: str) -> None:
        """The rollout's stage may tell devices from now on."""
        with self._database.transaction() as connection:
            now = self._database.now_ms()
            connection.execute(
                "UPDATE rollouts SET begun_at = ?, settled_at = NULL, waiting = '' WHERE id = ?",
                (now, rollout_id),
            )
            self.decisions.add(rollout_id, "begun", why)

    def set_wave(self, rollout_id: str, wave: int) -> None:
        """The next stage, which has not begun."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE rollouts SET wave = ?, begun_at = NULL, settled_at = NULL, waiting = '' WHERE id = ?",
                (wave, rollout_id),
            )
            self._events.append("rollout", rollout_id, "wave", data={"wave": wave})

    def set_settled(self, rollout_id: str) -> None:
        """All that the stage has reached are settled since now."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE rollouts SET settled_at = ? WHERE id = ?", (self._database.now_ms(), rollout_id)
            )

    def set_waiting(self, rollout_id: str, sentence: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("UPDATE rollouts SET waiting = ? WHERE id = ?", (sentence, rollout_id))
            self._events.append("rollout", rollout_id, "progress")

    # --- devices ------------------------------------------------------------------------------------------

    def set_device_state(self, rollout_id: str, device: str, state: DeviceState, reason: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE rollout_devices SET state = ?, reason = ?, updated_at = ?"
                " WHERE rollout = ? AND device = ?",
                (state, reason, self._database.now_ms(), rollout_id, device),
            )

    def mark(self, marks: Sequence[Mark]) -> None:
        """Devices that stand elsewhere than before, where nobody else has moved them meanwhile."""
        now = self._database.now_ms()
        with self._database.transaction() as connection:
            connection.executemany(
                "UPDATE rollout_devices SET state = ?, reason = ?, updated_at = ?"
                " WHERE rollout = ? AND device = ? AND state = ? AND reason = ?",
                [
                    (state, reason, now, rollout, device, old_state, old_reason)
                    for rollout, device, old_state, old_reason, state, reason in marks
                ],
            )
            for rollout in dict.fromkeys(mark[0] for mark in marks):
                self._events.append("rollout", rollout, "progress")

    def unreach(self, rollout_id: str, up_to: int | None, reason: str, there_since: int) -> int:
        """Devices of the waves up to this one that are not there: nobody waits for them; how many. None: of
        all waves, and whoever was not told."""
        with self._database.transaction() as connection:
            return connection.execute(
                "UPDATE rollout_devices SET state = 'unreached', reason = ?, updated_at = ? WHERE rollout = ?"
                " AND (? IS NULL OR wave <= ?) AND ((state = 'waiting' AND ? IS NULL) OR"
                " (state IN ('waiting', 'wanted', 'fetching', 'trial') AND device IN (SELECT name FROM"
                "  devices WHERE online = 0 AND coalesce(seen_at, 0) <= ?)))",
                (reason, self._database.now_ms(), rollout_id, up_to, up_to, up_to, there_since),
            ).rowcount

    def skip_unsettled(self, rollout_id: str, reason: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE rollout_devices SET state = 'skipped', reason = ?, updated_at = ? WHERE rollout = ?"
                " AND state IN ('waiting', 'wanted', 'fetching', 'trial')",
                (reason, self._database.now_ms(), rollout_id),
            )

    def set_issued(self, rollout_id: str, device: str, counter: int, previous: Previous) -> None:
        """The device was told. ``previous`` is kept from the first time only."""
        with self._database.transaction() as connection:
            now = self._database.now_ms()
            connection.execute(
                "UPDATE rollout_devices SET state = 'wanted', reason = '', updated_at = ?, told_at = ?,"
                " previous_rollout = CASE WHEN want_counter IS NULL THEN ? ELSE previous_rollout END,"
                " previous_release = CASE WHEN want_counter IS NULL THEN ? ELSE previous_release END,"
                " previous_digest = CASE WHEN want_counter IS NULL THEN ? ELSE previous_digest END,"
                " want_counter = ? WHERE rollout = ? AND device = ?",
                (now, now, *previous, counter, rollout_id, device),
            )

    def set_previous(self, rollout_id: str, device: str, previous: Previous) -> None:
        """What it was given back, where that is not what it was told just before."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE rollout_devices SET previous_rollout = ?, previous_release = ?, previous_digest = ?"
                " WHERE rollout = ? AND device = ?",
                (*previous, rollout_id, device),
            )

    def set_want_counter(self, rollout_id: str, device: str, counter: int) -> None:
        """Reports about earlier wants count no more."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE rollout_devices SET want_counter = ? WHERE rollout = ? AND device = ?",
                (counter, rollout_id, device),
            )

    def promote(self, rollout_id: str, device: str) -> None:
        """Make a device of a wave a canary: the ones chosen first fell away."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE rollout_devices SET stage = 'canary', wave = 0, updated_at = ?"
                " WHERE rollout = ? AND device = ?",
                (self._database.now_ms(), rollout_id, device),
            )

    def join(self, rollout_id: str, device: str, *, profile: str, digest: str, wave: int) -> None:
        """A device that came later takes part."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO rollout_devices"
                " (rollout, device, digest, profile, stage, wave, state, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?, 'waiting', ?)",
                (
                    rollout_id,
                    device,
                    digest,
                    profile,
                    "canary" if wave == 0 else "ramp",
                    wave,
                    self._database.now_ms(),
                ),
            )
