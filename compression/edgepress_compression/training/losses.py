"""What fine-tuning lowers: the distance to the labels, to the original model's answers, or to both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edgepress_compression.errors import TrainingError
from edgepress_compression.graph.model import Graph
from edgepress_compression.training.parallel import mean_over_all

_SMALLEST_PROBABILITY = 1e-9  # its logarithm stands for the logit of 0
_PASS_THROUGH = {"Identity", "Flatten", "Reshape", "Squeeze"}


@dataclass(frozen=True)
class Loss:
    """`loss(outputs, labels, answers)` -> scalar, lower is better.

    `answers` are the original model's outputs on the same batch, by name. With `label_share` 0 labels are
    never looked at, with 1 the answers are not. Classification: cross-entropy with the labels, and
    Kullback-Leibler divergence from the answers softened by `temperature` (Hinton, Vinyals, Dean 2015,
    section 2). Any other task: squared distance to the answers, in units of their own variance.
    """

    classification: bool
    label_share: float
    output: str  # the output that holds the class scores
    probabilities: bool  # whether that output already went through a softmax
    temperature: float = 2.0
    classes: int | None = None  # None where the model does not say

    def __call__(
        self, outputs: Mapping[str, Tensor], labels: Tensor, answers: Mapping[str, Tensor]
    ) -> Tensor:
        if not self.classification:
            distances = [relative_distance(outputs[name], answers[name]) for name in answers]
            return torch.stack(distances).mean()
        logits = self.logits(outputs[self.output])  # (batch, classes)
        total = logits.new_zeros(())
        if self.label_share > 0:
            total = total + self.label_share * F.cross_entropy(logits, labels)
        if self.label_share < 1:
            t = self.temperature
            target = F.log_softmax(self.logits(answers[self.output]) / t, dim=1)
            softened = F.log_softmax(logits / t, dim=1)
            divergence = F.kl_div(softened, target, reduction="batchmean", log_target=True)
            total = total + (1 - self.label_share) * t * t * divergence
        return total

    def check_labels(self, labels: np.ndarray, rows: np.ndarray) -> None:
        """Raises TrainingError when a label of these rows is no class of the model. Not asked where labels
        are not looked at, or where the number of classes is not known before the model runs."""
        if not self.classification or self.label_share == 0 or self.classes is None or not len(rows):
            return
        chosen = np.asarray(labels)[rows]
        wrong = np.flatnonzero((chosen < 0) | (chosen >= self.classes))
        if len(wrong):
            raise TrainingError(
                f"Sample {rows[wrong[0]]} has the label {chosen[wrong[0]]}, and the model has the classes 0 "
                f"to {self.classes - 1} ({len(wrong)} such samples). Correct the labels, or give a model "
                "with more classes."
            )

    def logits(self, output: Tensor) -> Tensor:
        """Class scores (batch, classes) that a softmax turns into probabilities."""
        scores = output.reshape(output.shape[0], -1)
        return scores.clamp(min=_SMALLEST_PROBABILITY).log() if self.probabilities else scores


def loss_for(graph: Graph, task: str, *, label_share: float, temperature: float = 2.0) -> Loss:
    """The loss that fits the model and the data set's task."""
    output = graph.outputs[0].name
    return Loss(
        classification=task == "classification",
        label_share=label_share if task == "classification" else 0.0,
        output=output,
        probabilities=_ends_in_softmax(graph, output),
        temperature=temperature,
        classes=_classes(graph),
    )


def _classes(graph: Graph) -> int | None:
    """Scores in the first output, where its shape is fixed but for the batch."""
    sides = graph.outputs[0].shape[1:]
    known = [side for side in sides if isinstance(side, int)]
    return math.prod(known) if known and len(known) == len(sides) else None


def correct_answers(outputs: Mapping[str, np.ndarray], output: str, labels: np.ndarray) -> int:
    """How many samples have their highest score at their label."""
    scores = outputs[output].reshape(len(labels), -1)
    return int((scores.argmax(axis=1) == labels).sum())


def relative_distance(output: Tensor, answer: Tensor) -> Tensor:
    """Mean square, in units of the answer's variance over the whole batch; a scalar."""
    mean = mean_over_all(answer.mean(), answer.numel())
    scale = mean_over_all((answer - mean).square().mean(), answer.numel()).clamp(min=1e-12)
    return F.mse_loss(output, answer) / scale


def _ends_in_softmax(graph: Graph, output: str) -> bool:
    makers = {name: node for node in graph.proto.graph.node for name in node.output}
    node = makers.get(output)
    while node is not None and node.op_type in _PASS_THROUGH:
        node = makers.get(node.input[0])
    return node is not None and node.op_type == "Softmax"
