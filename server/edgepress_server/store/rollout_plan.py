"""A dry run: what a rollout would do, to whom and when, and what is missing for it. Read only."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from edgepress_server.rollout.waves import assign
from edgepress_server.store.database import Database
from edgepress_server.store.deltas import Deltas
from edgepress_server.store.releases import Release, Releases
from edgepress_server.store.rollout_policy import Policy, check_times, read_policy
from edgepress_server.store.rollout_rows import Stage
from edgepress_server.store.rollout_targets import LeftOut, Targets
from edgepress_server.store.rollouts import candidates, read_target

SHOWN_MAX: Final = 1000  # devices, of each kind; the counts are of all
SEED: Final = "plan"  # the rollout draws anew: so large are the waves, not exactly these devices


class PlannedDevice(msgspec.Struct, frozen=True):
    device: str
    profile: str
    digest: str
    stage: Stage
    wave: int  # 0: canary
    online: bool
    delta: bool  # a delta from what it runs is ready


class PlannedProfile(msgspec.Struct, frozen=True):
    profile: str
    digest: str
    bytes: int  # of the artifact
    devices: int
    online: int
    waves: list[int]  # devices of each stage; the first number: canaries
    deltas: int  # devices for which a delta is ready
    delta_bytes: int  # of those deltas together, each as often as devices fetch it


class Plan(msgspec.Struct, frozen=True):
    release: str
    devices_total: int
    profiles: list[PlannedProfile]
    devices: list[PlannedDevice]
    left_out: list[LeftOut]
    left_out_total: dict[str, int]  # reason's code -> devices
    server_bytes: int  # what the server sends once: artifacts, and deltas
    device_bytes: int  # what all devices fetch together
    device_bytes_full: int  # the same without deltas
    missing: list[str]


class Plans:
    def __init__(self, database: Database, releases: Releases, targets: Targets, deltas: Deltas) -> None:
        self._database = database
        self._releases = releases
        self._targets = targets
        self._deltas = deltas

    def of(
        self,
        release: str,
        *,
        devices: Sequence[str] | None = None,
        profiles: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        groups: Sequence[str] | None = None,
        query: str | None = None,
        policy: Policy | Mapping[str, Any] | None = None,
    ) -> Plan:
        """As `Rollouts.create` would take it. Raises as that does, but nobody at all is an answer."""
        rules = read_policy(policy)
        target = read_target(devices, profiles, labels, groups, query)
        check_times(rules, self._database.now_ms())
        with self._database.snapshot():
            what = self._releases.get(release)
            left_out: list[LeftOut] = []
            if target is None:
                rows = self._targets.named(devices or (), what)
            else:
                rows, left_out = self._targets.matching(target, what)
            return self._plan(what, rules, rows, left_out)

    def _plan(
        self, release: Release, policy: Policy, rows: Sequence[sqlite3.Row], left_out: list[LeftOut]
    ) -> Plan:
        by_name = {row["name"]: row for row in rows}
        sizes = {digest: self._releases.artifact_bytes(digest) for digest in release.artifacts.values()}
        offers = self._offers(release, policy, rows)
        planned = []
        for place in assign(candidates(rows), policy, SEED):
            row, digest = by_name[place.device], release.artifacts[place.profile]
            planned.append(
                PlannedDevice(
                    place.device,
                    place.profile,
                    digest,
                    "canary" if place.wave == 0 else "ramp",
                    place.wave,
                    bool(row["online"]),
                    (digest, row["running"]) in offers,
                )
            )
        profiles = []
        for profile, digest in release.artifacts.items():
            mine = [each for each in planned if each.profile == profile]
            if not mine:
                continue
            waves = [sum(each.wave == n for each in mine) for n in range(len(policy.waves) + 1)]
            fetched = [offers[digest, by_name[each.device]["running"]] for each in mine if each.delta]
            profiles.append(
                PlannedProfile(
                    profile=profile,
                    digest=digest,
                    bytes=sizes[digest],
                    devices=len(mine),
                    online=sum(each.online for each in mine),
                    waves=waves,
                    deltas=len(fetched),
                    delta_bytes=sum(fetched),
                )
            )
        full = sum(each.bytes * each.devices for each in profiles)
        used = {(d.digest, by_name[d.device]["running"]) for d in planned if d.delta}
        whole = {d.digest for d in planned if not d.delta}
        return Plan(
            release=release.id,
            devices_total=len(planned),
            profiles=profiles,
            devices=sorted(planned, key=lambda each: (each.wave, each.device))[:SHOWN_MAX],
            left_out=left_out[:SHOWN_MAX],
            left_out_total=dict(Counter(each.code for each in left_out)),
            server_bytes=sum(sizes[digest] for digest in whole) + sum(offers[each] for each in used),
            device_bytes=full
            - sum(each.deltas * each.bytes for each in profiles)
            + sum(each.delta_bytes for each in profiles),
            device_bytes_full=full,
            missing=self._missing(release, policy, planned, profiles),
        )

    def _offers(
        self, release: Release, policy: Policy, rows: Sequence[sqlite3.Row]
    ) -> dict[tuple[str, str | None], int]:
        """(artifact, what a device runs) -> bytes of the delta that is ready."""
        if policy.delta == "never":
            return {}
        found = {}
        for profile, base in {(row["profile"], row["running"]) for row in rows if row["running"]}:
            offer = self._deltas.offer(release.id, release.artifacts[profile], base)
            if offer is not None:
                found[release.artifacts[profile], base] = offer.bytes
        return found

    def _missing(
        self,
        release: Release,
        policy: Policy,
        planned: Sequence[PlannedDevice],
        profiles: Sequence[PlannedProfile],
    ) -> list[str]:
        said = []
        if release.state == "awaiting_signature":
            said.append(f"Release {release.id} waits for the release key; until then it is a draft.")
        if release.state == "withdrawn":
            said.append(f"Release {release.id} was withdrawn: it cannot be rolled out.")
        if not planned:
            said.append("No enrolled device fits this rollout.")
        for profile in profiles:
            if profile.online == 0:
                said.append(f"No device of {profile.profile} is online: its canaries are waited for.")
        running = {each.profile for each in planned if not each.delta}
        if policy.delta == "only" and running:
            said.append(f"There is no delta yet for devices of {', '.join(sorted(running))}.")
        if policy.gates.energy_ratio is not None and not self._tells_energy([p.profile for p in profiles]):
            said.append("No device tells its energy: `gates.energy_ratio` would stay undecided.")
        return said

    def _tells_energy(self, profiles: Sequence[str]) -> bool:
        row = self._database.row(
            "SELECT 1 FROM latest l JOIN devices d ON d.name = l.device WHERE d.profile IN"
            # a Sample is an array; 13 is its energy_mj
            " (SELECT value FROM json_each(?)) AND json_extract(l.sample, '$[13]') IS NOT NULL LIMIT 1",
            (msgspec.json.encode(list(profiles)).decode(),),
        )
        return row is not None
