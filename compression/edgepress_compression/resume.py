"""A compression that was interrupted goes on: what each pass left, in a folder.

    FOLDER/<identity of the run>/after-01.npz   graph, codes, stages and warnings as pass 1 left them
                                 pass-02/...    the trainings of pass 2 (training/checkpoint.py)

The identity is a digest of everything that the result depends on, so that runs of other models, recipes, data
or seeds share a folder without meeting. Files are whole at any moment; one that cannot be read counts as not
written. A run that came to its end removes its own part.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from edgepress_compression.artifact.codes import Codes, ScaledIntegers, SharedWeights
from edgepress_compression.errors import EdgepressError, TrainingError
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.state import PassState, Stage
from edgepress_compression.whole_file import write_whole

if TYPE_CHECKING:
    from edgepress_compression.data.dataset import Dataset
    from edgepress_compression.training.checkpoint import PassCheckpoints

_FORMAT = 1
_DAMAGED = (  # what reading a file raises that is empty, cut off or foreign
    OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, ValueError, LookupError,
    TypeError, AttributeError, msgspec.DecodeError, DecodeError, EdgepressError,
)  # fmt: skip


class _Facts(msgspec.Struct):
    """What is no array."""

    codes: list[dict[str, Any]]
    stages: list[Stage]
    warnings: list[str]


@dataclass(frozen=True)
class Forget:
    """Removes what a run left in its part of the folder, when called."""

    folder: Path

    def __call__(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class SavedRun:
    """The part of a folder that belongs to one run."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """`identity`: JSON-able. Raises TrainingError when the folder cannot be made."""
        text = msgspec.json.encode({"format": _FORMAT, **identity}, order="sorted")
        self._folder = folder / hashlib.sha256(text).hexdigest()[:16]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(
                f"The folder for checkpoints {folder} cannot be used: {error.strerror}. Give another one."
            ) from error
        self.forget = Forget(self._folder)

    def restore(self, state: PassState, passes: int) -> int:
        """How many of the passes are done; `state` is then as the last of them left it."""
        for done in range(passes, 0, -1):
            try:
                data = self._after(done).read_bytes()
                _restore(state, data)
            except _DAMAGED:
                continue  # not written, or damaged (zip files have checksums): an earlier one will do
            return done
        return 0

    def trainings(self, number: int) -> PassCheckpoints:
        """Where the trainings of pass `number`, from 1, write theirs."""
        from edgepress_compression.training.checkpoint import PassCheckpoints  # imports torch

        return PassCheckpoints(self._pass_folder(number))

    def save(self, state: PassState, number: int) -> None:
        """After pass `number`, whose own checkpoints are not needed any more. Raises TrainingError.

        Where several processes run the same (training/parallel.py), the first of them writes.
        """
        from edgepress_compression.training.parallel import rank  # imports torch

        if rank() > 0:
            return
        try:
            write_whole(self._after(number), _saved(state))
        except OSError as error:
            raise TrainingError(
                f"What a pass left cannot be written into {self._folder}: {error.strerror}. Free some space, "
                "or run without checkpoints."
            ) from error
        shutil.rmtree(self._pass_folder(number), ignore_errors=True)

    def _pass_folder(self, number: int) -> Path:
        return self._folder / f"pass-{number:02}"

    def _after(self, number: int) -> Path:
        return self._folder / f"after-{number:02}.npz"


def data_identity(data: Dataset | None) -> dict[str, Any] | None:
    """Of the samples that passes see, by their labels and the first inputs of each split."""
    if data is None:
        return None
    digest = hashlib.sha256()
    for split in data.splits:
        digest.update(np.ascontiguousarray(data.split(split).labels).tobytes())
        for name, array in sorted(data.split(split).fetch(np.arange(1)).items()):
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return {
        "name": data.name,
        "variant": data.variant,
        "splits": list(data.splits),
        "sha256": digest.hexdigest(),
    }


def _saved(state: PassState) -> bytes:
    arrays: dict[str, np.ndarray] = {
        "graph": np.frombuffer(state.graph.serialize(), np.uint8),
        "original": np.frombuffer(state.original.serialize(), np.uint8),
    }
    codes: list[dict[str, Any]] = []
    for number, (name, code) in enumerate(state.codes.items()):
        if isinstance(code, SharedWeights):
            arrays[f"{number}.indices"], arrays[f"{number}.codebook"] = code.indices, code.codebook
            codes.append({"name": name, "ready": list(code.ready)})
            for place, payload in enumerate(code.ready.values()):
                arrays[f"{number}.ready{place}"] = np.frombuffer(payload, np.uint8)
        else:
            arrays[f"{number}.integers"], arrays[f"{number}.scales"] = code.integers, code.scales
            codes.append({"name": name, "axis": code.axis, "trellis": code.trellis})
    facts = msgspec.json.encode(_Facts(codes, state.stages, state.warnings))
    buffer = io.BytesIO()
    np.savez(buffer, facts=np.frombuffer(facts, np.uint8), **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _restore(state: PassState, data: bytes) -> None:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        facts = msgspec.json.decode(arrays["facts"].tobytes(), type=_Facts)
        graph = Graph(onnx.load_from_string(arrays["graph"].tobytes()))
        original = Graph(onnx.load_from_string(arrays["original"].tobytes()))
        codes: dict[str, Codes] = {}
        for number, code in enumerate(facts.codes):
            if "ready" in code:
                ready = {
                    name: arrays[f"{number}.ready{place}"].tobytes()
                    for place, name in enumerate(code["ready"])
                }
                codes[code["name"]] = SharedWeights(
                    arrays[f"{number}.indices"], arrays[f"{number}.codebook"], ready
                )
            else:
                codes[code["name"]] = ScaledIntegers(
                    arrays[f"{number}.integers"], arrays[f"{number}.scales"], code["axis"], code["trellis"]
                )
    state.graph, state.original, state.codes = graph, original, codes
    state.stages, state.warnings = facts.stages, facts.warnings
