"""A release of what a search found is held to that search's budget, unless somebody has set another one."""

from __future__ import annotations

import msgspec

from edgepress_compression.search.budget import Budget
from edgepress_server.store import Store
from edgepress_server.store.budgets import FleetBudget
from edgepress_server.store.releases import Release


def adopt_budgets(store: Store, release: Release, *, actor: str | None) -> list[FleetBudget]:
    """Those that were set. Only what the fleet can show is watched: latency, memory, energy."""
    made: list[FleetBudget] = []
    for profile, digest in release.artifacts.items():
        search_id = store.budgets.search_of(digest, profile)
        if search_id is None or store.budgets.find(release.model, profile) is not None:
            continue
        budget = msgspec.convert(store.searches.get(search_id).budget, Budget)
        if budget.latency_us is None and budget.memory_bytes is None and budget.energy_mj is None:
            continue
        made.append(store.budgets.put(release.model, profile, budget, source=search_id, actor=actor))
    return made
