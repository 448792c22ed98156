"""What a search has to be asked for, so that the devices, as they are now, keep the budget.

A budget limits what devices show: the p95 of inferences under load, the memory of the whole agent, the energy
of the board. A search predicts something nearer to the model: a p50, a bare process, the inference's own
energy. What lies between is measured on the artifact that runs: its figures in the fleet over its prediction
(the calibrated one, where the devices were calibrated just now). The search's limit is the budget's divided
by that, less MARGIN. A device that is slowed down for a reason which the calibration explains so asks for
less work by its prediction; one that it does not explain, by this factor.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from edgepress_compression.search.budget import Budget
from edgepress_devices.prediction import Prediction, predict
from edgepress_devices.profile import DeviceProfile
from edgepress_server.predict import ExecutedModels
from edgepress_server.predict.layout import layout_of
from edgepress_server.store import Store
from edgepress_server.store.budgets import FleetBudget
from edgepress_server.watch import words
from edgepress_server.watch.decide import Kind, Verdict

_NAMES: Final[dict[Kind, str]] = {"latency": "p95_us", "memory": "rss_bytes", "energy": "energy_mj"}
MARGIN: Final = 0.9  # what a search finds lies just inside its limit, and a p95 has its own error


def figures(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """p95_us, rss_bytes, energy_mj of the artifact on the profile, as far as its devices were judged."""
    of = {v.kind: v.measured for v in verdicts if v.scope == "profile"}
    return {name: of[kind] for kind, name in _NAMES.items() if kind in of}


def ask(
    budget: FleetBudget,
    measured: Mapping[str, float],
    prediction: Prediction | None,
    timed_us: float | None = None,
) -> tuple[Budget, list[str]]:
    """The limits for a search, and in words why they differ from the budget's (`timed_us`: `timed_here`)."""
    said: list[str] = []
    limits = budget.search_budget
    if prediction is None:
        return limits, said
    basis = "calibration" if prediction.basis == "calibration" else "datasheet"
    if timed_us is not None and prediction.basis == "datasheet":
        prediction = msgspec.structs.replace(prediction, latency_us=timed_us)
        basis = "timed on the server"
    latency_us, memory_bytes, energy_mj = limits.latency_us, limits.memory_bytes, limits.energy_mj
    p95_us, rss_bytes, used_mj = (measured.get(name) for name in _NAMES.values())
    if latency_us is not None and p95_us:
        asked_us = MARGIN * latency_us * prediction.latency_us / p95_us
        said.append(words.scaled("latency", latency_us, asked_us, p95_us, prediction.latency_us, basis))
        latency_us = asked_us
    if memory_bytes is not None and rss_bytes:
        # What a process holds beside the model does not shrink with it: a difference, not a factor.
        asked = memory_bytes - (rss_bytes - prediction.memory_bytes)
        if asked > 0:
            said.append(
                words.scaled("memory", memory_bytes, asked, rss_bytes, prediction.memory_bytes, basis)
            )
            memory_bytes = int(asked)
    if energy_mj is not None and used_mj and prediction.energy_mj:
        asked_mj = MARGIN * energy_mj * prediction.energy_mj / used_mj
        said.append(words.scaled("energy", energy_mj, asked_mj, used_mj, prediction.energy_mj, basis))
        energy_mj = asked_mj
    scaled = Budget(
        latency_us=latency_us,
        artifact_bytes=limits.artifact_bytes,
        memory_bytes=memory_bytes,
        energy_mj=energy_mj,
        max_drop=limits.max_drop,
    )
    return scaled, said


def timed_here(store: Store, digest: str, profile: DeviceProfile) -> float | None:
    """p50 of the artifact on the server, in us, where a search without a calibration counts in that.

    It times its trials itself where the profile describes the server's kind of machine (search/evaluate.py):
    then a figure of the datasheet is no measure of what it finds.
    """
    if profile.cpu.machine != platform.machine() or profile.gpu is not None:
        return None
    artifact = store.artifacts.find(digest)
    latency = {} if artifact is None else artifact.report.get("latency_us") or {}
    p50_us = (latency.get("after") or {}).get("p50")
    return float(p50_us) if isinstance(p50_us, int | float) and p50_us > 0 else None


def prediction_of(
    store: Store, executed: ExecutedModels, digest: str, profile: DeviceProfile, *, wait_s: float
) -> Prediction | None:
    """Of an artifact with the profile's active calibration; None: its operators are still being worked out.

    Raises NotPredictableError, RateLimitedError.
    """
    path = store.blobs.path(digest)
    found = executed.get("artifact", digest, path, layout_of(profile), wait_s=wait_s)
    if found is None:
        return None
    return predict(
        found.operators,
        store.calibrations.attach(profile),
        weight_bytes=found.weight_bytes,
        peak_activation_bytes=found.peak_activation_bytes,
    )
