"""Looks into files from strangers in a process of its own: what crashes or eats memory there hurts nobody
here.

The process is ``python -m edgepress_server.jobs.inspect_child KIND PATH [CONVERTED]``; it prints one line of
JSON.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from edgepress_compression.errors import DatasetError, EdgepressError, GraphError
from edgepress_server.errors import RateLimitedError
from edgepress_server.jobs.child_process import child_environment
from edgepress_server.store.blobs import COPY_BYTES, BlobWriter
from edgepress_server.store.models import ModelFacts, TensorFacts

log = logging.getLogger(__name__)

TIMEOUT_S = 300
_AT_ONCE = threading.BoundedSemaphore(2)  # each may take some GiB
_WAIT_S = 120


def inspect_model(path: Path, converted: BlobWriter) -> tuple[ModelFacts, bool]:
    """What is in a model file; True when it was no ONNX and ``converted`` now holds it as ONNX.

    Raises GraphError with a sentence about what is wrong with the file.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="inspect-") as folder:
        out = Path(folder) / "model.onnx"
        found = _run(GraphError, "model", str(path), str(out))
        is_converted = out.is_file()
        if is_converted:
            with out.open("rb") as file:
                while part := file.read(COPY_BYTES):
                    converted.write(part)
    tensors = {
        side: [TensorFacts(entry["name"], entry["shape"], entry["dtype"]) for entry in found[side]]
        for side in ("inputs", "outputs")
    }
    facts = ModelFacts(
        bytes=found["bytes"],
        weight_bytes=found["weight_bytes"],
        parameters=found["parameters"],
        macs=found["macs"],
        inputs=tensors["inputs"],
        outputs=tensors["outputs"],
    )
    return facts, is_converted


def inspect_dataset(path: Path, *, as_npz: str | None = None) -> tuple[str, dict[str, Any]]:
    """(task, summary) of a data set. ``as_npz``: the file is an .npz, whatever it is called, of this name.

    Raises DatasetError with a sentence about what is wrong with it.
    """
    if as_npz is None:
        found = _run(DatasetError, "dataset", str(path))
    else:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="inspect-") as folder:
            named = Path(folder) / f"{as_npz}.npz"
            named.symlink_to(path.resolve())
            found = _run(DatasetError, "dataset", str(named))
    return str(found["task"]), dict(found["summary"])


def _run(kind: type[EdgepressError], *arguments: str) -> dict[str, Any]:
    if not _AT_ONCE.acquire(timeout=_WAIT_S):
        raise RateLimitedError("busy", "The server is looking into other uploads. Try again in a minute.", 60)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edgepress_server.jobs.inspect_child", *arguments],
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            env=child_environment(threads=1),
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise kind(f"Looking into the file took longer than {TIMEOUT_S} seconds; it was given up.") from error
    finally:
        _AT_ONCE.release()
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    try:
        answer: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    except ValueError:
        answer = {}
    if "error" in answer:
        raise kind(str(answer["error"]))
    if done.returncode != 0 or "found" not in answer:
        log.error("inspection failed:\n%s", done.stderr[-8000:].decode("utf-8", "replace"))
        raise kind(
            "The file made the program that looks into it fail: it is damaged, or it needs more memory than "
            "the server "
            "has. Nothing was stored."
        )
    found: dict[str, Any] = answer["found"]
    return found
