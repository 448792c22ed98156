"""The process that works out what a runtime executes: ``executed_child model|artifact PATH LAYOUT``.

Prints one line: the JSON of an ExecutedModel, or ``{"error": "a sentence"}``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgepress_compression.errors import EdgepressError, GraphError
from edgepress_server.jobs.child_process import settle_in
from edgepress_server.predict.executed_model import OPERATORS_MAX, ExecutedModel, encode


def look(kind: str, path: Path, layout: str) -> ExecutedModel:
    """Raises GraphError or ArtifactError, with what is wrong."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    from edgepress_compression.graph.executed import executed

    model = path.read_bytes()
    if kind == "artifact":
        from edgepress_compression.artifact.read import decode

        model = decode(model)
    try:
        found = executed(model, layout=layout)
    except DecodeError as error:
        raise GraphError("The file is no ONNX model, or it is damaged.") from error
    if len(found.operators) > OPERATORS_MAX:
        raise GraphError(
            f"A runtime executes {len(found.operators):,} operators of this model; at most {OPERATORS_MAX:,} "
            "can be looked at one by one."
        )
    return ExecutedModel(
        operators=list(found.operators),
        weight_bytes=found.weight_bytes,
        peak_activation_bytes=found.peak_activation_bytes,
    )


def main() -> None:
    settle_in()
    kind, path, layout = sys.argv[1:]
    try:
        found = encode(look(kind, Path(path), layout))
    except EdgepressError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    sys.stdout.buffer.write(found + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
