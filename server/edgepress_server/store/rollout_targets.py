"""Whom a rollout reaches, and whom not and why: for `create`, for a plan, and for devices that come later."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence

import msgspec

from edgepress_server.errors import ConflictError, NotFoundError
from edgepress_server.rollout.query import InGroup, Query, Subject, parse
from edgepress_server.store.database import Database
from edgepress_server.store.groups import Groups
from edgepress_server.store.releases import Release
from edgepress_server.store.rollout_policy import Target

_SELECT = (
    "SELECT d.name, d.profile, d.labels, d.online, d.enrolled_at, d.revoked_at, d.seen_at, d.agent_version,"
    " d.hardware, d.public_key, json_extract(d.state, '$.running') AS running,"
    " json_extract(d.state, '$.running_release') AS running_release, a.model AS running_model"
    " FROM devices d LEFT JOIN artifacts a ON a.digest = json_extract(d.state, '$.running')"
)


class LeftOut(msgspec.Struct, frozen=True):
    device: str
    profile: str
    code: str
    reason: str  # what to do about it


class Targets:
    def __init__(self, database: Database, groups: Groups) -> None:
        self._database = database
        self._groups = groups

    def named(self, names: Sequence[str], release: Release) -> list[sqlite3.Row]:
        """Raises NotFoundError, ConflictError (revoked, not enrolled, runs a newer release, no artifact)."""
        rows = []
        for name in dict.fromkeys(names):
            row = self._database.row(f"{_SELECT} WHERE d.name = ?", (name,))
            if row is None:
                raise NotFoundError(
                    "no_such_device", f"There is no device {name!r}; `edgepress device list` shows them."
                )
            out = unfit(row, release)
            if out is not None:
                raise ConflictError(out.code, out.reason)
            rows.append(row)
        return rows

    def matching(self, target: Target, release: Release) -> tuple[list[sqlite3.Row], list[LeftOut]]:
        """Rows of the devices that the rollout reaches, by name, and those meant that it cannot reach.

        Raises InvalidInputError (query), NotFoundError (group).
        """
        matcher = self.matcher(target)
        rows, left_out = [], []
        for row in self._database.rows(f"{_SELECT} ORDER BY d.name"):
            if not matcher(subject(row)):
                continue
            out = unfit(row, release)
            if out is None:
                rows.append(row)
            else:
                left_out.append(out)
        return rows, left_out

    def matcher(self, target: Target) -> Matcher:
        """Raises InvalidInputError (query), NotFoundError (group)."""
        self._groups.check(target.groups)
        query = parse(target.query) if target.query.strip() else None
        if query is not None:
            self._groups.check(query.groups)
        return Matcher(target, query, self._groups.membership())

    def rows(self, names: Collection[str] | None) -> list[sqlite3.Row]:
        """Of these devices, or of all."""
        if names is None:
            return self._database.rows(_SELECT)
        return self._database.rows(
            f"{_SELECT} WHERE d.name IN (SELECT value FROM json_each(?))",  # noqa: S608 - constant above
            (json.dumps(list(names)),),
        )

    def find(self, query: str) -> list[str]:
        """Names of the devices that fit a query, revoked ones, too. Raises as `matcher` does."""
        matcher = self.matcher(Target(query=query))
        return sorted(row["name"] for row in self.rows(None) if matcher(subject(row)))


class Matcher:
    """Whether a device is meant. Made for one moment: groups are those of then."""

    def __init__(self, target: Target, query: Query | None, in_group: InGroup) -> None:
        self._target = target
        self._query = query
        self._in_group = in_group

    def __call__(self, device: Subject) -> bool:
        target = self._target
        return (
            (not target.profiles or device.profile in target.profiles)
            and target.labels.items() <= device.labels.items()
            and (not target.groups or any(self._in_group(name, device) for name in target.groups))
            and (self._query is None or self._query.matches(device, self._in_group))
        )


def subject(row: sqlite3.Row) -> Subject:
    """A device as a query sees it."""
    hardware = json.loads(row["hardware"]) if row["hardware"] else {}
    status = "online" if row["online"] else "offline"
    if row["enrolled_at"] is None:
        status = "registered"
    if row["revoked_at"] is not None:
        status = "revoked"
    return Subject(
        name=row["name"],
        profile=row["profile"],
        status=status,
        running=row["running"],
        model=row["running_model"],
        release=row["running_release"],
        agent=row["agent_version"],
        board=hardware.get("board"),
        system=hardware.get("system"),
        machine=hardware.get("machine"),
        labels=json.loads(row["labels"]),
    )


def unfit(row: sqlite3.Row, release: Release) -> LeftOut | None:
    """Why a device cannot take part; None: it can."""
    name, profile = row["name"], row["profile"]
    if row["revoked_at"] is not None:
        return LeftOut(
            name, profile, "device_revoked", f"Device {name} is revoked; it takes no orders any more."
        )
    if row["enrolled_at"] is None:
        return LeftOut(
            name,
            profile,
            "device_not_enrolled",
            f"Device {name} is registered but has not enrolled yet. Run `edgepress-agent enroll CODE` there.",
        )
    if profile not in release.artifacts:
        return LeftOut(
            name,
            profile,
            "no_artifact_for_profile",
            f"Device {name} has profile {profile}; the release has artifacts for "
            f"{', '.join(release.artifacts)}. Compress for that profile and make a new release.",
        )
    if (row["running_release"] or 0) > release.counter:
        return LeftOut(
            name,
            profile,
            "older_release",
            f"Device {name} runs a newer release and refuses to go back. Make a new release with the "
            "same artifacts and roll that out.",
        )
    return None
