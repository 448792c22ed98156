"""Learning other classes and learning from few labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cases.case import Row, Settings, compressed, row_of
from edgepress_compression.data.dataset import Dataset, dataset_from_arrays
from edgepress_compression.recipe import Recipe, Step

TITLE = "Learning: logo recognition by transfer, few labels with self-supervision"
LOGO_TRAINING = {"steps": 150, "batch_size": 20, "learning_rate": 1e-4, "label_share": 1.0, "most_gmacs": 1e6}
LABELS_PER_CLASS = 10
UNLABELLED = 10_000
PRETRAINING = {"steps": 1500, "flip": False, "from_scratch": True, "crop": 0.5, "most_gmacs": 1e6}
FEW_TRAINING = {"steps": 400, "learning_rate": 1e-3, "label_share": 1.0, "shift": 0.1, "most_epochs": 1e6}


def measure(settings: Settings) -> Iterator[Row]:
    logos = settings.dataset("logos27")
    head = Step("new-head")
    for name, passes in {
        "new head": (head,),
        "logo-recognition": (head, Step("fine-tune", LOGO_TRAINING)),
        "logo-recognition, int8": (head, Step("fine-tune", LOGO_TRAINING), Step("int8")),
    }.items():
        report = compressed(settings, "efficientnet_lite0", Recipe(name, name, passes=passes), logos)
        yield row_of(report, case="27 logos, Lite0", target="", met=None)
    few = few_labels(settings)
    scratch = {**PRETRAINING, "steps": 1}
    for name, first in {"labels alone": scratch, "few-labels (SimCLR)": PRETRAINING}.items():
        passes = (Step("pretrain", first), Step("fine-tune", FEW_TRAINING))
        report = compressed(settings, "lenet5_caffe_mnist", Recipe(name, name, passes=passes), few)
        yield row_of(report, case="MNIST, 10 labels a class", target="", met=None)


def few_labels(settings: Settings) -> Dataset:
    """MNIST with ten labelled pictures of each digit, ten thousand without labels, and the test pictures."""
    everything = settings.dataset("mnist")
    train, test = everything.split("train"), everything.split("test")
    order = np.random.default_rng(settings.seed).permutation(len(train))
    labelled = np.concatenate([order[train.labels[order] == c][:LABELS_PER_CLASS] for c in range(10)])
    unlabelled = order[~np.isin(order, labelled)][:UNLABELLED]
    parts = {
        "train": (train, labelled),
        "unlabelled": (train, unlabelled),
        "test": (test, np.arange(len(test))),
    }
    inputs = [next(iter(split.fetch(rows).values())) for split, rows in parts.values()]
    return dataset_from_arrays(
        "mnist with few labels",
        {
            "input": np.concatenate(inputs),
            "labels": np.concatenate([split.labels[rows] for split, rows in parts.values()]),
            "split": np.repeat(list(parts), [len(rows) for _, rows in parts.values()]),
        },
    )
