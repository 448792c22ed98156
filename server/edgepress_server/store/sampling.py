"""Whose inputs may be sampled: the privacy policy of the fleet, of groups and of single devices.

Nobody's, unless somebody said so. The most specific word counts: a device's own, else the strictest of the
groups that it is in, else the fleet's; so 0 for one device keeps its inputs there whatever the fleet's says.
The policy goes to devices in their signed want; a device's owner may forbid sampling there for good.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from edgepress_devices.protocol import Sampling
from edgepress_server.errors import NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events
from edgepress_server.store.groups import Groups
from edgepress_server.store.rollout_targets import Targets, subject
from edgepress_server.store.wants import Wants

FLEET: Final = "fleet"
GROUP: Final = "group/"
DEVICE: Final = "device/"
NOTHING: Final = Sampling()


class SamplingPolicy(msgspec.Struct, frozen=True):
    subject: str  # "fleet", "group/NAME", "device/NAME"
    per_hour: Annotated[int, msgspec.Meta(ge=0, le=3600)]  # 0: none
    low_confidence_percent: Annotated[int, msgspec.Meta(ge=0, le=100)]  # only answers less sure; 0: any
    updated_at: int  # Unix ms
    actor: str | None = None

    @property
    def sampling(self) -> Sampling:
        return Sampling(per_hour=self.per_hour, low_confidence_percent=self.low_confidence_percent)


class SamplingPolicies:
    def __init__(
        self, database: Database, events: Events, groups: Groups, targets: Targets, wants: Wants
    ) -> None:
        self._database = database
        self._events = events
        self._groups = groups
        self._targets = targets
        self._wants = wants

    def list(self) -> list[SamplingPolicy]:
        """What was set, the fleet's first."""
        rows = self._database.rows(
            "SELECT * FROM sampling_policies ORDER BY subject <> 'fleet', subject DESC"
        )
        return [SamplingPolicy(**dict(row)) for row in rows]

    def set(self, whose: str, sampling: Sampling, *, actor: str | None) -> SamplingPolicy:
        """``whose``: a subject. Devices are told with orders that are signed anew. Raises NotFoundError."""
        self._check(whose)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO sampling_policies"
                " (subject, per_hour, low_confidence_percent, updated_at, actor) VALUES (?, ?, ?, ?, ?)",
                (whose, sampling.per_hour, sampling.low_confidence_percent, self._database.now_ms(), actor),
            )
            self._told(whose, "sampling_set", actor)
            found = next(policy for policy in self.list() if policy.subject == whose)
        return found

    def clear(self, whose: str, *, actor: str | None) -> None:
        """What is less specific counts again. Raises NotFoundError."""
        with self._database.transaction() as connection:
            gone = connection.execute("DELETE FROM sampling_policies WHERE subject = ?", (whose,)).rowcount
            if not gone:
                raise NotFoundError(
                    "no_sampling_policy",
                    f"Nothing was set for {whose[:100]}; `edgepress sampling list` shows what was.",
                )
            self._told(whose, "sampling_cleared", actor)

    def of(self, device: str) -> Sampling:
        """What counts for a device now."""
        known = {policy.subject: policy.sampling for policy in self.list()}
        if not known:
            return NOTHING
        own = known.get(DEVICE + device)
        if own is not None:
            return own
        names = [name.removeprefix(GROUP) for name in known if name.startswith(GROUP)]
        rows = self._targets.rows([device]) if names else []
        if rows:
            in_group, who = self._groups.membership(), subject(rows[0])
            groups = [known[GROUP + name] for name in names if in_group(name, who)]
            if groups:
                return _strictest(groups)
        return known.get(FLEET, NOTHING)

    def _check(self, whose: str) -> None:
        if whose.startswith(GROUP):
            self._groups.check([whose.removeprefix(GROUP)])
        elif whose != FLEET and not self._targets.rows([name := whose.removeprefix(DEVICE)]):
            raise NotFoundError(
                "device_unknown", f"There is no device {name[:80]!r}; `edgepress device list` shows them."
            )

    def _told(self, whose: str, action: str, actor: str | None) -> None:
        device = whose.removeprefix(DEVICE) if whose.startswith(DEVICE) else None
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE wants SET outdated = 1 WHERE ? IS NULL OR device = ?", (device, device)
            )
        if device is None:
            self._events.append("server", whose, action, actor=actor)
        else:
            self._events.append("device", device, action, actor=actor)


def _strictest(policies: list[Sampling]) -> Sampling:
    """The fewest inputs; of confidences the lowest limit, where 0 stands for none."""
    limits = [each.low_confidence_percent for each in policies if each.low_confidence_percent]
    return Sampling(
        per_hour=min(each.per_hour for each in policies), low_confidence_percent=min(limits, default=0)
    )
