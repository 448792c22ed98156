"""How much memory a model takes, measured in a fresh process: `python -m edgepress_compression.footprint
< MODEL`.

Prints one JSON line: resident bytes before the model is loaded, and at most while and after it ran.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import psutil

from edgepress_compression.errors import GraphError

TIMEOUT_S = 120
RUNS = 3


def resident_bytes(onnx_bytes: bytes, feed: Mapping[str, np.ndarray], *, threads: int = 1) -> int:
    """Bytes by which a process grows that loads the model and runs it on inputs of these shapes.

    Raises GraphError when the model does not run there.
    """
    spec = {"threads": threads, "inputs": {n: [list(a.shape), a.dtype.name] for n, a in feed.items()}}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edgepress_compression.footprint", json.dumps(spec)],
            input=onnx_bytes,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise GraphError(
            "The model did not run in a process of its own, where its memory is measured."
        ) from error
    figures: dict[str, int] = json.loads(done.stdout)
    return max(0, figures["after"] - figures["before"])


def _measure(spec: dict[str, Any]) -> dict[str, int]:
    from edgepress_compression.evaluate import open_session, run

    process = psutil.Process()
    before = process.memory_info().rss
    model = sys.stdin.buffer.read()
    feed = {name: np.zeros(shape, dtype) for name, (shape, dtype) in spec["inputs"].items()}
    session = open_session(model, threads=spec["threads"])
    del model  # onnxruntime has copied what it keeps
    after = process.memory_info().rss
    for _ in range(RUNS):
        run(session, feed)
        after = max(after, process.memory_info().rss)
    return {"before": before, "after": after}


if __name__ == "__main__":
    print(json.dumps(_measure(json.loads(sys.argv[1]))))
