"""Predicted against measured latency on this machine: fitted to the calibration nets alone, one thread.

The nets and the data folder's models (fp32, and quantized by the recipe int8) are timed in turns in the same
minutes, so that both see the same machine, by the time that the processor gives to the one thread: other
programs' turns in between count for neither. A prediction knows of a model only what its runtime executes. A
kernel's measured time is the runtime's own profile, which adds a known amount to each: it is added to the
predicted one for the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from edgepress_compression.calibrate import DeviceReport, fit
from edgepress_compression.calibrate.here import HERE, report_here, time_here
from edgepress_compression.graph.executed import named_nodes
from edgepress_compression.passes.state import PassState
from edgepress_compression.predict import predict_model
from edgepress_compression.recipe import check_recipe, load_recipe
from edgepress_compression.source import read_source
from edgepress_devices.calibration import Calibration
from edgepress_devices.microbench.report import calibration_nets
from edgepress_devices.microbench.timed import Timed
from edgepress_devices.microbench.timing import Candidate, Runner, Session
from edgepress_devices.profile import DeviceProfile, load_profile
from search_cases.case import Row

TITLE = "Prediction: models never used to calibrate, on this machine"
PROFILE = "x86-pc"
SECONDS = 600.0
LEFT_OUT: Final = ("squeezenet1.0_deepcompressed",)  # squeezenet 1.0 with zeros: the same time as without
MODELS_MIN: Final = 8
MEDIAN, WORST, OPERATOR = 0.10, 0.30, 0.25
_MINE: Final = "model "  # before the name of a net that is a model


@dataclass(frozen=True)
class _Compared:
    name: str
    predicted_us: float
    measured_us: float  # p50
    kernels: tuple[float, ...]  # relative errors

    @property
    def error(self) -> float:
        return abs(self.predicted_us / self.measured_us - 1)


def measure(folder: Path, *, seconds: float = SECONDS) -> Iterator[Row]:
    """`folder`: the data folder. Seconds are those of the timing; a fit and predictions take some more."""
    profile = load_profile(PROFILE)
    models = {(path.stem, "fp32"): path.read_bytes() for path in sorted((folder / "models").glob("*.onnx"))}
    models = {key: raw for key, raw in models.items() if key[0] not in LEFT_OUT}
    models |= {(name, "u8"): _quantized(raw, profile) for (name, _), raw in models.items()}
    models = {key: named_nodes(raw) for key, raw in models.items()}
    timed = time_here(lambda session: _candidates(session, models), seconds, threads=1)
    calibration = _calibrated(timed, profile)
    yield _note(timed, calibration)
    for form, words in (("fp32", "fp32"), ("u8", "int8")):
        found = [
            _compare(name, form, raw, timed, calibration, profile)
            for (name, its_form), raw in models.items()
            if its_form == form and any(row.net == _MINE + name and row.form == form for row in timed.nets)
        ]
        yield from _rows(found, words)


def _candidates(session: Session, models: dict[tuple[str, str], bytes]) -> list[Candidate]:
    """Nets and models mixed, so that neither has the quieter minutes."""
    nets = calibration_nets(session, ("fp32", "u8"))
    mine = [Candidate(_MINE + name, form, _opening(session, raw)) for (name, form), raw in models.items()]
    every = max(1, len(nets) // max(1, len(mine)))
    mixed: list[Candidate] = []
    for number, net in enumerate(nets):
        mixed.append(net)
        if number % every == 0 and mine:
            mixed.append(mine.pop())
    return mixed + mine


def _opening(session: Session, raw: bytes) -> Callable[[bool], Runner]:
    return lambda profile: session(raw, profile)


def _quantized(raw: bytes, profile: DeviceProfile) -> bytes:
    state = PassState(graph=read_source(raw).graph, profile=profile, dataset=None, seed=0)
    for _, run in check_recipe(load_recipe("int8")):
        run(state)
    return state.graph.serialize()


def _calibrated(timed: Timed, profile: DeviceProfile) -> Calibration:
    nets = Timed(
        nets=[row for row in timed.nets if not row.net.startswith(_MINE)],
        kernels=[row for row in timed.kernels if not row.net.startswith(_MINE)],
    )
    return fit([DeviceReport(device=HERE, report=report_here(nets, 1))], profile)


def _compare(
    name: str, form: str, raw: bytes, timed: Timed, calibration: Calibration, profile: DeviceProfile
) -> _Compared:
    told = predict_model(raw, msgspec.structs.replace(profile, calibration=calibration))
    net = _MINE + name
    p50_us = next(row.p50_us for row in timed.nets if (row.net, row.form) == (net, form))
    kernels = {row.name: row.mean_us for row in timed.kernels if (row.net, row.form) == (net, form)}
    errors = tuple(
        abs((row.latency_us + calibration.profile_us.get(row.dtype, 0.0)) / kernels[row.name] - 1)
        for row in told.operators
        if kernels.get(row.name, 0.0) > 0
    )
    return _Compared(name, told.latency_us, p50_us, errors)


def _rows(found: Sequence[_Compared], words: str) -> Iterator[Row]:
    case = f"prediction, {words}"
    for one in found:
        told = f"predicted {one.predicted_us:.0f} us, measured {one.measured_us:.0f} us"
        yield Row(
            case=case,
            what=one.name,
            figures=f"{told}: {100 * one.error:.1f} % off; per operator {100 * median(one.kernels):.0f} %",
            numbers={"predicted_us": one.predicted_us, "measured_us": one.measured_us},
        )
    if len(found) < MODELS_MIN:
        yield Row(case=case, what="models", figures=f"{len(found)} were timed", met=False, target="8 or more")
        return
    errors = [one.error for one in found]
    kernels = [error for one in found for error in one.kernels]
    for what, value, limit in (
        ("median error of models", median(errors), MEDIAN),
        ("worst error of models", max(errors), WORST),
        ("median error of operators", median(kernels), OPERATOR),
    ):
        yield Row(
            case=case,
            what=what,
            figures=f"{100 * value:.1f} % ({len(kernels if 'operators' in what else errors)})",
            met=value <= limit,
            target=f"{100 * limit:.0f} % or less",
            numbers={"value": value, "limit": limit},
        )


def _note(timed: Timed, calibration: Calibration) -> Row:
    """What the machine was like: a busy one is predicted worse, and measured worse."""
    runs = timed.throttled_runs + sum(row.runs + row.outliers for row in timed.nets)
    restless = median(row.p50_us / row.p10_us - 1 for row in timed.nets if row.p10_us > 0)
    error = calibration.error
    return Row(
        case="prediction",
        what="calibration nets left out",
        figures=(
            f"median {100 * error.model_median:.1f} %, operators {100 * error.operator_median:.1f} %; "
            f"{100 * timed.throttled_runs / max(1, runs):.0f} % of the runs were slowed down, "
            f"p50 is {100 * restless:.1f} % above p10"
        ),
    )
