"""Weightless on the largest dense layer of LeNet-300-100 and LeNet-5 (MNIST): what a Bloomier filter takes.

One pruned layer with 16 values (k-means), coded by every lossless coder, by the coding of Deep Compression as
published (Han et al. 2016: gaps of 5 bits with filler zeros, and values, both Huffman coded, tables counted)
and by the Bloomier filter, with no loss and as in Weightless (Reagen et al. 2018), where false positives stay
and the rest is trained around them. All have the same codebook, which is not counted. Errors are of the whole
network on the 10,000 test images, from decoded artifacts in onnxruntime; other layers are pruned and shared.

Weightless reports "up to 496x" for a layer and 1.51x over Deep Compression (its abstract), each with its own
pruning and error; those figures are not repeated here, only printed beside ours.

Goal: the filter is smaller than Huffman-coded gaps and values of the same layer at the same error. Needs the
data folder (EDGEPRESS_DATA, default ../shared/data). Exits with 1 when the goal is missed.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # read by torch: waiting threads leave the cores to others

import numpy as np
import torch

from edgepress_compression.artifact.codes import SharedWeights
from edgepress_compression.artifact.read import decode
from edgepress_compression.artifact.write import write_artifact
from edgepress_compression.codec.coder import symbol_dtype
from edgepress_compression.codec.lanes import encode_stream
from edgepress_compression.codec.registry import SYMBOL_CODERS
from edgepress_compression.data.dataset import load_dataset
from edgepress_compression.data.fit import fit
from edgepress_compression.data.spec import data_folder
from edgepress_compression.evaluate import evaluate
from edgepress_compression.expect import make_probe
from edgepress_compression.graph.load import load_model
from edgepress_compression.passes import bloomier
from edgepress_compression.passes.pruning import prune
from edgepress_compression.passes.sharing import share
from edgepress_compression.passes.sharing.kmeans import share as cluster
from edgepress_compression.passes.state import PassState
from edgepress_devices.profile import load_profile

MODELS = ("lenet_300_100_mnist", "lenet5_caffe_mnist")
LAYER = "fc1.weight"
SPARSITY = 0.96  # of the whole network, as the recipe weightless
GAP_BITS = 5  # Han et al. 2016, section 3, for dense layers


@dataclass(frozen=True)
class Row:
    coding: str
    size_bytes: int
    error: float | None  # of the whole network; None where the same as the row above says
    note: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON line last")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", choices=MODELS, action="append", help="only this one")
    parser.add_argument(
        "--price",
        type=float,
        action="append",
        help="bits a false positive is worth avoiding at; default 1 and 2",
    )
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="of torch; results may differ"
    )
    arguments = parser.parse_args()
    folder = data_folder(Path(__file__))
    if not folder.is_dir():
        print(f"There is no data folder {folder}; set EDGEPRESS_DATA to it.", file=sys.stderr)
        return 2
    torch.set_num_threads(arguments.threads)
    results = []
    for name in arguments.model or MODELS:
        result = measure(folder, name, arguments.seed, arguments.price or [1.0, 2.0])
        results.append(result)
    if arguments.json:
        print(json.dumps({"benchmark": "weightless", "seed": arguments.seed, "models": results}))
    return 0 if all(result["met"] for result in results) else 1


def measure(folder: Path, name: str, seed: int, prices: list[float]) -> dict[str, object]:
    started = time.monotonic()
    graph = load_model(folder / "models" / f"{name}.onnx")
    data = fit(
        load_dataset(Path(__file__).parent / "datasets" / "mnist.toml"),
        graph.inputs,
        graph.outputs,
        model_name=name,
    )
    state = PassState(
        graph=graph.copy(), profile=load_profile("raspberry-pi-4"), dataset=data, seed=seed, progress=say
    )
    prune.run(state, prune.Options(sparsity=SPARSITY))
    clean = cluster(state.graph.weights[LAYER], 16)
    fp32_bytes = 4 * clean.indices.size
    kept = int(np.count_nonzero(clean.codebook[clean.indices]))
    rows = [Row("fp32", fp32_bytes, error(graph.serialize(), state))]

    baseline = branch(state)
    share.run(baseline, share.Options(bits=4))
    base_error = error(shipped(baseline), baseline)
    rows += lossless(clean, base_error)
    for price in prices:
        rows += lossy(branch(state), price)
    met = report(name, rows, fp32_bytes, kept, time.monotonic() - started)
    return {
        "model": name,
        "layer": LAYER,
        "weights": clean.indices.size,
        "kept": kept,
        "rows": [asdict(row) for row in rows],
        "met": met,
    }


def say(fraction: float, message: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{fraction:4.0%} {message}", end="", file=sys.stderr)


def branch(state: PassState) -> PassState:
    """A state of its own that goes on from here."""
    made = copy.copy(state)
    made.graph, made.codes = state.graph.copy(), dict(state.codes)
    made.stages, made.warnings = list(state.stages), list(state.warnings)
    return made


def shipped(state: PassState) -> bytes:
    """The model as a device decodes it."""
    artifact = write_artifact(
        state.graph.serialize(),
        name="weightless",
        profile=state.profile.id,
        recipe={},
        provenance={},
        metadata={},
        probe=make_probe(state.graph, sample=None, seed=0),
        codes=state.codes,
    )
    return decode(artifact)


def error(model: bytes, state: PassState) -> float:
    """Fraction 0..1 of the test images that the model gets wrong."""
    assert state.dataset is not None
    return 1 - evaluate(model, state.dataset.split("test")).value


def lossless(clean: SharedWeights, base_error: float) -> list[Row]:
    symbols = clean.indices.reshape(-1).astype(symbol_dtype(len(clean.codebook)))
    zero = int(np.flatnonzero(clean.codebook == 0)[0])
    rows = [Row("Deep Compression as published", len(deep_compression(symbols, zero)), base_error)]
    for name, coder in SYMBOL_CODERS.items():
        payload = coder.encode(symbols, len(clean.codebook), clean.indices.shape)
        if payload is not None:
            out = np.empty_like(symbols)
            coder.decode(memoryview(payload), len(clean.codebook), clean.indices.shape, out)
            assert np.array_equal(out, symbols), f"{name} does not give the layer back"
            rows.append(Row(name, len(payload), base_error))
    return rows


def deep_compression(symbols: np.ndarray, zero: int) -> bytes:
    """Gaps of GAP_BITS bits and values as two Huffman streams; a longer gap gets filler zeros."""
    gaps = np.diff(np.flatnonzero(symbols != zero), prepend=-1) - 1
    room = 2**GAP_BITS  # a filler is the zero weight after room - 1 others
    ends = np.cumsum(gaps // room + 1) - 1
    stored = np.full(int(ends[-1]) + 1, room - 1)
    stored[ends] = gaps % room
    values = np.full(len(stored), zero, np.int64)
    values[ends] = symbols[symbols != zero]
    return encode_stream(stored) + encode_stream(values)


def lossy(state: PassState, price: float) -> list[Row]:
    """Weightless at one price, whatever it loses: the error is printed beside it."""
    options = bloomier.Options(layers=(LAYER,), prices=(price,), smaller_than="gaps", most_lost_points=100.0)
    bloomier.run(state, options)
    code = state.codes.get(LAYER)
    if not isinstance(code, SharedWeights):
        return [Row(f"bloomier, Weightless, price {price:g}", 0, None, state.stages[-1].note or "")]
    share.run(state, share.Options(bits=4))
    note = (state.stages[-2].note or "").split("; ")[-1]
    size_bytes = len(code.ready["bloomier"])
    return [Row(f"bloomier, Weightless, price {price:g}", size_bytes, error(shipped(state), state), note)]


def report(name: str, rows: list[Row], fp32_bytes: int, kept: int, seconds: float) -> bool:
    """Prints the table; whether the exact filter is smaller than both codings of gaps and values."""
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    by_coding = {row.coding: row for row in rows}
    rivals = by_coding["Deep Compression as published"], by_coding["gaps"]
    met = all(by_coding["bloomier"].size_bytes < rival.size_bytes for rival in rivals)
    print(f"\n{name}, {LAYER}: {fp32_bytes // 4:,} weights, {kept:,} kept; {seconds:.0f} s")
    print(f"  {'coding':<34}{'bytes':>10}{'bits/kept':>11}{'of fp32':>10}{'error':>9}")
    for row in rows:
        if row.size_bytes == 0:
            print(f"  {row.coding:<34}{row.note}")
            continue
        wrong = "" if row.error is None else f"{row.error:.2%}"
        print(
            f"  {row.coding:<34}{row.size_bytes:>10,}{8 * row.size_bytes / kept:>11.2f}"
            f"{fp32_bytes / row.size_bytes:>9.1f}x{wrong:>9}  {row.note}"
        )
    print("  (Weightless, abstract: up to 496x of fp32, up to 1.51x smaller than Deep Compression)")
    print(f"  goal, the exact filter below gaps and values at the same error: {'met' if met else 'MISSED'}")
    return met


if __name__ == "__main__":
    sys.exit(main())
