"""What a model is predicted to cost on a device, as a page: totals, roofline plot, a row for each layer.

The plot is the roofline of Williams, Waterman and Patterson (2009, figure 1): operations a byte against
operations a second; a layer below the slanted roof waits for memory, below the flat one for arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edgepress_compression.page.html import bar, count, micros, page, section, size, table, tiles
from edgepress_compression.page.plot import COLORS, Axis, Curve, Spot, spots
from edgepress_devices.prediction import OperatorPrediction, Prediction, datasheet_type, in_words
from edgepress_devices.profile import DeviceProfile
from edgepress_devices.roofline import DataType, roofline

BOUND_COLORS = {"compute": COLORS[0], "memory": COLORS[1], "overhead": COLORS[7]}
_WORDS = {"datasheet": "datasheet", "calibration": "calibrated", "measurement": "measured"}
_TYPES: tuple[DataType, ...] = ("fp32", "fp16", "int8")


def cost_page(name: str, prediction: Prediction, profile: DeviceProfile) -> str:
    """HTML; `name` is what the model is called."""
    words = in_words(prediction, profile)
    title = f"{name} on {profile.name}"
    return page(title, f"Predicted, not measured: {words}.", [
        _totals(prediction, words), _plot(prediction, profile), _layers(prediction.operators),
    ])  # fmt: skip


def _totals(prediction: Prediction, words: str) -> str:
    energy = prediction.energy_mj
    return tiles(
        [
            ("Latency", f"about {micros(prediction.latency_us)}", words),
            ("Memory", f"about {size(prediction.memory_bytes)}", _WORDS[prediction.memory_basis]),
            (
                "Energy of an inference",
                "-" if energy is None else f"about {energy:.3g} mJ",
                f"beyond idle; power: {_WORDS[prediction.energy_basis]}",
            ),
            ("Operators", str(len(prediction.operators)), "as the runtime executes them"),
        ]
    )


def _plot(prediction: Prediction, profile: DeviceProfile) -> str:
    dots = [one for one in prediction.operators if one.operations > 0 and one.bytes_moved > 0]
    if not dots:
        return section("Roofline", "<p>No operator of this model computes anything.</p>")
    slowest = max(one.latency_us for one in dots)
    types = {datasheet_type(one.dtype) for one in dots}
    memory = roofline(profile).bytes_per_us
    roofs = [(name, roofline(profile, name).operations_per_us) for name in _TYPES if name in types]
    intensities = [one.operations_per_byte for one in dots]
    rates = [one.operations_per_us for one in dots]
    x = Axis(min(intensities) / 1.6, max(*intensities, roofs[0][1] / memory) * 1.6, "operations / byte",
             lambda value: f"{value:g}", log=True)  # fmt: skip
    highest = max(*rates, *(peak for _, peak in roofs))
    y = Axis(min(rates) / 1.6, highest * 1.6, "operations / s", _per_second, log=True)
    curves = [
        Curve(name, _roof(peak, rate, x, y), color, dashed=dashed)
        for name, peak, rate, color, dashed in _roofs(profile, roofs)
    ]
    found = [
        Spot(one.operations_per_byte, one.operations_per_us, _title(one), BOUND_COLORS[one.bound],
             one.latency_us / slowest)
        for one in dots
    ]  # fmt: skip
    key = "".join(
        f'<li><span style="background:{color}"></span>{"calls" if bound == "overhead" else bound}</li>'
        for bound, color in BOUND_COLORS.items()
    )
    note = "A dot is an operator, its area the time it takes, its colour what bounds it."
    return section("Roofline", spots(curves, found, x, y) + f'<ul class="key">{key}</ul>', note)


def _per_second(operations_per_us: float) -> str:
    """2_000_000 -> '2 T'."""
    rate = operations_per_us * 1e6
    return f"{rate / 1e12:g} T" if rate >= 1e12 else count(rate)


def _roofs(
    profile: DeviceProfile, peaks: Sequence[tuple[DataType, float]]
) -> list[tuple[str, float, float, str, bool]]:
    """(name, operations and bytes a microsecond, colour, dashed): the datasheet's, and what the best
    kind of operator sustains where devices were measured."""
    memory = roofline(profile).bytes_per_us
    roofs = [
        (f"{name} by the datasheet", peak, memory, COLORS[2 + number], True)
        for number, (name, peak) in enumerate(peaks)
    ]
    if profile.calibration is None:
        return roofs
    for number, (name, _) in enumerate(peaks):
        fits = [one for kind, one in profile.calibration.kinds.items() if kind.endswith(f" {name}")]
        rates = [one.operations_per_us for one in fits if one.operations_per_us is not None]
        if rates:
            fastest = max(one.bytes_per_us for one in fits)
            roofs.append((f"{name} as measured, at best", max(rates), fastest, COLORS[2 + number], False))
    return roofs


def _roof(peak: float, rate: float, x: Axis, y: Axis) -> list[tuple[float, float]]:
    """The slanted and the flat part, from where they come into the frame."""
    low = min(max(x.low, y.low / rate), x.high)
    ridge = min(x.high, max(low, peak / rate))
    return [
        (low, min(peak, low * rate)),
        (ridge, min(peak, ridge * rate)),
        (x.high, min(peak, x.high * rate)),
    ]


def _title(one: OperatorPrediction) -> str:
    return f"{one.name}: {one.kind}, {micros(one.latency_us)}, {one.operations_per_us / 1e3:.3g} Gop/s"


def _layers(operators: Sequence[OperatorPrediction]) -> str:
    total = sum(one.latency_us for one in operators)
    slowest = max((one.latency_us for one in operators), default=0.0)
    rows = [
        (
            escape(one.name),
            escape(one.kind if one.known else f"{one.kind} (not timed: guessed)"),
            bar(one.latency_us, slowest, _time(one.latency_us)),
            f"{100 * one.latency_us / total:.1f} %" if total > 0 else "-",
            "calls" if one.bound == "overhead" else one.bound,
            count(one.operations),
            f"{one.operations_per_byte:.3g}" if one.operations else "-",
        )
        for one in operators
    ]
    columns = ("Layer", "Kind", "Time", ">Share", "Bound by", ">Operations", ">Operations / byte")
    return section("Layers", table(columns, rows), "In the order in which they run.")


def _time(us: float) -> str:
    return f"{us:.1f} µs" if us < 10 else micros(us)
