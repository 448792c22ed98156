"""What looking at a request for drift costs: processor time of a look, by kind of input.

python tests/benchmarks/drift_cost.py
"""

import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from edgepress_agent.sketch import Sketch
from edgepress_compression.artifact import looks
from edgepress_compression.artifact.baseline import Answer, Baseline, Feature

LOOKS = 3000
CASES: list[tuple[str, tuple[int, ...], str, int]] = [  # what, shape, type, classes
    ("digits 1x8x8", (1, 1, 8, 8), "float32", 10),
    ("MNIST 1x28x28", (1, 1, 28, 28), "float32", 10),
    ("CIFAR-10 3x32x32", (1, 3, 32, 32), "float32", 10),
    ("ImageNet 3x224x224", (1, 3, 224, 224), "float32", 1000),
    ("uint8 224x224x3", (1, 224, 224, 3), "uint8", 1000),
    ("log-mel 1x40x98", (1, 1, 40, 98), "float32", 10),
    ("audio 16000", (1, 16000), "float32", 10),
    ("table of 32 columns", (1, 32), "float32", 2),
    ("64 tokens", (1, 64), "int64", 2),
]


def microseconds(work: Callable[[], Any]) -> float:
    """Of processor time, the mean of many runs."""
    for _ in range(100):
        work()
    began_ns = time.thread_time_ns()
    for _ in range(LOOKS):
        work()
    return (time.thread_time_ns() - began_ns) / LOOKS / 1000


def main() -> None:
    rng = np.random.default_rng(0)
    print(f"{platform.machine()}, {LOOKS} looks each, us of processor time")
    for what, shape, dtype, classes in CASES:
        high = 20_000 if dtype == "int64" else 256
        x = rng.integers(1, high, shape).astype(dtype)
        chosen = looks.choose_looks({"x": x})
        names = looks.feature_names(chosen, {"x": x})
        edges = tuple(float(edge) for edge in range(9))
        features = tuple(Feature(name, edges, (10,) * 10) for name in names)
        answer = Answer("y", "logits", (1,) * classes, (1,) * 20)
        sketch = Sketch(Baseline(rows=100, looks=chosen, features=features, answer=answer))
        feeds, results = {"x": x}, {"y": rng.normal(size=(1, classes)).astype(np.float32)}
        took_us = microseconds(lambda s=sketch, f=feeds, r=results: s.look(f, r))  # type: ignore[misc]
        print(f"{what:22}{chosen[0].kind:9}{len(names):3} features {took_us:8.1f}")


if __name__ == "__main__":
    main()
