"""What may vary: a few parameters with levels from harmless to harsh, and the recipe each point stands for.

A parameter is there only where it can do something for this model, profile and data set: no int8 where the
profile says that it is slower, no channels where none can be cut, no other resolution where the model's
layers insist on one. All parameters at their first level are the model as it is. Because levels are ordered,
a point that is harsher in every parameter is expected to be smaller, faster and less accurate: propose.py
counts on it.

The order of the passes is fixed: resolution, channels, ranks, weight values, number formats; each works on
what the one before left, and weights that `quantize` chose keep their values through `int8`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edgepress_compression.errors import GraphError, RecipeError
from edgepress_compression.graph.channels import channel_groups
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.rewrite.resolution import at_resolution, picture_input, scaled_size
from edgepress_compression.recipe import Needs, Recipe, Step
from edgepress_devices.profile import DeviceProfile

Level = float | int | str | None
Point = dict[str, Any]

NAME: Final = "searched"  # of the recipes made here
_BITS_WHOLE: Final = 32.0  # of a weight that is left alone
POINTS_MAX: Final = 20_000  # enumerated; spaces that are larger are sampled
_CUT_LEVELS: Final = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
_CUT_UNTRAINED: Final = (1.0, 0.97, 0.94, 0.9, 0.85, 0.8)  # by the original's answers only
_BIT_LEVELS: Final = (None, 6.0, 5.5, 5.0, 4.5, 4.0, 3.5, 3.0, 2.5, 2.0)
_SIDES: Final = (1.0, 0.875, 0.75, 0.625, 0.5)
_RANKS: Final = (1.0, 0.85, 0.7, 0.55, 0.4)
_FLOAT_LAYERS: Final = (4, 2, 0)  # in an int8 model, the most sensitive
_DENSE_SHARE: Final = 0.3  # of the weights in matrices, from which ranks are worth a parameter
# Of training in one trial: enough to tell which widths are worth it, and a minute at most of a processor.
_STEPS: Final = 300
_LIGHT_STEPS: Final = 30  # of _LIGHT_BATCH samples: more would take longer than all else of a trial
_LIGHT_BATCH: Final = 20
_MOST_GMACS: Final = 2000.0
_MOSTLY_DENSE: Final = 0.9  # from which 4-bit matrix products are most of the model: transformers
_LEAST_LAYERS: Final = 8  # from which leaving some in floats leaves enough integers


@dataclass(frozen=True)
class Parameter:
    name: str
    levels: tuple[Level, ...]  # from harmless to harsh
    needs: tuple[str, Level] | None = None  # counts only where another parameter has this level

    def rank(self, level: Level) -> float:
        """0 (harmless) .. 1 (harsh). Shares and bits by logarithms: costs are then straight lines."""
        places = [_BITS_WHOLE if one is None else one for one in self.levels]
        numbers = [float(one) for one in places if isinstance(one, int | float)]
        if len(numbers) < len(places) or min(numbers) <= 0 or len(places) < 2:
            return self.levels.index(level) / max(1, len(self.levels) - 1)
        whole, own = math.log(numbers[0]), math.log(numbers[self.levels.index(level)])
        return (whole - own) / (whole - math.log(numbers[-1]))


@dataclass(frozen=True)
class Space:
    """`parameters` in the order of their passes."""

    parameters: tuple[Parameter, ...]
    labelled: bool = False  # there are labels to train on
    multiple: int = 8  # widths that fill the device's registers
    samples: bool = True  # there are inputs to look at

    def __post_init__(self) -> None:
        if not self.parameters:
            raise ValueError("a space has at least one parameter")

    @property
    def harmless(self) -> Point:
        return {one.name: one.levels[0] for one in self.parameters}

    def canonical(self, point: Mapping[str, Level]) -> Point:
        """With what does not count at its first level, so that one recipe is one point."""
        whole = {one.name: point.get(one.name, one.levels[0]) for one in self.parameters}
        for one in self.parameters:
            if one.needs is not None and whole.get(one.needs[0]) != one.needs[1]:
                whole[one.name] = one.levels[0]
        return whole

    def size(self) -> int:
        return math.prod(len(one.levels) for one in self.parameters)

    def coordinates(self, point: Mapping[str, Level]) -> np.ndarray:
        """(parameters,) float64 in 0..1, harmless to harsh. A parameter that does not count is harsh: it then
        agrees with the point that differs in nothing else."""
        found = []
        for one in self.parameters:
            idle = one.needs is not None and point.get(one.needs[0]) != one.needs[1]
            found.append(1.0 if idle else one.rank(point[one.name]))
        return np.array(found, np.float64)

    def points(self, rng: np.random.Generator) -> Iterator[Point]:
        """Every point once, or a random sample of a space that is too large."""
        seen = set()
        if self.size() <= POINTS_MAX:
            drawn: Iterator[tuple[Level, ...]] = itertools.product(*(one.levels for one in self.parameters))
        else:
            drawn = (
                tuple(one.levels[int(rng.integers(len(one.levels)))] for one in self.parameters)
                for _ in range(POINTS_MAX)
            )
        for levels in drawn:
            point = self.canonical(dict(zip((one.name for one in self.parameters), levels, strict=True)))
            key = tuple(point.values())
            if key not in seen:
                seen.add(key)
                yield point

    def neighbours(self, point: Mapping[str, Level]) -> list[Point]:
        """One level up or down in one parameter."""
        found = []
        for one in self.parameters:
            place = one.levels.index(point[one.name])
            for other in (place - 1, place + 1):
                if 0 <= other < len(one.levels):
                    moved = self.canonical({**point, one.name: one.levels[other]})
                    if moved != point and moved not in found:
                        found.append(moved)
        return found

    def recipe(self, point: Mapping[str, Level]) -> Recipe:
        """What the point stands for, as data that can be run again by itself."""
        passes = list(self._passes(point))
        needs: Needs = "none"
        if self.samples and any(
            step.name in {"quantize", "int8", "prune-channels", "low-rank"} for step in passes
        ):
            needs = "unlabelled"  # without them the recipe would be another
        return Recipe(
            name=NAME,
            description=f"Found by a search: {self.words(point)}.",
            passes=tuple(passes),
            needs=needs,
        )

    def _passes(self, point: Mapping[str, Level]) -> Iterator[Step]:
        if (scale := point.get("resolution", 1.0)) != 1.0:
            yield Step("resolution", {"scale": scale})
        if (kept := point.get("channels", 1.0)) != 1.0:
            light = {} if self.labelled else {"light_steps": _LIGHT_STEPS, "batch_size": _LIGHT_BATCH}
            yield Step(
                "prune-channels",
                {
                    "target": kept, "light_target": kept, "cost": "latency", "multiple": self.multiple,
                    "rounds": 2, "steps": _STEPS, "most_gmacs": _MOST_GMACS, **light,
                },
            )  # fmt: skip
        if (kept := point.get("ranks", 1.0)) != 1.0:
            yield Step("low-rank", {"kept": kept})
        numbers = point.get("numbers", "fp32")
        if (bits := point.get("bits")) is not None:
            # written as the shipped recipes are: rate-distortion and balanced are points of the space
            yield Step("quantize", {"bits": bits} if numbers == "fp32" else {"bits": bits, "trellis": False})
        if numbers == "int8":
            options: dict[str, Any] = {"calibration": "mse", "samples": 200}
            if left := point.get("float_layers", 0):
                options["keep_float"] = left
            yield Step("int8", options)
        elif numbers == "int4":
            yield Step("int4", {"block": 64})
        elif numbers == "fp16":
            yield Step("fp16", {})

    def words(self, point: Mapping[str, Level]) -> str:
        """For people: "channels cut to 85 % of the latency, 4.5-bit weights, int8"."""
        said = []
        if (scale := point.get("resolution", 1.0)) not in (None, 1.0):
            said.append(f"pictures of {100 * float(scale or 1):.0f} % of the side")
        if (kept := point.get("channels", 1.0)) not in (None, 1.0):
            said.append(f"channels cut to {100 * float(kept or 1):.0f} % of the latency")
        if (kept := point.get("ranks", 1.0)) not in (None, 1.0):
            said.append(f"ranks cut to {100 * float(kept or 1):.0f} % of the weights")
        if (bits := point.get("bits")) is not None:
            said.append(f"{bits:g}-bit weights")
        numbers = point.get("numbers", "fp32")
        if numbers != "fp32":
            left = point.get("float_layers", 0)
            said.append(f"{numbers} but for {left} layers" if left and numbers == "int8" else str(numbers))
        return ", ".join(said) or "the model as it is"


def space_for(graph: Graph, profile: DeviceProfile, *, samples: bool, labelled: bool) -> Space:
    """What can vary. `samples`: there are inputs to look at; `labelled`: labels enough to train on."""
    parameters = []
    if samples and (sides := _sides(graph)):
        parameters.append(Parameter("resolution", sides))
    groups = [one for one in channel_groups(graph) if one.fixed is None and one.units > 1]
    if groups and samples:
        parameters.append(Parameter("channels", _CUT_LEVELS if labelled else _CUT_UNTRAINED))
    matrices, products = _matrix_share(graph)
    if matrices >= _DENSE_SHARE and samples:
        parameters.append(Parameter("ranks", _RANKS))
    parameters.append(Parameter("bits", _BIT_LEVELS))
    numbers: list[Level] = ["fp32"]
    if profile.fp16.supported:
        numbers.append("fp16")
    if profile.int8.activations is not None:
        numbers.append("int8")
    if profile.int4.supported and matrices >= _MOSTLY_DENSE:
        numbers.append("int4")
    if len(numbers) > 1:
        parameters.append(Parameter("numbers", tuple(numbers)))
    if "int8" in numbers and products >= _LEAST_LAYERS and samples:
        parameters.append(Parameter("float_layers", _FLOAT_LAYERS, needs=("numbers", "int8")))
    return Space(tuple(parameters), labelled, _lanes(profile), samples)


def _lanes(profile: DeviceProfile) -> int:
    """Output channels that one step of the device's kernels makes: other widths waste a part of it."""
    return 16 if "AVX-512" in profile.cpu.isa.upper() else 8


def _sides(graph: Graph) -> tuple[Level, ...] | None:
    """The picture's sides that the model computes on, or None where it insists on one."""
    try:
        picture = picture_input(graph)
        side = picture.shape[2]
        sizes: dict[tuple[int, int], float] = {}
        for scale in _SIDES:
            size = scaled_size(graph, scale)
            if scale == 1.0 or (isinstance(side, int) and size[0] < side):
                sizes.setdefault(size, scale)
        for size, scale in sizes.items():
            if scale != 1.0:
                at_resolution(graph, *size)
    except (RecipeError, GraphError):
        return None
    return tuple(sizes.values()) if len(sizes) > 1 else None


def _matrix_share(graph: Graph) -> tuple[float, int]:
    """(share of the weights that are in matrices, number of matrix products and convolutions)"""
    sizes = {name: array for name, array in graph.float_weights().items() if array.ndim > 1}
    total = sum(array.size for array in sizes.values())
    flat = sum(array.size for array in sizes.values() if array.ndim == 2)
    products = sum(node.op_type in {"Conv", "Gemm", "MatMul"} for node in graph.proto.graph.node)
    return flat / max(1, total), products
