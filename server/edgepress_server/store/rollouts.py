"""Rollouts: one release on its way to chosen devices. The rules are at the head of ``rollout/decide``.

People create, pause, resume and abort here (through the API); the rollout engine moves the states on.
Every change writes its event in the same transaction.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

from edgepress_devices.protocol import Limits, ProtocolError, State, from_json
from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events
from edgepress_server.store.releases import Release, Releases

RolloutState = Literal[
    "draft", "signed", "canary", "ramp", "soak", "done", "paused", "aborted", "rolling_back"
]
DeviceState = Literal["waiting", "wanted", "fetching", "trial", "committed", "failed", "skipped"]
Stage = Literal["canary", "ramp"]

FINAL: Final = ("done", "aborted")
DEVICE_STATES: Final[tuple[DeviceState, ...]] = (
    "waiting",
    "wanted",
    "fetching",
    "trial",
    "committed",
    "failed",
    "skipped",
)


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    canary_per_profile: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 1  # 0: no canary stage
    max_failed: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0  # more failures than this pause it
    soak_s: Annotated[int, msgspec.Meta(ge=0, le=30 * 24 * 3600)] = 0  # watched this long before it is done
    limits: Limits = msgspec.field(default_factory=Limits)  # what the trial on a device must not exceed


class RolloutDevice(msgspec.Struct):
    device: str
    profile: str
    digest: str
    stage: Stage
    state: DeviceState
    reason: str
    updated_at: int  # Unix ms
    want_counter: int | None = None
    chunks_have: int | None = None
    chunks_total: int | None = None


class Rollout(msgspec.Struct):
    id: str
    release: Release
    state: RolloutState
    reason: str
    policy: Policy
    created_at: int  # Unix ms
    stage_since: int
    finished_at: int | None
    actor: str | None
    counts: dict[str, int]  # of devices, by state
    devices: list[RolloutDevice]  # in `list()` empty
    resume_state: RolloutState | None = None


class Rollouts:
    def __init__(self, database: Database, events: Events, releases: Releases) -> None:
        self._database = database
        self._events = events
        self._releases = releases

    # --- what people do -----------------------------------------------------------------------------------

    def create(
        self,
        release: str,
        *,
        devices: Sequence[str] | None = None,
        profiles: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        policy: Policy | Mapping[str, Any] | None = None,
        actor: str | None = None,
    ) -> Rollout:
        """A rollout to the named devices, or to every enrolled one that has these profiles and labels.

        Raises NotFoundError (release, device), InvalidInputError (policy), ConflictError (no device fits; a
        named one is revoked, not enrolled, runs a newer release or has a profile that the release lacks).
        """
        rules = _policy(policy)
        rollout_id = secrets.token_hex(6)
        with self._database.transaction() as connection:
            what = self._releases.get(release)
            targets = (
                [self._named(name, what) for name in dict.fromkeys(devices)]
                if devices is not None  # none named is nobody, and never everybody
                else self._matching(what, profiles, labels or {})
            )
            if not targets:
                raise ConflictError(
                    "no_devices",
                    "No enrolled device fits this rollout: the release has artifacts for "
                    f"{', '.join(what.artifacts)}. Enrol a device of such a profile, or compress for yours.",
                )
            now = self._database.now_ms()
            connection.execute(
                "INSERT INTO rollouts (id, release, state, policy, created_at, stage_since, actor)"
                " VALUES (?, ?, 'draft', ?, ?, ?, ?)",
                (rollout_id, release, msgspec.json.encode(rules).decode(), now, now, actor),
            )
            taken: dict[str, int] = {}
            for target in sorted(
                targets, key=lambda row: (-row["online"], -(row["seen_at"] or 0), row["name"])
            ):
                profile = target["profile"]
                stage = "canary" if taken.setdefault(profile, 0) < rules.canary_per_profile else "ramp"
                taken[profile] += 1
                connection.execute(
                    "INSERT INTO rollout_devices (rollout, device, digest, stage, state, updated_at)"
                    " VALUES (?, ?, ?, ?, 'waiting', ?)",
                    (rollout_id, target["name"], what.artifacts[profile], stage, now),
                )
            self._events.append("rollout", rollout_id, "created", actor=actor, data={"release": release})
        return self.get(rollout_id)

    def pause(self, rollout_id: str, *, actor: str | None = None, reason: str = "") -> Rollout:
        """Issue nothing more until `resume`; what devices have begun they finish. Raises ConflictError."""
        with self._database.transaction():
            state = self.state(rollout_id)
            if state in (*FINAL, "paused", "rolling_back"):
                raise ConflictError(
                    "cannot_pause", f"The rollout is {_words(state)}; there is nothing to pause."
                )
            self.set_state(
                rollout_id, "paused", reason or f"paused by {actor or 'a person'}", resume=state, actor=actor
            )
        return self.get(rollout_id)

    def resume(self, rollout_id: str, *, actor: str | None = None) -> Rollout:
        """Go on where it stopped; devices that failed get another try. Raises ConflictError."""
        with self._database.transaction() as connection:
            row = self._row(rollout_id)
            if row["state"] != "paused":
                raise ConflictError("not_paused", f"The rollout is {_words(row['state'])}, not paused.")
            again = connection.execute(
                "UPDATE rollout_devices SET state = 'waiting', reason = '', updated_at = ?"
                " WHERE rollout = ? AND state = 'failed'",
                (self._database.now_ms(), rollout_id),
            ).rowcount
            state: RolloutState = row["resume_state"] or "draft"
            # Nobody is told anything while it soaks, and these are to be told again.
            self.set_state(rollout_id, "ramp" if again and state == "soak" else state, "", actor=actor)
        return self.get(rollout_id)

    def abort(self, rollout_id: str, *, actor: str | None = None) -> Rollout:
        """Devices that have not committed get back what they were to run before. Raises ConflictError."""
        with self._database.transaction():
            state = self.state(rollout_id)
            if state in FINAL:
                raise ConflictError("cannot_abort", f"The rollout is {_words(state)} already.")
            if state != "rolling_back":
                self.set_state(rollout_id, "rolling_back", f"aborted by {actor or 'a person'}", actor=actor)
        return self.get(rollout_id)

    # --- reading ------------------------------------------------------------------------------------------

    def get(self, rollout_id: str) -> Rollout:
        """With its devices. Raises NotFoundError."""
        with self._database.snapshot():
            rollout = self._read(self._row(rollout_id))
            rollout.devices = self._devices(rollout_id)
            return rollout

    def summary(self, rollout_id: str) -> Rollout:
        """Without its devices. Raises NotFoundError."""
        with self._database.snapshot():
            return self._read(self._row(rollout_id))

    def state(self, rollout_id: str) -> RolloutState:
        state: RolloutState = self._row(rollout_id)["state"]
        return state

    def active(self) -> list[str]:
        """Ids of the rollouts that are not over, oldest first."""
        rows = self._database.rows(
            "SELECT id FROM rollouts WHERE state NOT IN ('done', 'aborted') ORDER BY created_at, id"
        )
        return [row["id"] for row in rows]

    # --- what the engine does -----------------------------------------------------------------------------

    def set_state(
        self,
        rollout_id: str,
        state: RolloutState,
        reason: str,
        *,
        resume: RolloutState | None = None,
        actor: str | None = None,
    ) -> None:
        with self._database.transaction() as connection:
            now = self._database.now_ms()
            connection.execute(
                "UPDATE rollouts SET state = ?, reason = ?, resume_state = ?, stage_since = ?,"
                " finished_at = CASE WHEN ? IN ('done', 'aborted') THEN ? END WHERE id = ?",
                (state, reason, resume, now, state, now, rollout_id),
            )
            self._events.append(
                "rollout", rollout_id, "state", actor=actor, data={"state": state, "reason": reason}
            )

    def set_device_state(self, rollout_id: str, device: str, state: DeviceState, reason: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE rollout_devices SET state = ?, reason = ?, updated_at = ?"
                " WHERE rollout = ? AND device = ?",
                (state, reason, self._database.now_ms(), rollout_id, device),
            )

    def set_issued(
        self, rollout_id: str, device: str, counter: int, previous: tuple[str | None, str | None, str | None]
    ) -> None:
        """The device was told. ``previous`` (rollout, release, digest) is kept from the first time only."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE rollout_devices SET state = 'wanted', reason = '', updated_at = ?,"
                " previous_rollout = CASE WHEN want_counter IS NULL THEN ? ELSE previous_rollout END,"
                " previous_release = CASE WHEN want_counter IS NULL THEN ? ELSE previous_release END,"
                " previous_digest = CASE WHEN want_counter IS NULL THEN ? ELSE previous_digest END,"
                " want_counter = ? WHERE rollout = ? AND device = ?",
                (self._database.now_ms(), *previous, counter, rollout_id, device),
            )

    def set_want_counter(self, rollout_id: str, device: str, counter: int) -> None:
        """Reports about earlier wants count no more."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE rollout_devices SET want_counter = ? WHERE rollout = ? AND device = ?",
                (counter, rollout_id, device),
            )

    def previous(self, rollout_id: str, device: str) -> tuple[str | None, str | None, str | None]:
        """(rollout, release, digest) that the device was to run before this rollout; Nones: nothing."""
        row = self._database.row(
            "SELECT previous_rollout, previous_release, previous_digest FROM rollout_devices"
            " WHERE rollout = ? AND device = ?",
            (rollout_id, device),
        )
        return (None, None, None) if row is None else (row[0], row[1], row[2])

    def digest(self, rollout_id: str, device: str) -> str:
        row = self._database.row(
            "SELECT digest FROM rollout_devices WHERE rollout = ? AND device = ?", (rollout_id, device)
        )
        if row is None:
            raise NotFoundError("not_in_rollout", f"Device {device} is not in rollout {rollout_id}.")
        return str(row["digest"])

    def promote(self, rollout_id: str, device: str) -> None:
        """Make a device of the ramp a canary: the ones chosen first fell away."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE rollout_devices SET stage = 'canary', updated_at = ?"
                " WHERE rollout = ? AND device = ?",
                (self._database.now_ms(), rollout_id, device),
            )

    def put_statement(self, rollout_id: str, digest: str, statement: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO rollout_statements (rollout, digest, statement) VALUES (?, ?, ?)",
                (rollout_id, digest, statement),
            )

    def statement(self, rollout_id: str | None, release_id: str, digest: str) -> str:
        """The rollout's own statement where its policy has limits, else the release's."""
        row = self._database.row(
            "SELECT statement FROM rollout_statements WHERE rollout = ? AND digest = ?", (rollout_id, digest)
        )
        return str(row["statement"]) if row is not None else self._releases.statement(release_id, digest)

    def active_with(self, digest: str) -> Sequence[str]:
        """Ids of the rollouts, not over, that bring this artifact to a device."""
        rows = self._database.rows(
            "SELECT DISTINCT r.id FROM rollouts r JOIN rollout_devices d ON d.rollout = r.id"
            " WHERE d.digest = ? AND r.state NOT IN ('done', 'aborted')",
            (digest,),
        )
        return [row["id"] for row in rows]

    def device_rows(self, rollout_id: str) -> Sequence[sqlite3.Row]:
        """The devices of a rollout with what is known of each now: the engine's view.

        ``owner``: the rollout that its want comes from. ``later``: a younger rollout, not over, has it too.
        ``old_key``: it enrolled anew since, so what it says about that want is that it cannot open it.
        """
        return self._database.rows(
            "WITH later AS (SELECT o.device FROM rollouts mine JOIN rollouts young"
            " ON (young.created_at, young.rowid) > (mine.created_at, mine.rowid)"
            " AND young.state NOT IN ('done', 'aborted') JOIN rollout_devices o ON o.rollout = young.id"
            " WHERE mine.id = :id)"
            " SELECT r.device, r.digest, r.stage, r.state, r.reason, r.want_counter, d.profile, d.public_key,"
            " d.revoked_at, d.state AS report, w.rollout AS owner, r.device IN later AS later,"
            " coalesce(w.public_key <> d.public_key, 0) AS old_key"
            " FROM rollout_devices r JOIN devices d ON d.name = r.device"
            " LEFT JOIN wants w ON w.device = r.device WHERE r.rollout = :id"
            " ORDER BY d.online DESC, r.device",
            {"id": rollout_id},
        )

    def digests_in_use(self) -> set[str]:
        """Artifacts that a rollout which is not over needs on the broker."""
        rows = self._database.rows(
            "SELECT DISTINCT d.digest FROM rollout_devices d JOIN rollouts r ON r.id = d.rollout"
            " WHERE r.state NOT IN ('draft', 'done', 'aborted')"
            " AND d.state IN ('waiting', 'wanted', 'fetching')"
        )
        return {row["digest"] for row in rows}

    # --- inside -------------------------------------------------------------------------------------------

    def _row(self, rollout_id: str) -> sqlite3.Row:
        row = self._database.row("SELECT * FROM rollouts WHERE id = ?", (rollout_id,))
        if row is None:
            raise NotFoundError(
                "no_such_rollout", f"There is no rollout {rollout_id!r}; `edgepress rollout list` shows them."
            )
        return row

    def _read(self, row: sqlite3.Row) -> Rollout:
        counts = dict.fromkeys(map(str, DEVICE_STATES), 0)
        for count in self._database.rows(
            "SELECT state, count(*) AS n FROM rollout_devices WHERE rollout = ? GROUP BY state", (row["id"],)
        ):
            counts[count["state"]] = count["n"]
        return Rollout(
            id=row["id"],
            release=self._releases.get(row["release"]),
            state=row["state"],
            reason=row["reason"],
            policy=msgspec.json.decode(row["policy"], type=Policy),
            created_at=row["created_at"],
            stage_since=row["stage_since"],
            finished_at=row["finished_at"],
            actor=row["actor"],
            counts=counts,
            devices=[],
            resume_state=row["resume_state"],
        )

    def _devices(self, rollout_id: str) -> list[RolloutDevice]:
        rows = self._database.rows(
            "SELECT r.*, d.profile AS device_profile, d.state AS report FROM rollout_devices r"
            " JOIN devices d ON d.name = r.device WHERE r.rollout = ? ORDER BY r.stage, r.device",
            (rollout_id,),
        )
        return [_device(row) for row in rows]

    def _named(self, name: str, release: Release) -> sqlite3.Row:
        row = self._database.row("SELECT * FROM devices WHERE name = ?", (name,))
        if row is None:
            raise NotFoundError(
                "no_such_device", f"There is no device {name!r}; `edgepress device list` shows them."
            )
        if row["revoked_at"] is not None:
            raise ConflictError("device_revoked", f"Device {name} is revoked; it takes no orders any more.")
        if row["enrolled_at"] is None:
            raise ConflictError(
                "device_not_enrolled",
                f"Device {name} is registered but has not enrolled yet. Run `edgepress-agent enroll CODE` "
                "there.",
            )
        if row["profile"] not in release.artifacts:
            raise ConflictError(
                "no_artifact_for_profile",
                f"Device {name} has profile {row['profile']}; the release has artifacts for "
                f"{', '.join(release.artifacts)}. Compress for that profile and make a new release.",
            )
        if _committed_counter(row) > release.counter:
            raise ConflictError(
                "older_release",
                f"Device {name} runs a newer release and refuses to go back. Make a new release with the "
                "same artifacts and roll that out.",
            )
        return row

    def _matching(
        self, release: Release, profiles: Sequence[str] | None, labels: Mapping[str, str]
    ) -> list[sqlite3.Row]:
        rows = self._database.rows(
            "SELECT * FROM devices WHERE enrolled_at IS NOT NULL AND revoked_at IS NULL ORDER BY name"
        )
        return [
            row
            for row in rows
            if row["profile"] in release.artifacts
            and (not profiles or row["profile"] in profiles)
            and labels.items() <= json.loads(row["labels"]).items()
            and _committed_counter(row) <= release.counter
        ]

    def list(self, limit: int = 200) -> list[Rollout]:
        """The newest first; without their devices, which `counts` sums up."""
        with self._database.snapshot():
            rows = self._database.rows(
                "SELECT * FROM rollouts ORDER BY created_at DESC, id LIMIT ?", (limit,)
            )
            return [self._read(row) for row in rows]


def _device(row: sqlite3.Row) -> RolloutDevice:
    report = read_report(row["report"])
    fetching = report is not None and report.staged == row["digest"]
    return RolloutDevice(
        device=row["device"],
        profile=row["device_profile"],
        digest=row["digest"],
        stage=row["stage"],
        state=row["state"],
        reason=row["reason"],
        updated_at=row["updated_at"],
        want_counter=row["want_counter"],
        chunks_have=report.chunks_have if report is not None and fetching else None,
        chunks_total=report.chunks_total if report is not None and fetching else None,
    )


def read_report(text: str | None) -> State | None:
    """The last full up/state message as it is kept in ``devices.state``."""
    if text is None:
        return None
    try:
        return from_json(State, text.encode("utf-8"))
    except ProtocolError:  # written by an older version of the protocol: as if it had not reported
        return None


def _committed_counter(row: sqlite3.Row) -> int:
    report = read_report(row["state"])
    return (report.running_release or 0) if report is not None else 0


def _policy(policy: Policy | Mapping[str, Any] | None) -> Policy:
    if isinstance(policy, Policy):
        return policy
    try:
        return msgspec.convert(dict(policy or {}), Policy)
    except msgspec.ValidationError as error:
        raise InvalidInputError("bad_policy", f"The rollout policy is not usable: {error}.") from error


def _words(state: str) -> str:
    return state.replace("_", " ")
