"""Artifacts with every coding, dtype and kind of value, for decoders in other languages.

    python tests/compression/make_vectors.py FOLDER [--seed N]

writes for each vector NAME.epa, the model NAME.onnx that it decodes to and, for a delta, its base NAME.base.
Most models are no ONNX files: to a decoder they are bytes. The same seed gives the same files.
"""

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from small_artifacts import MODEL, PROBE, model, write

from edgepress_compression.artifact.base import Base
from edgepress_compression.artifact.delta import nearest
from edgepress_compression.artifact.format import SIDE_CODERS, Grid, Header, TensorEntry, is_float, storage
from edgepress_compression.artifact.head import write_front
from edgepress_compression.artifact.section import encode_bytes
from edgepress_compression.artifact.write import seal
from edgepress_compression.codec.bytestream import varint
from edgepress_compression.codec.coder import symbol_dtype
from edgepress_compression.codec.registry import BYTE_CODERS, DELTA_CODERS, SYMBOL_CODERS
from edgepress_compression.codec.trellis import untangle

DTYPES = ("float32", "float16", "float64", "bfloat16", "int8", "uint8", "int16", "uint16", "int32", "int64")
ALPHABETS = (1, 2, 5, 16, 200, 256, 257, 300, 1500, 4096)
SHAPES = ((), (1,), (7,), (300,), (12, 31), (40, 30), (8, 6, 3, 3), (2, 3, 4, 5, 2))
LARGE = (1 << 20) + 4096  # bytes: more than one block


class Vector(NamedTuple):
    name: str
    artifact: bytes
    model: bytes
    base: bytes | None = None

    def write(self, folder: Path) -> None:
        for suffix, data in (("epa", self.artifact), ("onnx", self.model), ("base", self.base)):
            if data is not None:
                (folder / f"{self.name}.{suffix}").write_bytes(data)


class Tensor(NamedTuple):
    """A tensor's bytes and a body of it."""

    data: bytes
    dtype: str
    shape: tuple[int, ...]
    coding: str
    body: bytes
    values: int | Grid = 0


def vectors(seed: int = 0, rounds: int = 1) -> Iterator[Vector]:
    """All kinds ``rounds`` times; what is random in them follows from ``seed``."""
    for number in range(rounds):
        rng = np.random.default_rng([seed, number])
        for coding in BYTE_CODERS:
            yield assembled(f"bytes-{coding}-{number}", [*of_bytes(rng, coding)], rng)
        for coding in SYMBOL_CODERS:
            yield assembled(f"codebook-{coding}-{number}", [*of_codebooks(rng, coding)], rng)
            yield assembled(f"integers-{coding}-{number}", [*of_integers(rng, coding)], rng)
            yield assembled(f"plain-{coding}-{number}", [*of_bytes_as_symbols(rng, coding)], rng)
        yield assembled(f"nothing-{number}", [], rng)
        yield assembled(f"large-{number}", [*large(rng)], rng)
        yield from deltas(rng, number)
    yield Vector("written", write(MODEL), MODEL)


def assembled(
    name: str, tensors: list[Tensor], rng: np.random.Generator, base: bytes | None = None
) -> Vector:
    """A file of these tensors, each behind some bytes of skeleton."""
    gaps = [rng.bytes(int(rng.integers(0, 40))) for _ in range(len(tensors) + 1)]
    parts = [part for gap, tensor in zip(gaps, tensors, strict=False) for part in (gap, tensor.data)]
    whole = b"".join([*parts, gaps[-1]])
    sections = [seal(tensor.body) for tensor in tensors]
    entries = []
    for place, (tensor, section) in enumerate(zip(tensors, sections, strict=True)):
        sizes = len(section), len(gaps[place])
        entries.append(
            TensorEntry(f"t{place}", tensor.dtype, tensor.shape, tensor.coding, tensor.values, *sizes)
        )
    before = None if base is None else Base(base)
    header = Header(
        name=name, profile="generic-x86", recipe={"name": "none"}, provenance={}, metadata={}, probe=PROBE,
        onnx_bytes=len(whole), onnx_sha256=hashlib.sha256(whole).hexdigest(), tensors=tuple(entries),
        base=before.name if before else None,
    )  # fmt: skip
    front = write_front(header, b"".join(gaps), before.skeleton() if before else b"")
    return Vector(name, front + b"".join(sections), whole, base)


def fits(tensor: Tensor) -> bool:
    """Whether a file may hold it: what would take more is stored as it is."""
    return len(tensor.body) <= len(tensor.data)


def of_bytes(rng: np.random.Generator, coding: str) -> Iterator[Tensor]:
    for dtype in DTYPES:
        for count in rng.choice((1, 2, 50, 2000, 6000), 3, replace=False).tolist():
            data = numbers(rng, dtype, count)
            tensor = Tensor(data, dtype, (count,), coding, encode_bytes(data, coding, dtype))
            if fits(tensor) and not (coding == "text" and len(data) > 6000):
                yield tensor


def numbers(rng: np.random.Generator, dtype: str, count: int) -> bytes:
    """Like weights, biases, codebooks, scales, multiples of a step, or any bits at all."""
    kind = storage(dtype)
    if not is_float(dtype):
        spread = 20 if rng.random() < 0.5 else 100
        low, high = max(-spread, int(np.iinfo(kind).min)), min(spread, int(np.iinfo(kind).max))
        return rng.integers(low, high, count).astype(kind).tobytes()
    values = rng.normal(0, 0.1, count)
    match rng.integers(0, 6):
        case 0:
            values = np.sort(values)
        case 1:
            values = np.abs(values)
        case 2:
            values = rng.choice(values[:20], count)
        case 3:
            values = np.rint(values * 1000) * np.float32(0.0037)
        case 4:
            values = values.astype(np.float16).astype(np.float64)
        case 5 if count > 1:
            return rng.bytes(count * kind.itemsize)
    if dtype == "bfloat16":
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return values.astype(kind).tobytes()


def ranks(rng: np.random.Generator, alphabet: int, shape: tuple[int, ...]) -> np.ndarray:
    """Symbols (flat): dense or sparse, alike or not in each row."""
    count = int(np.prod(shape))
    bell = np.clip(np.rint(rng.normal(alphabet / 2, alphabet / 8 + 0.1, count)), 0, alphabet - 1)
    kept = float(rng.choice([0.02, 0.3, 1.0]))
    if len(shape) > 1:
        some = rng.random((shape[0], 1)) < 0.5
        mask = rng.random((shape[0], count // shape[0])) < np.where(some, kept / 5, kept)
    else:
        mask = rng.random(count) < kept
    return np.where(mask.reshape(-1), bell, alphabet // 2).astype(symbol_dtype(alphabet))


def side(rng: np.random.Generator, data: bytes, dtype: str) -> bytes:
    number = int(rng.integers(0, len(SIDE_CODERS)))
    stored = BYTE_CODERS[SIDE_CODERS[number]].encode(data, storage(dtype).itemsize, is_float(dtype))
    return varint(8 * len(stored) + number) + stored


def of_codebooks(rng: np.random.Generator, coding: str) -> Iterator[Tensor]:
    for dtype in DTYPES:
        itemsize = storage(dtype).itemsize
        for alphabet in rng.choice(ALPHABETS, 4, replace=False).tolist():
            if symbol_dtype(alphabet).itemsize > itemsize:
                continue
            shape = SHAPES[int(rng.integers(0, len(SHAPES)))] if alphabet < 300 else (60, 40)
            symbols = ranks(rng, alphabet, shape)
            book = np.frombuffer(numbers(rng, dtype, alphabet), storage(dtype))
            payload = SYMBOL_CODERS[coding].encode(symbols, alphabet, shape)
            if payload is not None:
                body = side(rng, book.tobytes(), dtype) + payload
                tensor = Tensor(book[symbols].tobytes(), dtype, shape, coding, body, alphabet)
                if fits(tensor):
                    yield tensor


def of_integers(rng: np.random.Generator, coding: str) -> Iterator[Tensor]:
    for shape in SHAPES:
        for alphabet in rng.choice(ALPHABETS, 5, replace=False).tolist():
            axis, flags = int(rng.integers(0, max(len(shape), 1))), int(rng.integers(0, 4))
            lowest = int(rng.choice([0, -(alphabet // 2), alphabet - (1 << 23), (1 << 23) - alphabet]))
            symbols = ranks(rng, alphabet, shape)
            payload = SYMBOL_CODERS[coding].encode(symbols, alphabet, shape)
            if not shape or payload is None:
                continue
            scales = rng.normal(0, 0.01, shape[axis] if flags & 1 else 1).astype("<f4")
            grid = Grid(lowest, alphabet, axis, flags)
            data = scaled(symbols, shape, grid, scales).tobytes()
            tensor = Tensor(
                data, "float32", shape, coding, side(rng, scales.tobytes(), "float32") + payload, grid
            )
            if fits(tensor):
                yield tensor


def scaled(symbols: np.ndarray, shape: tuple[int, ...], grid: Grid, scales: np.ndarray) -> np.ndarray:
    """The elements that the symbols stand for."""
    whole = grid.lowest + symbols.astype(np.int32)
    if grid.flags & 2:
        whole = np.empty(len(symbols), np.int32)
        untangle(symbols, grid.lowest, shape, grid.axis, whole)
    sides = [1] * len(shape)
    if grid.flags & 1:
        sides[grid.axis] = -1
    return (whole.astype("<f4").reshape(shape) * scales.reshape(sides)).astype("<f4")


def of_bytes_as_symbols(rng: np.random.Generator, coding: str) -> Iterator[Tensor]:
    for dtype in ("int8", "uint8"):
        for shape in SHAPES:
            symbols = ranks(rng, 256, shape)
            payload = SYMBOL_CODERS[coding].encode(symbols, 256, shape)
            data = (symbols ^ np.uint8(128 if dtype == "int8" else 0)).tobytes()
            if payload is not None and len(payload) <= len(data):
                yield Tensor(data, dtype, shape, coding, payload)


def large(rng: np.random.Generator) -> Iterator[Tensor]:
    """Tensors of more than one block of bytes."""
    for coding, dtype in (
        ("floats", "float32"),
        ("planes", "float64"),
        ("deflate", "int8"),
        ("raw", "int64"),
    ):
        data = numbers(rng, dtype, LARGE // storage(dtype).itemsize)
        tensor = Tensor(
            data, dtype, (len(data) // storage(dtype).itemsize,), coding, encode_bytes(data, coding, dtype)
        )
        if len(tensor.body) <= len(data):
            yield tensor


def deltas(rng: np.random.Generator, number: int) -> Iterator[Vector]:
    """What changed: nothing, a little of everything, other codebooks, other grids."""
    values = np.sort(rng.normal(0, 0.1, 32)).astype(np.float32)
    before = np.clip(np.rint(rng.normal(16, 4, (60, 90))), 0, 31).astype(np.int32)
    moved = np.clip(before + (rng.random(before.shape) < 0.02) * rng.choice([-1, 1], before.shape), 0, 31)
    dense = rng.normal(0, 0.1, (70, 40)).astype(np.float32)
    bytes_ = np.clip(rng.normal(0, 20, (40, 60)), -128, 127).astype(np.int8)
    old = {
        "w": values[before],
        "d": dense,
        "i": bytes_,
        "same": rng.normal(size=(70, 40)),
        "large": rng.normal(size=140_000),
    }
    new = {
        "w": values[moved],
        "d": dense * (1 + 1e-4 * rng.normal(size=dense.shape)).astype(np.float32),
        "i": np.clip(bytes_ + (rng.random(bytes_.shape) < 0.05), -128, 127).astype(np.int8),
        "same": old["same"],
        "large": old["large"] * (1 + 1e-9 * rng.normal(size=140_000)),
    }
    for dtype in ("float16", "float64", "int16", "int64", "uint8"):
        start = rng.normal(100, 30, 900).astype(dtype)
        old[dtype] = start
        new[dtype] = start + (rng.random(900) < 0.1).astype(dtype)
    base = model(old)
    whole = model(new)
    yield Vector(f"delta-{number}", write(whole, base=base), whole, base)
    yield grid_delta(rng, f"delta-grids-{number}")


def grid_delta(rng: np.random.Generator, name: str) -> Vector:
    """Whole numbers times scales of every kind; the base has elements between them, some of them NaN."""
    old, tensors = {}, []
    for flags in range(4):
        for axis, shape in ((0, (64, 90)), (1, (12, 30, 3)), (2, (5, 6, 70))):
            alphabet = int(rng.choice((3, 20, 300)))
            lowest = -(alphabet // 2)
            symbols = ranks(rng, alphabet, shape)
            scales = rng.normal(0, 0.01, shape[axis] if flags & 1 else 1).astype("<f4")
            scales[rng.random(len(scales)) < 0.1] = 0
            grid = Grid(lowest, alphabet, axis, flags)
            elements = scaled(symbols, shape, grid, scales)
            noise = rng.choice((0, 0, 0, 0.5, 1, -1.5), shape) * np.float32(0.01)
            before = (elements + noise).astype("<f4")
            before.reshape(-1)[:3] = np.nan, np.inf, -np.inf
            entry = TensorEntry("", "float32", shape, "context-delta", grid, 0, 0)
            likely = nearest(entry, scales.tobytes(), memoryview(before.tobytes()))
            payload = DELTA_CODERS["context-delta"].encode(symbols, alphabet, shape, likely)
            if payload is not None:
                body = side(rng, scales.tobytes(), "float32") + payload
                old[f"t{len(tensors)}"] = before
                tensors.append(Tensor(elements.tobytes(), "float32", shape, "context-delta", body, grid))
    return assembled(name, tensors, rng, model(old))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for vector in vectors(arguments.seed):
        vector.write(arguments.folder)


if __name__ == "__main__":
    main()
