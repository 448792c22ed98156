"""Ours against Torch-Pruning 1.6.1 on the same models: channels cut to 75 % of the work at once, nothing
trained.

Torch-Pruning ranks groups by the L2 norm of their weights, in each layer or over all (both are run, the
better one is shown). Ours is given the work that Torch-Pruning left, or 75 % where it fails: once by
magnitude alone, and once as `prune-channels` does it, by Fisher information and with the layers refitted,
which looks at training inputs without their labels. Ours is judged on the decoded artifact.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch_pruning_peer as peer

from cases.case import MissingPeer, Row, Settings
from edgepress_compression.compress import compress
from edgepress_compression.data.dataset import Dataset, Split
from edgepress_compression.data.fit import fit
from edgepress_compression.evaluate import BATCH_SIZE, evaluate
from edgepress_compression.graph import Graph, load_model
from edgepress_compression.graph.channels import ChannelGroup, cut
from edgepress_compression.graph.width_cost import WidthCost
from edgepress_compression.metric import MeanAveragePrecision, Top1
from edgepress_compression.passes.calibration_rows import calibration_rows
from edgepress_compression.passes.pruning.channels import free_groups, unit_scores
from edgepress_compression.passes.pruning.channels_choose import choose_units, least_units
from edgepress_compression.passes.pruning.channels_refit import refit
from edgepress_compression.passes.pruning.channels_score import Saliency
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import batch_limit
from edgepress_devices.profile import load_profile

TITLE = "Torch-Pruning 1.6.1 on the same models, at equal FLOPs, without fine-tuning"
FRACTION = 0.75  # of the multiply-accumulates
TARGET = "works, and no less accurate than Torch-Pruning at equal FLOPs"
SAMPLES = 1000  # of the training split, to score by and to refit; more than a layer has inputs
MODELS = (  # of the data folder, and its data set
    ("resnet20_cifar10", "cifar10"),
    ("vgg_small_cifar10", "cifar10"),
    ("squeezenet1.1", "imagenet_sample"),
    ("efficientnet_lite0", "imagenet_sample"),
    ("FastestDet", "coco"),
    ("dscnn_fsdd", "fsdd"),
    ("lenet5_caffe_mnist", "mnist"),
    ("minilm3_sst2", "sst2"),
)


@dataclass(frozen=True)
class _Model:
    name: str
    graph: Graph
    dataset: Dataset  # as its file says
    fitted: Dataset
    metric: str
    before: float

    @property
    def test(self) -> Split:
        return self.fitted.split("test")


def measure(settings: Settings) -> Iterator[Row]:
    if not peer.available():
        raise MissingPeer(
            "This case compares with Torch-Pruning; install it: .venv/bin/pip install torch-pruning==1.6.1"
        )
    for name, dataset_name in MODELS:
        model = _opened(settings, name, dataset_name)
        theirs, fraction = _their_row(model)
        yield theirs
        yield _our_row(settings, model, fraction, "magnitude", theirs.after)
        yield _our_row(settings, model, fraction, "fisher", theirs.after)


def _opened(settings: Settings, name: str, dataset_name: str) -> _Model:
    graph = load_model(settings.model(name))
    dataset = settings.dataset(dataset_name)
    fitted = fit(dataset, graph.inputs, graph.outputs, model_name=name)
    before = evaluate(graph.serialize(), fitted.split("test"))
    return _Model(name, graph, dataset, fitted, before.metric, before.value)


def _their_row(model: _Model) -> tuple[Row, float]:
    """The better of both rankings, and the fraction of the work that is left."""
    started = time.monotonic()
    row = Row(
        case=model.name, method="Torch-Pruning, L2", target="", met=None, metric=model.metric,
        before=model.before,
    )  # fmt: skip
    best: tuple[float, float, str] | None = None
    problem = ""
    for everywhere in (False, True):
        try:
            network, left = peer.pruned(model.graph, FRACTION, everywhere=everywhere)
            accuracy = _accuracy(network, model)
        except peer.FAILURES as error:
            problem = f"fails: {type(error).__name__}: {str(error).splitlines()[0][:60]}"
            continue
        ranked = "over all layers" if everywhere else "in each layer"
        if best is None or accuracy > best[0]:
            best = accuracy, left, ranked
    row.seconds = time.monotonic() - started
    if best is None:
        row.note = problem
        return row, FRACTION
    row.after, left, ranked = best
    row.lost_points, row.flops_ratio = 100 * (model.before - best[0]), 1 / left
    row.note = f"ranked {ranked}" + (f"; the other {problem}" if problem else "")
    return row, left


def _accuracy(network: peer.Network, model: _Model) -> float:
    """On the test split, in torch."""
    names = [value.name for value in model.graph.inputs]
    test = model.test
    metric = Top1() if test.decode is None else MeanAveragePrecision(test.decode)
    fixed = model.graph.inputs[0].shape[0]
    for feed, labels in test.batches(fixed if isinstance(fixed, int) else BATCH_SIZE):
        metric.add(peer.answers(network, feed, names), labels)
    return metric.result().value


def _our_row(
    settings: Settings, model: _Model, fraction: float, saliency: Saliency, theirs: float | None
) -> Row:
    started = time.monotonic()
    state = PassState(
        graph=model.graph, profile=load_profile("x86-pc"), dataset=model.fitted, seed=settings.seed
    )
    small = _cut(state, fraction, saliency)
    seconds = time.monotonic() - started
    report = compress(
        small, recipe="none", profile=state.profile, dataset=model.dataset, seed=settings.seed,
        model_name=model.name, latency_seconds=settings.seconds,
    ).report  # fmt: skip
    after = report["accuracy"]["after"]
    macs, before = small.macs(), model.graph.macs()
    assert macs is not None and before is not None
    fisher = saliency == "fisher"
    return Row(
        case=model.name,
        method="Fisher, refitted" if fisher else "magnitude, in each",
        target=TARGET if fisher else "",
        met=(theirs is None or after >= theirs) if fisher else None,
        metric=model.metric,
        before=model.before,
        after=after,
        lost_points=100 * (model.before - after),
        artifact_bytes=report["bytes"]["artifact"],
        flops_ratio=before / macs,
        seconds=seconds,
        note=("inputs of the training split, no labels" if fisher else "no data")
        + ("; too much at once for this model: train after the cut" if after < model.before / 2 else ""),
    )


def _cut(state: PassState, fraction: float, saliency: Saliency) -> Graph:
    """At most `fraction` of the work, every group at least a tenth of its units."""
    graph = state.graph
    groups = free_groups(graph)
    rows = None if saliency == "magnitude" else calibration_rows(state, SAMPLES)
    scores = unit_scores(state, groups, rows, saliency=saliency, samples=SAMPLES)
    cost = WidthCost(graph, groups, "flops", None)
    target = fraction * cost.cost({})
    if saliency == "magnitude":
        kept = _same_share(groups, scores, cost, target)
    else:
        kept = choose_units(groups, scores, cost, target, least=least_units(groups, 0.1))
        _put_back(kept, scores, cost, target)
    small = cut(graph, kept)
    if rows is not None:
        batch = batch_limit(graph, 32)
        refit(
            graph,
            small,
            groups,
            kept,
            rows.fetch,
            rows.rows,
            batch_size=batch,
            seed=state.seed,
        )
    return small


def _put_back(
    kept: dict[str, np.ndarray], scores: dict[str, np.ndarray], cost: WidthCost, target: float
) -> None:
    """The last step of the choice may save more than was asked; the best units that fit come back, so that
    both sides are compared at equal work.
    """
    dropped = {name: float((~mask).sum()) for name, mask in kept.items()}
    gone = sorted(
        ((scores[name][unit], name, unit) for name, mask in kept.items() for unit in np.flatnonzero(~mask)),
        reverse=True,
    )
    for _, name, unit in gone:
        fewer = {**dropped, name: dropped[name] - 1}
        if cost.cost(fewer) <= target:
            kept[name][unit], dropped = True, fewer


def _same_share(
    groups: Sequence[ChannelGroup], scores: Mapping[str, np.ndarray], cost: WidthCost, target: float
) -> dict[str, np.ndarray]:
    """The same share of every group goes, as Torch-Pruning does in each layer."""
    low, high = 0.0, 0.9
    for _ in range(20):
        share = (low + high) / 2
        dropped = {group.name: float(int(share * group.units)) for group in groups}
        low, high = (low, share) if cost.cost(dropped) <= target else (share, high)
    return {
        group.name: np.argsort(np.argsort(scores[group.name], kind="stable")) >= int(high * group.units)
        for group in groups
    }
