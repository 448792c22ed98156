"""Convolutions rewritten as QuickNet's and SqueezeNet's, and detection by input resolution."""

from __future__ import annotations

from collections.abc import Iterator

from cases.case import Row, Settings, compressed, row_of
from edgepress_compression.recipe import Recipe, Step

TITLE = "Rewriting: QuickNet, SqueezeNet's fire modules, input resolution"
STEPS = 800  # of 128 pictures: two epochs of all of CIFAR-10; resnet20_flops.py trains for longer
TRAINING = {
    "steps": STEPS,
    "batch_size": 128,
    "learning_rate": 1e-3,
    "shift": 0.125,
    "flip": True,
    "precision": "auto",
    "consistent": True,
    "most_gmacs": 1e6,
    "most_lost_points": 20.0,  # the original has learned the samples that are held out
}
MODELS = ("resnet20_cifar10", "vgg_small_cifar10")
RECIPES = {
    "quicknet, 3 kernels": ("depthwise", {"multiplier": 3, "prelu": False}),
    "quicknet, 1 kernel": ("depthwise", {"multiplier": 1}),
    "squeezenet": ("fire", {"squeeze_ratio": 0.5}),
}
SCALES = (0.7, 1.0, 1.3)


def measure(settings: Settings) -> Iterator[Row]:
    for model in MODELS:
        for name, (step, options) in RECIPES.items():
            passes = (Step(step, options), Step("fine-tune", TRAINING))
            report = compressed(settings, model, Recipe(name, name, passes=passes), settings.cifar10())
            yield row_of(report, case=model, target="", met=None)
    for scale in SCALES:
        recipe = Recipe(f"resolution {scale:g}", "", passes=(Step("resolution", {"scale": scale}),))
        report = compressed(settings, "FastestDet", recipe, settings.dataset("coco"))
        yield row_of(report, case="FastestDet, COCO", target="", met=None)
