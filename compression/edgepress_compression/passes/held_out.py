"""Training samples that are never trained on say whether a pass went too far. The test split is not asked."""

from __future__ import annotations

from edgepress_compression.executor import Executor
from edgepress_compression.passes.training_data import TrainingData
from edgepress_compression.training.loop import top1


class HeldOut:
    """Remembers the accuracy of `executor` as it is when this is made."""

    def __init__(self, executor: Executor, data: TrainingData, output: str, most_lost_points: float) -> None:
        self._data, self._output = data, output
        self._least = self.accuracy(executor) - most_lost_points / 100

    def accuracy(self, executor: Executor) -> float:
        """Fraction 0..1 of the held-out samples with their highest score at the label."""
        return top1(executor, self._data.split, self._data.held_out, self._output)

    def accepts(self, accuracy: float) -> bool:
        """Whether no more than the allowed points are lost."""
        return accuracy >= self._least
