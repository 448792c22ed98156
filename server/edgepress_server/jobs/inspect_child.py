"""The process that looks into one file: ``inspect_child model PATH CONVERTED`` or ``inspect_child dataset
PATH``.

Prints one line: ``{"found": {...}}`` or ``{"error": "a sentence"}``. A .pt2 is written to CONVERTED as ONNX.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from edgepress_compression.errors import EdgepressError
from edgepress_server.jobs.child_process import settle_in

_ZIP = b"PK\x03\x04"  # how a .pt2 begins
MAX_CLASSES_LISTED = 1000


def look_at_model(path: Path, converted: Path) -> dict[str, Any]:
    """The facts of `store.models.ModelFacts`. Raises GraphError."""
    from edgepress_compression.graph.inspect import summarize
    from edgepress_compression.graph.load import load_model

    graph = load_model(path)
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(_ZIP)) == _ZIP:
            size_bytes = converted.write_bytes(graph.serialize())
    summary = summarize(graph)
    return {
        "bytes": size_bytes,
        "weight_bytes": summary.weight_bytes,
        "parameters": summary.parameters,
        "macs": summary.macs,
        "inputs": summary.inputs,
        "outputs": summary.outputs,
    }


def look_at_dataset(path: Path) -> dict[str, Any]:
    """{task, summary}. Raises DatasetError."""
    from edgepress_compression.data.dataset import load_dataset

    dataset = load_dataset(path)
    summary = {
        "splits": {name: len(dataset.split(name)) for name in dataset.splits},
        "inputs": list(dataset.inputs),
        "classes": None if dataset.class_names is None else list(dataset.class_names[:MAX_CLASSES_LISTED]),
    }
    return {"task": dataset.task, "summary": summary}


def main() -> None:
    settle_in()
    kind, *paths = sys.argv[1:]
    try:
        found = look_at_model(*map(Path, paths)) if kind == "model" else look_at_dataset(*map(Path, paths))
    except EdgepressError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    print(json.dumps({"found": found}), flush=True)


if __name__ == "__main__":
    main()
