"""Writes the artifacts of the current version that stay in tests/fixtures for ever: once, before its release.

    python tests/compression/make_fixtures.py FOLDER

A released version's files are never written again: what reads them is changed until it does.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
from small_artifacts import model, pruned, write

from edgepress_compression.artifact.choose import choose
from edgepress_compression.artifact.codes import ScaledIntegers
from edgepress_compression.artifact.format import Header, TensorEntry
from edgepress_compression.artifact.head import write_front
from edgepress_compression.artifact.holes import find_holes
from edgepress_compression.artifact.probe import Probe, ProbeInput, ProbeOutput
from edgepress_compression.artifact.read import decode, tensors
from edgepress_compression.artifact.write import seal
from edgepress_compression.codec.trellis import untangle


def every_coding():
    """(ONNX file, artifact) with a tensor for each coding and each form."""
    rng = np.random.default_rng(11)
    indices, codebook = pruned((60, 50), 0.1, 15, seed=11)
    steps = np.rint(rng.laplace(0, 3, (24, 5, 3, 3))).astype(np.int32)
    lowest, fine = int(steps.min()), np.empty(steps.size, np.int32)
    untangle((steps - lowest).reshape(-1).astype(np.uint8), lowest, steps.shape, 0, fine)
    codes = {
        "grid": ScaledIntegers(steps, np.full(1, 0.01, np.float32)),
        "rows": ScaledIntegers(steps, rng.uniform(0.01, 0.02, 24).astype(np.float32)),
        "last": ScaledIntegers(steps, rng.uniform(0.01, 0.02, 3).astype(np.float32), 3),
        "trellis": ScaledIntegers(fine.reshape(steps.shape), np.full(1, 0.005, np.float32), 0, trellis=True),
    }
    many = np.sort(rng.normal(0, 0.1, 400)).astype(np.float32)
    weights = {
        "raw": np.frombuffer(rng.bytes(400), "<i4"),
        "deflate": np.arange(200) // 3,
        "planes": rng.normal(0, 0.1, (20, 30)).astype(np.float32),
        "floats": rng.normal(0, 0.1, (20, 31)).astype(np.float32),
        "text": np.arange(200),
        "huffman": np.rint(rng.normal(0, 20, (30, 30))).astype(np.int8),
        "gaps": codebook[indices],
        "rans": many[np.rint(rng.normal(200, 40, 3000)).clip(0, 399).astype(int)],
        "bloomier": codebook[np.where(indices > 8, indices, 0)],
        "context": codebook[indices[::-1]],
        **{name: code.weights() for name, code in codes.items()},
        "float16": rng.normal(0, 0.1, 300).astype(np.float16),
        "double": rng.normal(0, 0.1, 60),
        "large": np.repeat(np.arange(20, dtype=np.float16).astype(np.float32), 14_000),  # two blocks
    }
    codings = {name: name for name in weights} | dict.fromkeys(codes, "rans")
    codings |= {
        "rows": "huffman",
        "trellis": "context",
        "float16": "floats",
        "double": "planes",
        "large": "deflate",
    }
    onnx_model = model(weights)
    return onnx_model, written(onnx_model, codings, codes)


def written(onnx_model, codings, codes):
    """As write_artifact, with a coding for each tensor."""
    skeleton, entries, sections, at = b"", [], [], 0
    for hole in find_holes(onnx_model):
        data = onnx_model[hole.start : hole.stop]
        coding = codings[hole.name]
        choice = choose(data, hole, coding, codes.get(hole.name))
        if choice.coding != coding:
            raise SystemExit(f"{hole.name} took {choice.coding}; give it weights that suit {coding}")
        sections.append(seal(choice.body))
        stored = len(sections[-1])
        skip = hole.start - at
        entries.append(TensorEntry(hole.name, hole.dtype, hole.shape, coding, choice.values, stored, skip))
        skeleton += onnx_model[at : hole.start]
        at = hole.stop
    skeleton += onnx_model[at:]
    header = Header(
        name="every-coding",
        profile="generic-x86",
        recipe={"name": "none", "coding": "auto"},
        provenance={"tool": "edgepress"},
        metadata={"task": "none", "labels": ["caf\u00e9", "\u8336"]},
        probe=Probe(
            inputs=(
                ProbeInput(name="x", shape=(1, 784), dtype="float32", kind="normal", low=-1.0, high=1.0),
            ),
            outputs=(ProbeOutput(name="y", shape=(1, 784), positions=(0, 783), values=(0.25, -0.5)),),
        ),
        onnx_bytes=len(onnx_model),
        onnx_sha256=hashlib.sha256(onnx_model).hexdigest(),
        tensors=tuple(entries),
    )
    return write_front(header, skeleton) + b"".join(sections)


def every_change(onnx_model):
    """(ONNX file, delta) with a tensor for each coding of a delta, and for each form of symbols."""
    rng = np.random.default_rng(12)
    indices, codebook = pruned((60, 50), 0.1, 15, seed=11)
    before = {hole.name: onnx_model[hole.start : hole.stop] for hole in find_holes(onnx_model)}
    old = {
        name: np.frombuffer(before[name], "<f4").reshape(24, 5, 3, 3) for name in ("grid", "rows", "trellis")
    }
    # Whole numbers a little off the old ones, on coarser and finer grids.
    scales = rng.uniform(0.012, 0.017, 24).astype(np.float32)
    rows = np.rint(old["rows"] / scales[:, None, None, None]).astype(np.int32)
    steps = np.rint(np.rint(old["trellis"] / np.float32(0.011))).astype(np.int32)
    fine = np.empty(steps.size, np.int32)
    lowest = int(steps.min())
    untangle((steps - lowest).reshape(-1).astype(np.uint8), lowest, steps.shape, 0, fine)
    codes = {
        "grid": ScaledIntegers(
            np.rint(old["grid"] / 0.0137).astype(np.int32), np.full(1, 0.0137, np.float32)
        ),
        "rows": ScaledIntegers(rows, scales),
        "trellis": ScaledIntegers(fine.reshape(steps.shape), np.full(1, 0.0055, np.float32), 0, trellis=True),
    }
    ints = np.frombuffer(before["huffman"], np.int8).reshape(30, 30)
    gaps = np.where(rng.random(indices.shape) < 0.02, (indices + 1) % 16, indices)
    weights = {
        "large": np.frombuffer(before["large"], "<f4"),
        "planes": np.frombuffer(before["planes"], "<f4").reshape(20, 30) * np.float32(1.0001),
        "gaps": codebook[gaps],
        "huffman": ints + (rng.random(ints.shape) < 0.05).astype(np.int8),
        # Retrained values: the nearest ones tell which index each was.
        "rans": np.sort(np.unique(np.frombuffer(before["rans"], "<f4")) * np.float32(1.03))[
            np.unique(np.frombuffer(before["rans"], "<f4"), return_inverse=True)[1]
        ],
        "context": codebook[np.where(indices[::-1] == 3, 4, indices[::-1])],
        **{name: code.weights() for name, code in codes.items()},
        "new": np.frombuffer(rng.bytes(500), "<i4"),
    }
    new = model(weights)
    return new, write(new, base=onnx_model, codes=codes, coding="small")


def main():
    folder = Path(sys.argv[1])
    whole, artifact = every_coding()
    changed, delta = every_change(whole)
    if decode(artifact) != whole or decode(delta, base=whole) != changed:
        raise SystemExit("these artifacts do not decode to their models")
    for name, data, onnx_model in (("version-2", artifact, whole), ("version-2-delta", delta, changed)):
        folder.joinpath(f"{name}.epa").write_bytes(data)
        print(name, len(data), hashlib.sha256(onnx_model).hexdigest())
        print(*(f"    {entry.name}: {entry.coding} {entry.values}" for entry in tensors(data)), sep="\n")


if __name__ == "__main__":
    main()
