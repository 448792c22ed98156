"""MorphNet on VGG-small: the published cut at equal accuracy, and what structures two devices ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cases.case import Row, Settings, compressed, row_of
from edgepress_compression.recipe import Recipe, Step

TITLE = "MorphNet, CIFAR-10: 40 % fewer FLOPs at 0.3 points or less; a structure for each device"
MOST_LOST_POINTS = 0.3
LEAST_RATIO = 1 / 0.6

TRAINING = {
    "label_share": 0.7,  # the original stopped early: labels have more to say than it has
    "batch_size": 128,
    "most_gmacs": 1e6,
    "learning_rate": 1e-3,
    "shift": 0.125,
    "flip": True,
    "precision": "auto",
    "most_lost_points": 20.0,  # the original has learned the samples that are held out
}
FLOPS = {"cost": "flops", "target": 0.5, "budget": 0.595, "steps": 9000, "structure_share": 0.15, **TRAINING}
LATENCY = {"cost": "latency", "target": 0.5, "budget": 0.6, "steps": 300, "structure_share": 0.6, **TRAINING}
DEVICES = ("raspberry-pi-4", "jetson-orin-nano")


def recipe(options: dict[str, Any]) -> Recipe:
    return Recipe(
        name=f"morphnet, {options['cost']}",
        description=f"{options['budget']:.0%} of the {options['cost']}, {options['steps']} steps of 128.",
        passes=(Step("morphnet", options),),
        needs="labelled",
    )


def measure(settings: Settings) -> Iterator[Row]:
    data = settings.cifar10()
    report = compressed(settings, "vgg_small_cifar10", recipe(FLOPS), data)
    row = row_of(report, case="MorphNet, VGG-small", target="40 % fewer FLOPs, 0.3 points", met=None)
    row.met = (
        row.lost_points is not None
        and row.lost_points <= MOST_LOST_POINTS
        and (row.flops_ratio or 0.0) >= LEAST_RATIO
    )
    row.note = f"widths {_widths(report)}, {FLOPS['steps']} steps of 128, seed {settings.seed}"
    row.more = {"options": FLOPS, "stages": report["stages"]}
    yield row
    structures = []
    for device in DEVICES:
        report = compressed(settings, "vgg_small_cifar10", recipe(LATENCY), data, profile=device)
        structures.append(_widths(report))
        row = row_of(report, case=f"MorphNet, {device}", target="", met=None)
        if device == DEVICES[-1]:
            row.target = "another structure for another device"
            row.met = structures[0] != structures[1]
        row.note = f"widths {structures[-1]}, roofline latency, {LATENCY['steps']} steps only"
        row.more = {"options": LATENCY, "stages": report["stages"]}
        yield row


def _widths(report: dict[str, Any]) -> list[int]:
    """Of the learned structure, layer by layer."""
    structure = next(
        stage["detail"]["structure"]
        for stage in report["stages"]
        if stage.get("detail") and "structure" in stage["detail"]
    )
    return [one["after"] for one in structure.values()]
