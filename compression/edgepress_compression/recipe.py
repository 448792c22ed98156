"""Recipes: what to do to a model, as data.

name = "int8"
description = "Integers for weights and activations: a quarter of the bytes, faster where integers are."
source = ""                  # the paper whose method it is, with its year; empty: our own
needs = "none"               # data without which it makes no sense: none, unlabelled (any inputs), labelled
coding = "auto"              # how weights are coded (artifact/choose.py): auto, fast, small, or a coder

[[passes]]                   # in this order; none keeps the model as it is
name = "int8"                # a module in passes/
samples = 200                # all else are options of that pass, checked before anything runs
"""

from __future__ import annotations

import difflib
import importlib
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Protocol, cast

import msgspec

from edgepress_compression.artifact.choose import check_coding
from edgepress_compression.errors import ArtifactError, RecipeError
from edgepress_compression.passes.state import PassState

if TYPE_CHECKING:
    from edgepress_compression.data.dataset import Dataset

RECIPES_DIR: Final = Path(__file__).parent / "recipes"
RECIPE_MAX_BYTES: Final = 65_536
PASSES_MAX: Final = 16

# Name in a recipe -> module. Modules are imported when a recipe runs: some need torch.
PASSES: Final = {
    "bloomier": "edgepress_compression.passes.bloomier",
    "depthwise": "edgepress_compression.passes.rewrite.depthwise",
    "distill": "edgepress_compression.passes.layer_distillation.distill",
    "entropy": "edgepress_compression.passes.entropy.entropy",
    "fine-tune": "edgepress_compression.passes.learning.fine_tune",
    "fire": "edgepress_compression.passes.rewrite.fire",
    "fold-attention": "edgepress_compression.passes.transformer.fold_attention",
    "fp16": "edgepress_compression.passes.weight_only.fp16",
    "group-dense": "edgepress_compression.passes.rewrite.grouped",
    "hakd": "edgepress_compression.passes.hakd.hakd",
    "int4": "edgepress_compression.passes.weight_only.int4",
    "int8": "edgepress_compression.passes.int8.int8",
    "low-rank": "edgepress_compression.passes.factorize.low_rank",
    "mixed-precision": "edgepress_compression.passes.weight_only.mixed_precision",
    "morphnet": "edgepress_compression.passes.morphnet.morphnet",
    "new-head": "edgepress_compression.passes.learning.new_head",
    "pretrain": "edgepress_compression.passes.learning.pretrain",
    "prune": "edgepress_compression.passes.pruning.prune",
    "prune-channels": "edgepress_compression.passes.pruning.channels",
    "prune-weights": "edgepress_compression.passes.pruning.weights",
    "qat": "edgepress_compression.passes.int8.qat",
    "quantize": "edgepress_compression.passes.rate_distortion.quantize",
    "resolution": "edgepress_compression.passes.rewrite.resolution",
    "share": "edgepress_compression.passes.sharing.share",
    "transformer-compression": "edgepress_compression.passes.transformer.deep_compression",
    "truncate": "edgepress_compression.passes.rewrite.truncate",
    "tucker": "edgepress_compression.passes.factorize.tucker",
    "weight-only": "edgepress_compression.passes.weight_only.weight_only",
}
# Those with an option `target_bytes`: the bytes of the whole artifact.
BUDGETED: Final = frozenset({"distill", "entropy", "mixed-precision", "quantize"})
# Folder in passes/ -> what such methods do, for people who choose a recipe.
KINDS: Final = {
    "pruning": "pruning",
    "morphnet": "pruning",
    "hakd": "pruning",
    "sharing": "quantization",
    "rate_distortion": "quantization",
    "layer_distillation": "quantization",
    "int8": "quantization",
    "weight_only": "quantization",
    "entropy": "quantization",
    "bloomier": "quantization",
    "factorize": "factorizing",
    "transformer": "factorizing",
    "rewrite": "rewriting",
    "learning": "learning",
}
COMBINED: Final = "several methods"
UNCHANGED: Final = "as it is"

Needs = Literal["none", "unlabelled", "labelled"]


class Step(msgspec.Struct, frozen=True):
    """One pass with its options, not yet checked."""

    name: str
    options: dict[str, Any] = {}


class Recipe(msgspec.Struct, frozen=True):
    name: str
    description: str
    coding: str = "auto"
    passes: tuple[Step, ...] = ()
    source: str = ""
    needs: Needs = "none"

    def as_json(self) -> dict[str, Any]:
        """For the artifact's header and the report."""
        return cast(dict[str, Any], msgspec.json.decode(msgspec.json.encode(self)))

    @property
    def kind(self) -> str:
        """The one family of methods that its passes are of; or that they are several, or none."""
        folders = [PASSES[step.name].split(".")[2] for step in self.passes if step.name in PASSES]
        kinds = {KINDS.get(folder, folder) for folder in folders}
        # training that only goes along with another method makes no second one
        kinds = kinds - {KINDS["learning"]} or kinds
        return UNCHANGED if not kinds else kinds.pop() if len(kinds) == 1 else COMBINED

    @property
    def learns_classes(self) -> bool:
        """Whether the model's classes become those of the data set."""
        return any(step.name == "new-head" for step in self.passes)

    @property
    def takes_budget(self) -> bool:
        """Whether it can aim at a number of bytes."""
        return any(step.name in BUDGETED for step in self.passes)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")]
    description: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    source: Annotated[str, msgspec.Meta(max_length=300)] = ""
    needs: Needs = "none"
    coding: str = "auto"
    passes: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=PASSES_MAX)] = []


class Pass(Protocol):
    """A pass with checked options, ready to run."""

    def __call__(self, state: PassState) -> None: ...


def list_recipes() -> list[Recipe]:
    """All shipped recipes, by name."""
    return [_read(path) for _, path in sorted(_shipped().items())]


def load_recipe(name_or_path: str | Path) -> Recipe:
    """The recipe shipped under this name, or the one in this .toml file. Raises RecipeError."""
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml") or "/" in text:
        return _read(Path(name_or_path))
    shipped = _shipped()
    if text not in shipped:
        close = difflib.get_close_matches(text.lower(), shipped, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise RecipeError(
            f"There is no recipe {text[:80]!r}. {hint}Known: {', '.join(sorted(shipped))}. Or give the "
            "path of a .toml file."
        )
    return _read(shipped[text])


def within(recipe: Recipe, target_bytes: int) -> Recipe:
    """The recipe with that many bytes for its artifact, told to its last pass that takes a budget.

    Raises RecipeError where no pass does.
    """
    numbers = [number for number, step in enumerate(recipe.passes) if step.name in BUDGETED]
    if not numbers:
        able = [one.name for one in list_recipes() if one.takes_budget]
        raise RecipeError(
            f"The recipe {recipe.name} has no pass that can aim at a number of bytes. Take one that has: "
            f"{', '.join(able)}; or leave the target out."
        )
    last = numbers[-1]
    step = Step(recipe.passes[last].name, {**recipe.passes[last].options, "target_bytes": target_bytes})
    return msgspec.structs.replace(recipe, passes=(*recipe.passes[:last], step, *recipe.passes[last + 1 :]))


def require_data(recipe: Recipe, dataset: Dataset | None) -> None:
    """Raises RecipeError, with what to give, where the recipe makes no sense with these data."""
    if (lack := lacking(recipe, None if dataset is None else dataset.splits)) is not None:
        raise RecipeError(f"The recipe {recipe.name} {lack} (--data FILE; docs/datasets.md).")


def lacking(recipe: Recipe, splits: Collection[str] | None) -> str | None:
    """What the recipe needs and data of these splits do not have, in words. None for splits: no data."""
    if recipe.needs == "none":
        return None
    if splits is None:
        what = "samples to look at" if recipe.needs == "unlabelled" else "labelled samples to train on"
        return f"needs {what}: give a data set"
    if recipe.needs == "labelled" and ("train" not in splits or len(splits) < 2):
        return (
            "needs labelled samples to train on beside those that test: give a data set with a split `train` "
            f"and a split `test`; this one has {', '.join(splits) or 'none'}"
        )
    return None


def recipe_text(name_or_path: str | Path) -> str:
    """The TOML file of a recipe, as it is. Raises RecipeError as `load_recipe` does."""
    recipe = load_recipe(name_or_path)
    path = _shipped().get(str(name_or_path), Path(name_or_path))
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"The recipe {recipe.name} cannot be read: {error.strerror}.") from error


def coded(recipe: Recipe, coding: str) -> Recipe:
    """The recipe with its weights coded in another way. Raises RecipeError when there is no such."""
    try:
        check_coding(coding)
    except ArtifactError as error:
        raise RecipeError(f"The {error}.") from error
    return msgspec.structs.replace(recipe, coding=coding)


def check_recipe(recipe: Recipe) -> list[tuple[str, Pass]]:
    """The passes of a recipe with their options checked, by name. Raises RecipeError before anything runs."""
    try:
        check_coding(recipe.coding)
    except ArtifactError as error:
        raise RecipeError(f"The recipe {recipe.name}: {error}.") from error
    return [(step.name, _prepare(recipe, step)) for step in recipe.passes]


def _prepare(recipe: Recipe, step: Step) -> Pass:
    if step.name not in PASSES:
        known = ", ".join(sorted(PASSES))
        raise RecipeError(f"The recipe {recipe.name} asks for the pass {step.name!r}; there are: {known}.")
    module = importlib.import_module(PASSES[step.name])
    try:
        options = msgspec.convert(step.options, module.Options)
    except msgspec.ValidationError as error:
        known = ", ".join(module.Options.__struct_fields__)
        raise RecipeError(
            f"The recipe {recipe.name}, pass {step.name}: {error}. Its options are: {known}."
        ) from error
    return lambda state: module.run(state, options)


def _shipped() -> dict[str, Path]:
    return {path.stem: path for path in RECIPES_DIR.glob("*.toml")}


def _read(path: Path) -> Recipe:
    try:
        with path.open("rb") as stream:
            raw = stream.read(RECIPE_MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"The recipe {path} cannot be read: {error.strerror}; check the path.") from error
    if len(raw) > RECIPE_MAX_BYTES:
        raise RecipeError(f"The recipe {path} is larger than {RECIPE_MAX_BYTES:,} bytes; it is no recipe.")
    try:
        file = msgspec.convert(tomllib.loads(raw.decode("utf-8")), _File)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(f"The recipe {path} is not valid TOML: {error}.") from error
    except msgspec.ValidationError as error:
        raise RecipeError(f"The recipe {path}: {error}.") from error
    steps = []
    for number, table in enumerate(file.passes, start=1):
        options = dict(table)
        name = options.pop("name", None)
        if not isinstance(name, str):
            raise RecipeError(f'The recipe {path}: pass {number} needs a `name`, such as name = "int8".')
        steps.append(Step(name, options))
    return Recipe(file.name, file.description, file.coding, tuple(steps), file.source, file.needs)
