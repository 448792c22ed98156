"""Seeds of the fuzz targets: what the compiled decoders are given when payloads of our encoders are decoded.

Every call into the compiled library is recorded while small tensors of many kinds go through each coder,
written the way targets.c reads it. So a seed is what a decoder sees, wherever Python splits a payload.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec import native
from edgepress_compression.codec.coder import symbol_dtype
from edgepress_compression.codec.floats_blocks import decode_blocks, encode_blocks
from edgepress_compression.codec.registry import BYTE_CODERS, DELTA_CODERS, SYMBOL_CODERS
from edgepress_compression.codec.trellis import untangle

MOST_BYTES: Final = 65536  # of an input, as in driver.c
MOST_SEEDS: Final = 400  # of a target
PLANTED: Final = "planted"

Arguments = tuple[Any, ...]


def _symbols(payload: Any, alphabet: int, shape: tuple[int, ...]) -> bytes:
    head = struct.pack("<HB", alphabet - 1, len(shape)) + struct.pack(f"<{len(shape)}H", *shape)
    return head + memoryview(payload).tobytes()


def _sized(arguments: Arguments) -> bytes | None:
    payload, _, alphabet, shape = arguments[:4]
    return _symbols(payload, alphabet, tuple(int(side) for side in shape))


def _floats_few(arguments: Arguments) -> bytes | None:
    form, payload, _, exponent_bits, _, _, itemsize, count = arguments[:8]
    head = struct.pack("<BBBH", form, _SIZES[itemsize], exponent_bits - 4, count)
    return head + memoryview(payload).tobytes()


def _floats_join(arguments: Arguments) -> bytes | None:
    heads, head_bytes, count, _, low, rest_bits, magnitude_bits, zeros, signs, tails, _, _, itemsize = (
        arguments
    )
    numbers = (_SIZES[itemsize], head_bytes - 1, low, rest_bits, magnitude_bits, zeros, signs, count)
    if count >= MOST_BYTES or low > 255:
        return None
    return struct.pack("<7BH", *numbers) + memoryview(heads).tobytes() + memoryview(tails).tobytes()


def _context(arguments: Arguments) -> bytes | None:
    payload, _, alphabet, count, _, _, base, _, work_bytes = arguments
    if count >= 4096:
        return None
    head = struct.pack("<HH", alphabet - 1, count) + work_bytes.to_bytes(3, "little")
    kept = b"\0" if base is None else b"\1" + memoryview(base).tobytes()
    return head + kept + memoryview(payload).tobytes()


def _text(arguments: Arguments) -> bytes | None:
    _, payload, _, _, size = arguments
    # Without the dictionary that the work memory holds: the text is another, the ways are the same.
    return struct.pack("<BH", 0, min(size, 511)) + memoryview(payload).tobytes()


def _bloomier(arguments: Arguments) -> bytes | None:
    payload, _, groups, checks, values, row_class, rows, column_class, columns = arguments[:9]
    counts, ordered, background, marker, _, _, symbol_bytes = arguments[9:]
    if (
        rows * columns >= MOST_BYTES
        or checks > 31
        or max(groups[:, :2].max(initial=0), len(payload)) >= 1 << 24
    ):
        return None
    parts = [struct.pack("<BB", checks, values)]
    for at, cells, seed in groups.tolist():
        parts.append(at.to_bytes(3, "little") + cells.to_bytes(3, "little") + struct.pack("<I", seed))
    parts += [struct.pack("<HH", rows, columns), row_class.tobytes(), column_class.tobytes()]
    if ordered is None:
        parts.append(b"\0")
    else:
        parts += [b"\1", counts[1 : values + 1].astype("<u2").tobytes(), ordered.astype("<u2").tobytes()]
    parts += [
        struct.pack("<HHB", background, marker & 0xFFFF, symbol_bytes - 1),
        memoryview(payload).tobytes(),
    ]
    return b"".join(parts)


def _untangle(arguments: Arguments) -> bytes | None:
    symbols, symbol_bytes, size, lowest, rows, inner = arguments[:6]
    if max(size, rows, inner) >= MOST_BYTES:
        return None
    return struct.pack("<HBiHH", size, symbol_bytes - 1, lowest, rows, inner) + symbols.tobytes()


_SIZES: Final = {2: 0, 4: 1, 8: 2}


def _stream(arguments: Arguments) -> bytes | None:
    payload, _, count, alphabet = arguments[:4]
    return _symbols(payload, alphabet, (count,)) if count < MOST_BYTES and alphabet <= 4096 else None


# The exported function, its target and how targets.c wants its arguments.
_RECORDED: Final[dict[str, tuple[str, Callable[[Arguments], bytes | None]]]] = {
    "ep_stream_decode": ("stream", _stream),
    "ep_rans_decode": ("rans", _sized),
    "ep_gaps_decode": ("gaps", _sized),
    "ep_context_decode": ("context", _context),
    "ep_bloomier_decode": ("bloomier", _bloomier),
    "ep_text_decode": ("text", _text),
    "ep_untangle": ("untangle", _untangle),
    "ep_floats_few": ("floats_few", _floats_few),
    "ep_floats_join": ("floats_join", _floats_join),
}


def write(folder: Path) -> list[str]:
    """A file TARGET.bin for each target, into ``folder``; the targets' names."""
    found: dict[str, dict[bytes, None]] = {}
    for function, arguments in _calls():
        target, written = _RECORDED[function]
        seed = written(arguments)
        if seed is not None and len(seed) <= MOST_BYTES:
            found.setdefault(target, {})[seed] = None
    for target, seeds in found.items():
        _write(folder / f"{target}.bin", list(seeds)[:MOST_SEEDS])
    _write(folder / f"{PLANTED}.bin", [_symbols(bytes(range(20)), a, (5, 7)) for a in (256, 4000)])
    return list(found)


def _write(path: Path, seeds: list[bytes]) -> None:
    body = b"".join(struct.pack("<I", len(seed)) + seed for seed in seeds)
    path.write_bytes(struct.pack("<I", len(seeds)) + body)


def _calls() -> Iterator[tuple[str, Arguments]]:
    called: list[tuple[str, Arguments]] = []
    real = native.status

    def recording(function: str, *arguments: Any) -> int:
        if function in _RECORDED:
            called.append((function, tuple(_copied(argument) for argument in arguments)))
        return real(function, *arguments)

    native.status = recording
    try:
        for alphabet, shape, symbols in _tensors():
            for coder in SYMBOL_CODERS.values():
                payload = coder.encode(symbols, alphabet, shape)
                if payload is not None:
                    out = np.empty(symbols.size, symbols.dtype)
                    coder.decode(memoryview(payload), alphabet, shape, out)
                    if not np.array_equal(out, symbols):
                        raise AssertionError("a coder does not give back what it took")
            _deltas(alphabet, shape, symbols)
            if shape and symbols.size:
                untangle(symbols, -(alphabet // 2), shape, 0, np.empty(symbols.size, np.int32))
        for data, itemsize, is_float in _bytes():
            for byte_coder in BYTE_CODERS.values():
                payload = byte_coder.encode(data, itemsize, is_float)
                byte_coder.decode(memoryview(payload), len(data), itemsize, is_float)
        _blocks()
    finally:
        native.status = real
    yield from called


def _deltas(alphabet: int, shape: tuple[int, ...], symbols: NDArray[Any]) -> None:
    rng = np.random.default_rng(symbols.size)
    moved = np.clip(symbols.astype(np.int64) + (rng.random(symbols.size) < 0.1), 0, alphabet - 1)
    for coder in DELTA_CODERS.values():
        payload = coder.encode(symbols, alphabet, shape, moved.astype(symbols.dtype))
        out = np.empty_like(symbols)
        coder.decode(memoryview(payload), alphabet, shape, moved.astype(symbols.dtype), out)


def _blocks() -> None:
    """The coder `floats` takes blocks for large tensors only; here small ones go the same way."""
    rng = np.random.default_rng(12)
    for size in (1, 40, 300, 900):
        bell = np.where(rng.random(size) < 0.2, 0, rng.normal(0, 0.1, size))
        for values in (bell, np.abs(bell), np.round(bell, 2)):
            for kind, exponent_bits in (("<f4", 8), ("<f2", 5), ("<f8", 11)):
                elements = values.astype(kind).view(kind.replace("f", "u"))
                fraction_bits = 8 * elements.itemsize - 1 - exponent_bits
                payload = encode_blocks(elements, exponent_bits, fraction_bits)
                out = np.empty_like(elements)
                decode_blocks(memoryview(payload), out, exponent_bits, fraction_bits)


def _copied(argument: Any) -> Any:
    return argument.copy() if isinstance(argument, np.ndarray) else argument


# Few and small: each goes through every encoder, and those try many ways.
_CASES: Final = (
    *(
        (1, ()),
        (3, (1,)),
        (16, (7,)),
        (2, (300,)),
        (1, (9, 9)),
        (16, (17, 23)),
        (33, (60, 40)),
        (300, (12, 10)),
    ),
    *((5, (5, 90)), (256, (20, 30)), (16, (8, 4, 3, 3)), (33, (24, 6, 3, 3)), (4096, (30, 20))),
    *((4, (40, 50)), (3, (2, 3, 4, 5, 2)), (200, (16, 1, 5, 5)), (700, (2, 3, 4, 2))),
)


def _tensors() -> Iterator[tuple[int, tuple[int, ...], NDArray[Any]]]:
    for alphabet, shape in _CASES:
        # Not hash(): another in every process.
        rng = np.random.default_rng(zlib.crc32(repr((shape, alphabet)).encode()))
        size = int(np.prod(shape))
        middle = alphabet // 2
        bell = np.clip(np.rint(rng.normal(middle, alphabet / 9, size)), 0, alphabet - 1)
        even = rng.integers(0, alphabet, size)
        sparse = np.where(rng.random(size) < 0.07, even, middle)
        columns = np.where(np.resize(rng.random(shape[-1] if shape else 1) < 0.3, size), bell, middle)
        for values in (bell, even, sparse, columns):
            yield alphabet, shape, values.astype(symbol_dtype(alphabet))


def _bytes() -> Iterator[tuple[bytes, int, bool]]:
    rng = np.random.default_rng(11)
    for size in (1, 2, 16, 33, 256, 1000, 3000):
        bell = rng.normal(0, 0.1, size).astype(np.float32)
        for values in (
            bell,
            np.sort(bell),
            bell.astype(np.float16).astype(np.float32),
            np.float32(0.25) * np.arange(size),
        ):
            yield np.asarray(values, np.float32).tobytes(), 4, True
        yield bell.astype(np.float16).tobytes(), 2, True
        yield rng.integers(-9, 9, size).astype(np.int64).tobytes(), 8, False
        yield rng.integers(-99, 99, size).astype(np.int8).tobytes(), 1, False
