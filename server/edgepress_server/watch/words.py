"""What the closed loop says to people: every figure with its unit, and with what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from edgepress_compression.search.budget import megabytes, milliseconds
from edgepress_compression.search.trial import Figures
from edgepress_server.watch.decide import Kind, Verdict

_WHAT: Final[Mapping[Kind, str]] = {
    "latency": "p95 latency",
    "memory": "memory of the agent",
    "energy": "energy of an inference",
    "prediction": "an inference",
}
_NAMED: Final = 4  # devices that a sentence names


def figure(kind: Kind, value: float) -> str:
    """ "41 ms", "70.00 MB", "5.2 mJ", "2.4 times"."""
    if kind == "latency":
        return milliseconds(value)
    if kind == "memory":
        return megabytes(value)
    return f"{value:.3g} mJ" if kind == "energy" else f"{value:.3g} times"


def span(ms: int) -> str:
    """A length of time in words: "10 min", "2 h"."""
    minutes = max(1, round(ms / 60_000))
    return f"{minutes} min" if minutes < 120 else f"{round(minutes / 60)} h"


def count(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def names(devices: Sequence[str]) -> str:
    shown = ", ".join(devices[:_NAMED])
    return f"{shown} and {len(devices) - _NAMED} more" if len(devices) > _NAMED else shown


def missed(verdict: Verdict, *, model: str, profile: str, now_ms: int, predicted_us: float | None) -> str:
    """What is wrong, where and since when, in one or two sentences without the last full stop."""
    on = profile if verdict.scope == "profile" else names(verdict.devices)
    since = now_ms - (now_ms if verdict.since_ms is None else verdict.since_ms)
    if verdict.kind == "prediction":
        said = (
            f"An inference of {model} on {on} takes {verdict.measured:.2g} times the "
            f"{milliseconds(predicted_us or 0.0)} that were predicted; up to {1 + verdict.limit:.3g} "
            "times either way "
            "is believed"
        )
    else:
        said = (
            f"The {_WHAT[verdict.kind]} of {model} on {on} is {figure(verdict.kind, verdict.measured)}, "
            "its budget "
            f"{figure(verdict.kind, verdict.limit)}"
        )
    if verdict.scope == "device":
        others = verdict.judged - len(verdict.devices)
        keep = "keeps" if others == 1 else "keep"
        said += f" ({span(since)}; the other {count(others, 'device')} of {profile} {keep} it)"
    else:
        share = (
            count(verdict.judged, "device")
            if len(verdict.devices) == verdict.judged
            else f"{len(verdict.devices)} of {count(verdict.judged, 'device')}"
        )
        said += f" ({share}, {span(since)})"
    return said + _state_of_devices(verdict)


def kept(verdict: Verdict, *, model: str, profile: str) -> str:
    """What is well again."""
    on = f"{profile} ({count(verdict.judged, 'device')})"
    if verdict.kind == "prediction":
        ratio = f"{verdict.measured:.2g} times what is predicted"
        return f"An inference of {model} on {on} takes {ratio}: believed again."
    return (
        f"The {_WHAT[verdict.kind]} of {model} on {on} is {figure(verdict.kind, verdict.measured)}, "
        "within the "
        f"budget of {figure(verdict.kind, verdict.limit)}."
    )


def _state_of_devices(verdict: Verdict) -> str:
    hot = dict(verdict.hot)
    both = [
        f"{name} ({hot[name]:.0f} °C)" if name in hot else name
        for name in verdict.devices
        if name in hot or name in verdict.throttled
    ]
    if not both:
        return ""
    verb = "is" if len(both) == 1 else "are"
    how = "throttled" if verdict.throttled else "hot"
    return f". {names(both)} {verb} {how}: look at cooling and power supply"


def device_advice(profile: str, devices: Sequence[str]) -> str:
    """What to do about devices that differ from their profile. No model is changed for them."""
    one = devices[0] if devices else "NAME"
    alone = len(devices) == 1
    return (
        f"The model is not changed for {'this device' if alone else 'these devices'}: most of {profile} "
        "keep the "
        f"budget. See what differs there (`edgepress device show {one}`). If it is to stay so, mark "
        f"{'it' if alone else 'them'} (`edgepress device label {one} speed=slow`), or make a profile that "
        "inherits "
        f"{profile} (`edgepress profile new {profile}-slow --inherits {profile} -o slow.toml`, `edgepress "
        "profile "
        f"put slow.toml`), register {'it' if alone else 'them'} anew with that, and set a budget there."
    )


def scaled(kind: Kind, limit: float, asked: float, measured: float, predicted: float, basis: str) -> str:
    """Why a search is asked for another figure than the budget says."""
    return (
        f"the budget of {figure(kind, limit)} becomes {figure(kind, asked)} as the search predicts it, "
        "since devices "
        f"measure {figure(kind, measured)} where {figure(kind, predicted)} is predicted ({basis})"
    )


def found(search: str, recipe: str, figures: Figures | None, kind: Kind) -> str:
    """ "search 5f2 found int8: predicted 17 ms (calibrated, ±8 %), accuracy -0.4 points"."""
    said = f"search {search[:6]} found {recipe}"
    details = [text for text in (_expected(figures, kind), _accuracy(figures)) if text]
    return f"{said}: {', '.join(details)}" if details else said


def _expected(figures: Figures | None, kind: Kind) -> str:
    if figures is None:
        return ""
    if kind == "memory" and figures.memory_bytes is not None:
        return f"{_basis(figures.memory_basis, None)} {megabytes(figures.memory_bytes)} of memory"
    if kind == "energy" and figures.energy_mj is not None:
        return f"{_basis(figures.energy_basis, None)} {figures.energy_mj:.3g} mJ"
    if figures.latency_us is None:
        return ""
    error = "" if figures.latency_error is None else f", ±{100 * figures.latency_error:.0f} %"
    basis = figures.latency_basis
    rests = {"datasheet": " (datasheet, expect a factor of 2)", "calibration": f" (calibrated{error})"}.get(
        str(basis), ""
    )
    return f"{_basis(basis, figures.latency_error)} {milliseconds(figures.latency_us)}{rests}"


def _basis(basis: str | None, _error: float | None) -> str:
    if basis == "device":
        return "measured on a device"
    return "timed on the server" if basis == "here" else "predicted"


def _accuracy(figures: Figures | None) -> str:
    if figures is None or figures.drop is None:
        return ""
    points = -100 * figures.drop
    return "accuracy as before" if abs(points) < 0.05 else f"accuracy {points:+.1f} points"


def recipe_words(recipe: Mapping[str, Any]) -> str:
    """Its passes by name: "prune-channels + int8"; "none" where it has none."""
    passes = [str(one.get("name", "")) for one in recipe.get("passes", []) if isinstance(one, dict)]
    return " + ".join(passes) or str(recipe.get("name", "none"))
