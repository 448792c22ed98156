"""Where a search begins: shipped recipes as they are, and one look at each parameter by itself."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from edgepress_compression.recipe import Recipe, lacking, load_recipe, within
from edgepress_compression.search.propose import Start
from edgepress_compression.search.space import Point, Space
from edgepress_devices.profile import DeviceProfile

# By what they promise. Those that train take long: only where there is time.
QUICK: Final = ("int8", "balanced", "rate-distortion")
LONGER: Final = ("best-latency", "layer-distillation", "mixed-precision")
TRAINED: Final = ("best-bytes", "qat")
_EARLY: Final = 2  # level
LONGER_SECONDS: Final = 300.0
TRAINED_SECONDS: Final = 1800.0


def starts(
    space: Space,
    profile: DeviceProfile,
    splits: tuple[str, ...] | None,
    *,
    seconds: float,
    artifact_bytes: int | None = None,
) -> tuple[Start, ...]:
    """Shipped recipes that make sense with these data on this profile, those that aim at a size with the one
    that the budget allows, then each parameter alone."""
    names: tuple[str, ...] = QUICK
    if seconds >= LONGER_SECONDS:
        names += LONGER
    if seconds >= TRAINED_SECONDS and space.labelled:
        names += TRAINED
    points = {_passes(space.recipe(one)): one for one in space.points(np.random.default_rng(0))}
    quick: list[Start] = []
    longer: list[Start] = []
    for name in names:
        recipe = load_recipe(name)
        if lacking(recipe, splits) is not None or not _runs(recipe, space, profile):
            continue
        start = Start(
            recipe, points.get(_passes(recipe), {}), f"the recipe {name}", "a shipped recipe, as it is"
        )
        (quick if name in QUICK else longer).append(start)
        if artifact_bytes is not None and recipe.takes_budget and name in QUICK:
            aimed = within(recipe, artifact_bytes)
            said = f"the recipe {name} within {artifact_bytes:,} bytes"
            quick.append(Start(aimed, {}, said, "a shipped recipe that aims at the budget's size"))
    looks = [
        Start(space.recipe(point), point, space.words(point), "one parameter by itself")
        for point in _looks(space)
    ]
    looks.sort(
        key=lambda one: any(step.name == "prune-channels" for step in one.recipe.passes)
    )  # it takes longest
    unique: dict[bytes, Start] = {}
    for start in [*quick, *looks, *longer]:
        unique.setdefault(_passes(start.recipe), start)
    return tuple(unique.values())


def _looks(space: Space) -> list[Point]:
    """Each parameter at a middle level, the others harmless; in integers where there are any, since what is
    looked for is fast."""
    base = space.harmless
    for one in space.parameters:
        if one.name == "numbers" and "int8" in one.levels:
            base = space.canonical({**base, "numbers": "int8", "float_layers": 0})
    found = []
    for one in space.parameters:
        if one.name in {"numbers", "float_layers"}:
            continue
        # what is not trained on labels breaks early: a look at its middle would teach nothing
        place = _EARLY if one.name == "channels" and not space.labelled else len(one.levels) // 2
        middle = one.levels[min(place, len(one.levels) - 1)]
        found.append(space.canonical({**base, one.name: middle}))
    return found


def _runs(recipe: Recipe, space: Space, profile: DeviceProfile) -> bool:
    """Whether the profile and the model can make something of every pass."""
    names = {step.name for step in recipe.passes}
    if names & {"int8", "qat"} and profile.int8.activations is None:
        return False
    return "prune-channels" not in names or any(one.name == "channels" for one in space.parameters)


def _passes(recipe: Recipe) -> bytes:
    return msgspec.json.encode([recipe.coding, recipe.as_json()["passes"]], order="sorted")
