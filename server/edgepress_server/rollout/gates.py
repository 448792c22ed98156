"""Gates: what has to hold on the devices that committed, judged with confidence bounds. Pure.

Every gate of every profile gives one verdict:

* missed: with the policy's confidence it does not hold. That stops the rollout at once, whatever the stage.
* kept: it holds with that confidence (failures: as far as anybody saw). A stage passes only when all are.
* undecided: too few devices or inferences, or the bound lies on the other side than the figure. It waits.

Methods, with their sources, are in `statistics`. What is compared with a baseline uses both sides' bounds at
(1 + c) / 2, so that both hold together with confidence c (Bonferroni). The baseline is the worse of two: what
the same devices ran before, and devices of the profile that have not been told, at the same time. So being
slower than both is needed to miss it, and neither a hot afternoon nor one slow board stops a rollout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final, Literal

from edgepress_devices.histogram import total
from edgepress_server.rollout.figures import Arm, ProfileFigures
from edgepress_server.rollout.statistics import (
    clopper_pearson,
    mean_bounds,
    quantile_bounds,
    welch_bounds,
    wilson,
)
from edgepress_server.store.rollout_policy import Gates

Judgement = Literal["kept", "missed", "undecided"]
MIN_DEVICES_AS_UNITS: Final = 3  # with fewer, their minutes are the sample, which is said
MIN_MINUTES: Final = 3


@dataclass(frozen=True)
class Verdict:
    gate: str
    profile: str
    state: Judgement
    words: str


def judge(gates: Gates, profile: ProfileFigures, *, complete: bool) -> list[Verdict]:
    """A verdict for each gate that is asked for; none where nobody of the profile has settled.

    ``complete``: nobody of the stage is under way, so that more failures or commits cannot come.
    """
    if profile.committed + profile.failed == 0:
        return []
    found: list[Verdict] = []
    if gates.max_failure_ratio is not None:
        found.append(_failures(gates, gates.max_failure_ratio, profile, complete))
    if profile.committed == 0:
        return found  # there is nobody to measure; the failures speak
    if gates.p95_us is not None:
        found.append(_p95(gates, gates.p95_us, profile))
    if gates.p95_ratio is not None:
        found.append(_p95_ratio(gates, gates.p95_ratio, profile))
    if gates.rss_bytes is not None:
        found.append(_memory(gates, gates.rss_bytes, profile))
    if gates.energy_ratio is not None:
        found.append(_energy(gates, gates.energy_ratio, profile))
    if gates.min_agreement is not None:
        found.append(_agreement(gates, gates.min_agreement, profile))
    return found


def _failures(gates: Gates, most: float, profile: ProfileFigures, complete: bool) -> Verdict:
    n = profile.committed + profile.failed
    lower, _ = clopper_pearson(profile.failed, n, gates.confidence)
    said = f"{profile.failed} of {n} failed ({_percent(profile.failed / n)}), {_percent(most)} allowed"
    state: Judgement = "kept" if profile.failed <= most * n else "undecided"
    if lower > most:
        state, said = "missed", f"{said}; surely more than {_percent(lower)}"
    elif state == "undecided" and complete:
        state, said = "missed", f"{said}; nobody is left who could change that"
    elif state == "kept" and n < gates.min_devices:
        state, said = "undecided", f"{said}; {gates.min_devices} devices are asked for"
    return Verdict("failures", profile.profile, state, said)


def _p95(gates: Gates, limit_us: int, profile: ProfileFigures) -> Verdict:
    few = _too_few(gates, profile.new)
    latency = profile.new.latency
    if few or latency is None:
        return Verdict("p95", profile.profile, "undecided", f"p95: {few}")
    lower, value, upper = quantile_bounds(latency, 0.95, gates.confidence)
    said = (
        f"p95 {_ms(value)} ({_percent(gates.confidence)} sure: {_ms(lower)} to {_ms(upper)}), "
        f"{_ms(limit_us)} allowed"
    )
    return Verdict("p95", profile.profile, _state(lower > limit_us, upper <= limit_us), said)


def _p95_ratio(gates: Gates, ratio: float, profile: ProfileFigures) -> Verdict:
    few = _too_few(gates, profile.new)
    latency = profile.new.latency
    if few or latency is None:
        return Verdict("p95 ratio", profile.profile, "undecided", f"p95: {few}")
    both = (1 + gates.confidence) / 2
    bases = [
        (quantile_bounds(arm, 0.95, both), name)
        for name, arm in (("before", profile.before.latency), ("of those not told", profile.control.latency))
        if arm is not None and total(arm) >= gates.min_inferences
    ]
    if not bases:
        return Verdict(
            "p95 ratio",
            profile.profile,
            "undecided",
            "p95: nothing to compare with, neither from before nor of devices that were not told",
        )
    (base_lower, base, base_upper), name = max(bases, key=lambda each: each[0][1])
    lower, value, upper = quantile_bounds(latency, 0.95, both)
    said = (
        f"p95 {_ms(value)} (between {_ms(lower)} and {_ms(upper)}) against {_ms(base)} {name} "
        f"(between {_ms(base_lower)} and {_ms(base_upper)}), {ratio:g} x allowed"
    )
    state = _state(lower > ratio * base_upper, upper <= ratio * base_lower)
    return Verdict("p95 ratio", profile.profile, state, said)


def _memory(gates: Gates, limit_bytes: int, profile: ProfileFigures) -> Verdict:
    sample, unit = _sample(profile.new.rss_bytes)
    if len(profile.new.rss_bytes) < gates.min_devices or len(sample) < MIN_MINUTES:
        said = f"memory: {_have(profile.new.rss_bytes, unit, sample, gates)}"
        return Verdict("memory", profile.profile, "undecided", said)
    lower, upper = mean_bounds(sample, gates.confidence)
    said = (
        f"memory {_mb(fmean(sample))} ({_percent(gates.confidence)} sure: {_mb(lower)} to {_mb(upper)}, "
        f"of {len(sample)} {unit}), {_mb(limit_bytes)} allowed"
    )
    return Verdict("memory", profile.profile, _state(lower > limit_bytes, upper <= limit_bytes), said)


def _energy(gates: Gates, ratio: float, profile: ProfileFigures) -> Verdict:
    new, unit = _sample(profile.new.energy_mj)
    if len(profile.new.energy_mj) < gates.min_devices or len(new) < MIN_MINUTES:
        said = f"energy: {_have(profile.new.energy_mj, unit, new, gates)}"
        return Verdict("energy", profile.profile, "undecided", said)
    bases = [
        (sample, name)
        for name, arm in (("before", profile.before), ("of those not told", profile.control))
        for sample in [_sample(arm.energy_mj)[0]]
        if len(sample) >= MIN_MINUTES
    ]
    if not bases:
        said = "energy: nothing to compare with, neither from before nor of devices that were not told"
        return Verdict("energy", profile.profile, "undecided", said)
    base, name = max(bases, key=lambda each: fmean(each[0]))
    lower, upper = welch_bounds(new, base, ratio, gates.confidence)
    said = (
        f"energy {fmean(new):.3g} mJ an inference (of {len(new)} {unit}) against {fmean(base):.3g} mJ "
        f"{name}, {ratio:g} x allowed"
    )
    return Verdict("energy", profile.profile, _state(lower > 0, upper <= 0), said)


def _agreement(gates: Gates, least: float, profile: ProfileFigures) -> Verdict:
    if profile.compared == 0:
        return Verdict("agreement", profile.profile, "undecided", "agreement: no answers were compared")
    lower, upper = wilson(profile.agreed, profile.compared, gates.confidence)
    said = (
        f"{profile.agreed} of {profile.compared} answers as before "
        f"({_percent(profile.agreed / profile.compared)}, {_percent(gates.confidence)} sure: "
        f"{_percent(lower)} to {_percent(upper)}), {_percent(least)} asked for"
    )
    return Verdict("agreement", profile.profile, _state(upper < least, lower >= least), said)


def _state(missed: bool, kept: bool) -> Judgement:
    return "missed" if missed else "kept" if kept else "undecided"


def _devices(n: int) -> str:
    return f"{n} device" if n == 1 else f"{n} devices"


def _too_few(gates: Gates, arm: Arm) -> str:
    inferences = 0 if arm.latency is None else total(arm.latency)
    if arm.devices < gates.min_devices or inferences < gates.min_inferences:
        return (
            f"{inferences} inferences of {_devices(arm.devices)} so far; it takes {gates.min_inferences} of "
            f"{_devices(gates.min_devices)}"
        )
    return ""


def _sample(by_device: Mapping[str, Sequence[float]]) -> tuple[list[float], str]:
    """The independent values: a device's mean each, or with few devices their minutes."""
    if len(by_device) >= MIN_DEVICES_AS_UNITS:
        return [fmean(values) for values in by_device.values() if values], "devices"
    return [value for values in by_device.values() for value in values], "minutes"


def _have(by_device: Mapping[str, Sequence[float]], unit: str, sample: Sequence[float], gates: Gates) -> str:
    return (
        f"{len(sample)} {unit} of {_devices(len(by_device))} so far; it takes {MIN_MINUTES} minutes of "
        f"{_devices(gates.min_devices)}"
    )


def _ms(us: float) -> str:
    return f"{us / 1000:.3g} ms" if us != float("inf") else "any"


def _mb(size_bytes: float) -> str:
    if size_bytes in (float("inf"), float("-inf")):
        return "any"
    return f"{size_bytes / 1e6:.4g} MB"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
