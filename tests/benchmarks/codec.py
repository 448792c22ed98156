"""Bytes and speed of every coder on the same weights, peers in the same run, against the codec's targets.

Each set is whole numbers made from a model's weights (codec_sets.py), named by a SHA-256, so that figures
from different runs can be compared. Sizes count everything that a decoder needs but the codebooks; every
round trip is asserted. Decoding is timed on one core: the best of several runs, and beside it how far the
median lies above (the machine's noise). "shuffled" is the smallest mode on the same numbers in a random order
inside each tensor: what is lost there is what structure gave.

Models come from the data folder (EDGEPRESS_DATA, default ../shared/data); without it the sets are synthetic.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import codec_peers
import codec_wasm
import numpy as np
from codec_sets import Set, sets
from numpy.typing import NDArray

from edgepress_compression.artifact.choose import SLOW
from edgepress_compression.artifact.probe import Probe
from edgepress_compression.artifact.read import decode
from edgepress_compression.artifact.write import write_artifact
from edgepress_compression.codec import native
from edgepress_compression.codec.registry import SYMBOL_CODERS
from edgepress_compression.data.spec import data_folder

RUNS_MAX = 9
SECONDS_A_CODER = 2.0  # stop repeating after this
FAST = tuple(name for name in SYMBOL_CODERS if name not in SLOW)
# NNCodec on the same tensors (the design page's table), for machines without it.
NNCODEC_BYTES = {
    "SqueezeNet 1.0, authors' file": 506_819,
    "SqueezeNet 1.1, 35 %, 5-bit": 328_699,
    "LeNet-300-100, 8 %, 4-bit": 16_791,
    "LeNet-5, 8 %, 4-bit": 33_059,
    "ResNet-20, 30 %, 4-bit": 58_192,
    "EfficientNet-Lite0, 8-bit": 3_436_303,
    "MiniLM-3, 6-bit": 3_531_615,
}

Coded = list[tuple[str, bytes]]  # a tensor each: the coder's name and its payload


@dataclass(frozen=True)
class Row:
    """One coder on one set; speeds in M weights/s on one core."""

    coder: str
    size_bytes: int
    encode_mweights_s: float | None
    decode_mweights_s: float | None
    decode_noise: float | None  # (median - best) / best


@dataclass(frozen=True)
class Timing:
    best_s: float
    noise: float


def timed(run: Callable[[], object]) -> Timing:
    """The best of several runs, and how far their median lies above it."""
    seconds: list[float] = []
    began = time.perf_counter()
    while len(seconds) < RUNS_MAX and (not seconds or time.perf_counter() - began < SECONDS_A_CODER):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return Timing(min(seconds), statistics.median(seconds) / min(seconds) - 1)


def measure(of: Set) -> tuple[list[Row], Coded, Coded]:
    """All rows of a set, and what the fast and the smallest mode chose."""
    coded: dict[str, list[bytes | None]] = {}
    encode_s: dict[str, float] = {}
    for name, coder in SYMBOL_CODERS.items():
        start = time.perf_counter()
        coded[name] = [
            coder.encode(tensor, alphabet, shape)
            for tensor, alphabet, shape in zip(of.tensors, of.alphabets, of.shapes, strict=True)
        ]
        encode_s[name] = time.perf_counter() - start
    rows = []
    for name, payloads in coded.items():
        # A coder that declines a tensor (gaps of dense ones) leaves it to Huffman.
        filled = [
            (name, payload) if payload is not None else ("huffman", coded["huffman"][place] or b"")
            for place, payload in enumerate(payloads)
        ]
        if any(payload is not None for payload in payloads):
            rows.append(row(f"{name}", of, filled, encode_s[name]))
    fast, small = choose(coded, FAST), choose(coded, tuple(SYMBOL_CODERS))
    rows.append(row("= fast mode", of, fast, sum(encode_s[name] for name in FAST)))
    rows.append(row("= smallest mode", of, small, sum(encode_s.values())))
    return rows + [peer_row(peer, of) for peer in codec_peers.installed()], fast, small


def choose(coded: dict[str, list[bytes | None]], names: tuple[str, ...]) -> Coded:
    """The fewest bytes for each tensor."""
    chosen = []
    for place in range(len(next(iter(coded.values())))):
        offers = [(name, payload) for name in names if (payload := coded[name][place]) is not None]
        chosen.append(min(offers, key=lambda offer: len(offer[1])))
    return chosen


def row(label: str, of: Set, coded: Coded, encode_s: float) -> Row:
    outs: list[NDArray[Any]] = [np.empty_like(tensor) for tensor in of.tensors]

    def run() -> None:
        for (name, payload), alphabet, shape, out in zip(coded, of.alphabets, of.shapes, outs, strict=True):
            SYMBOL_CODERS[name].decode(memoryview(payload), alphabet, shape, out)

    timing = timed(run)
    for out, tensor in zip(outs, of.tensors, strict=True):
        assert np.array_equal(out, tensor), f"{label} does not give {of.name} back"
    size = sum(len(payload) for _, payload in coded)
    return Row(label, size, of.weights / encode_s / 1e6, of.weights / timing.best_s / 1e6, timing.noise)


def peer_row(peer: codec_peers.Peer, of: Set) -> Row:
    tensors = [tensor.reshape(shape) for tensor, shape in zip(of.tensors, of.shapes, strict=True)]
    start = time.perf_counter()
    coded = [peer.encode(tensor) for tensor in tensors]
    encode_s = time.perf_counter() - start
    for payload, tensor in zip(coded, tensors, strict=True):
        assert np.array_equal(peer.decode(payload, tensor), tensor), f"{peer.name} does not give back"
    timing = timed(
        lambda: [peer.decode(payload, tensor) for payload, tensor in zip(coded, tensors, strict=True)]
    )
    size = sum(peer.size(payload) for payload in coded)
    return Row(peer.name, size, of.weights / encode_s / 1e6, of.weights / timing.best_s / 1e6, timing.noise)


def shuffled_bytes(of: Set) -> int:
    """What the smallest mode takes when nothing but the counts of symbols is left."""
    mixed = of.shuffled()
    coded = {
        name: [
            coder.encode(tensor, alphabet, shape)
            for tensor, alphabet, shape in zip(mixed.tensors, mixed.alphabets, mixed.shapes, strict=True)
        ]
        for name, coder in SYMBOL_CODERS.items()
    }
    return sum(len(payload) for _, payload in choose(coded, tuple(SYMBOL_CODERS)))


def authors_file(data: Path) -> tuple[int, float] | None:
    """(bytes, seconds to encode) of the artifact of the authors' SqueezeNet 1.0, decoded bit for bit."""
    path = data / "models" / "squeezenet1.0_deepcompressed.onnx"
    if not path.is_file():
        return None
    model = path.read_bytes()
    start = time.perf_counter()
    artifact = write_artifact(
        model, name="squeezenet1.0", profile="pi5", recipe={"name": "none"}, provenance={}, metadata={},
        probe=Probe(), coding="small",
    )  # fmt: skip
    seconds = time.perf_counter() - start
    assert decode(artifact) == model
    return len(artifact), seconds


def print_set(of: Set, rows: list[Row], shuffled: int) -> None:
    entropy = of.entropy_bytes()
    print(f"\n{of.name}: {of.weights:,} weights, {len(of.tensors)} tensors, sha256 {of.sha256[:16]}")
    print(f"  {'H0, no tables':24} {entropy:>10,}")
    for r in rows:
        speeds = f"{r.encode_mweights_s:>8.1f} {r.decode_mweights_s:>8.1f} {r.decode_noise:>7.0%}"
        bits = 8 * r.size_bytes / of.weights
        print(f"  {r.coder:24} {r.size_bytes:>10,} {r.size_bytes / entropy:>7.3f} {bits:>7.3f} {speeds}")
    print(f"  {'smallest, shuffled':24} {shuffled:>10,} {shuffled / entropy:>7.3f}", flush=True)


def verdicts(results: list[dict[str, Any]], authors: tuple[int, float] | None) -> list[tuple[str, str, bool]]:
    """(target, measured, met) for each row of the codec's targets that this benchmark measures."""
    out: list[tuple[str, str, bool]] = []

    def total(name: str) -> int:
        return sum(result["coders"][name]["size_bytes"] for result in results)

    def slowest(name: str, key: str = "decode_mweights_s") -> tuple[float, str]:
        return min((result["coders"][name][key], result["set"]) for result in results)

    def overall(name: str) -> float:
        seconds = sum(r["weights"] / r["coders"][name]["decode_mweights_s"] for r in results)
        return float(sum(r["weights"] for r in results) / seconds)

    nncodec = sum(result["nncodec_bytes"] for result in results)
    small, fast = total("= smallest mode"), total("= fast mode")
    worse = [r["set"] for r in results if r["coders"]["= smallest mode"]["size_bytes"] > r["nncodec_bytes"]]
    out.append(
        (
            "smallest: at least 3 % below NNCodec in total",
            f"{small / nncodec - 1:+.2%}",
            small <= 0.97 * nncodec,
        )
    )
    out.append(
        ("smallest: never more than NNCodec on a set", f"more on: {', '.join(worse) or 'none'}", not worse)
    )
    out.append(("fast: within 2 % of NNCodec in total", f"{fast / nncodec - 1:+.2%}", fast <= 1.02 * nncodec))
    speed, where = slowest("= fast mode")
    out.append(
        (
            "fast: decodes at least 200 M weights/s",
            f"{overall('= fast mode'):.0f} over all, slowest {speed:.0f} ({where})",
            overall("= fast mode") >= 200,
        )
    )
    speed, where = slowest("= smallest mode")
    out.append(
        (
            "smallest: decodes at least 15 M weights/s",
            f"{overall('= smallest mode'):.0f} over all, slowest {speed:.0f} ({where})",
            speed >= 15,
        )
    )
    wasm = [result["wasm"]["fast"] for result in results if result["wasm"]]
    if wasm:
        ratio = sum(w["native_s"] for w in wasm) / sum(w["wasm_s"] for w in wasm)
        out.append(("fast in WASM (node): at least half of native", f"{ratio:.2f} of native", ratio >= 0.5))
    deep = [
        r["set"]
        for r in results
        if r["coders"]["gaps"]["size_bytes"] <= r["coders"]["= smallest mode"]["size_bytes"]
    ]
    out.append(("Huffman gap+value beaten on every set", f"not on: {', '.join(deep) or 'none'}", not deep))
    if authors:
        out.append(
            ("authors' SqueezeNet 1.0: artifact <= 500,000 B", f"{authors[0]:,} B", authors[0] <= 500_000)
        )
        out.append(("encoding it, smallest mode: under 10 s", f"{authors[1]:.1f} s", authors[1] < 10))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON line last")
    parser.add_argument("--only", default="", help="only sets with this in their name")
    options = parser.parse_args()
    if not native.available():
        print("the compiled codec is not here: these are the numpy reference's speeds", file=sys.stderr)
    data = data_folder(Path(__file__))
    columns = f"{'bytes':>10} {'of H0':>7} {'bits/w':>7} {'enc M/s':>8} {'dec M/s':>8} {'noise':>7}"
    print(f"{'set / coder':26} {columns}")
    results: list[dict[str, Any]] = []
    for make in sets(data):
        of = make()
        if options.only.lower() not in of.name.lower():
            continue
        rows, fast, small = measure(of)
        shuffled = shuffled_bytes(of)
        print_set(of, rows, shuffled)
        wasm = codec_wasm.compare(of, {"fast": fast, "smallest": small})
        for mode, speeds in (wasm or {}).items():
            print(f"  WASM, {mode:18} {'':>34} {of.weights / speeds['wasm_s'] / 1e6:>8.1f}", flush=True)
        by_name = {r.coder: asdict(r) for r in rows}
        nncodec = by_name.get("NNCodec", {}).get("size_bytes")
        results.append(
            {
                "set": of.name,
                "sha256": of.sha256,
                "weights": of.weights,
                "h0_bytes": of.entropy_bytes(),
                "shuffled_bytes": shuffled,
                "nncodec_bytes": min(filter(None, (nncodec, NNCODEC_BYTES.get(of.name))), default=0),
                "coders": by_name,
                "wasm": wasm,
            }
        )
    authors = None if options.only else authors_file(data)
    told = verdicts(results, authors) if results and all(r["nncodec_bytes"] for r in results) else []
    print()
    for target, measured, met in told:
        print(f"{'met   ' if met else 'MISSED'}  {target:52} {measured}")
    if options.json:
        print(json.dumps({"benchmark": "codec", "sets": results, "targets": told}))


if __name__ == "__main__":
    main()
