"""Takes a rollout back on devices that committed: what they ran before, under the next release counter.

A device refuses to go below the release it ran, so going back is a release of its own, and devices get there
by a rollout of their own, which shows how far that is. Devices of one profile may have come from different
artifacts, and a release has one for each profile: then there are several.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Sequence

from edgepress_server.errors import ServerError
from edgepress_server.rollout.facts import RolloutFacts
from edgepress_server.rollout.orders import Orders, Target
from edgepress_server.store import Store
from edgepress_server.trust.keys import Keys

log = logging.getLogger(__name__)

# All at once, and whoever fails does not keep the others from going back. Nobody waits for deltas: what ran
# before mostly still lies on the device.
POLICY = {"canary_per_profile": 0, "max_failed": 1_000_000, "delta": "never"}


class TakesBack:
    def __init__(self, store: Store, keys: Keys, orders: Orders) -> None:
        self._store = store
        self._keys = keys
        self._orders = orders

    def take_back(self, rollout: RolloutFacts) -> None:
        """Within the running transaction: every device that committed is on its way back, or says why not."""
        rows = self._store.rollout_reads.to_take_back(rollout.id)
        for row in rows:
            if row["previous_digest"] is None:
                self._stop(rollout.id, row["device"])
            elif row["previous_model"] is None or row["profile"] != row["previous_profile"]:
                self._skip(rollout.id, row["device"], "what it ran before is not there any more")
        back = [row for row in rows if row["previous_model"] and row["profile"] == row["previous_profile"]]
        for model in sorted({row["previous_model"] for row in back}):
            self._of_model(rollout, model, [row for row in back if row["previous_model"] == model])

    def _of_model(self, rollout: RolloutFacts, model: str, rows: Sequence[sqlite3.Row]) -> None:
        """As many releases as the profile with the most artifacts needs; the commonest come first."""
        by_profile: dict[str, list[str]] = {}
        for profile in sorted({row["profile"] for row in rows}):
            counted = Counter(row["previous_digest"] for row in rows if row["profile"] == profile)
            by_profile[profile] = [digest for digest, _ in counted.most_common()]
        for n in range(max(len(digests) for digests in by_profile.values())):
            digests = [mine[n] for mine in by_profile.values() if len(mine) > n]
            devices = [row["device"] for row in rows if row["previous_digest"] in digests]
            try:
                release = self._store.releases.create_rollback(
                    self._keys,
                    model=model,
                    digests=digests,
                    note=f"takes rollout {rollout.id} back",
                    of=rollout.release_id,
                )
                undo = self._store.rollouts.create(
                    release.id, devices=devices, policy=POLICY, rollback_of=rollout.id
                )
            except ServerError as error:
                if error.status >= 500:
                    raise
                for device in devices:
                    self._skip(rollout.id, device, f"it cannot go back: {error.message}")
                continue
            for device in devices:
                self._skip(rollout.id, device, f"goes back with rollout {undo.id}")
            waits = " It waits for the release key." if release.state == "awaiting_signature" else ""
            self._store.rollout_moves.decisions.add(
                rollout.id,
                "rolling_back",
                f"{len(devices)} of those that committed get back what they ran before: release "
                f"{release.counter}, rollout {undo.id}.{waits}",
            )

    def _stop(self, rollout_id: str, device: str) -> None:
        """It ran nothing before."""
        try:
            self._orders.issue(device, Target(None, None, None))
        except ServerError as error:
            if error.status >= 500:
                raise
            log.error("rollout %s: %s keeps what it runs: %s", rollout_id, device, error)
            self._skip(rollout_id, device, f"it cannot go back: {error.message}")
        else:
            self._skip(rollout_id, device, "went back to nothing, as before")

    def _skip(self, rollout_id: str, device: str, reason: str) -> None:
        self._store.rollout_moves.set_device_state(rollout_id, device, "skipped", reason)
