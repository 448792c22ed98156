"""A Huffman-coded run of symbols in lanes, which numpy can decode in lock step.

One stream of symbols is cut into lanes of ``lane_symbols`` symbols (the last may be shorter). The lanes'
bits lie one after the other; where each begins is known from the bit lengths written before, so a reader
may decode them one by one, in lock step or in parallel. Written stream (``count`` symbols < ``alphabet``,
both known to the reader; for count = 0 nothing is written)::

    table                 the code, as drawn in prefix_code.py; when it has one symbol, the stream ends here
    varint  lane_symbols  1 .. 4096; lanes = ceil(count / lane_symbols)
    varint  total_bits    of all lanes
    when lanes > 1:
      varint  shortest    the fewest bits of any lane but the last
      byte    width       0 .. 16
      bits                (lanes - 1) numbers of width bits: a lane's bits - shortest; zeros to a whole byte
    bytes                 ceil(total_bits / 8), codes from the high bit down, filled with zeros
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec import native
from edgepress_compression.codec.bits import CODE_MAX_BITS, pack_codes, pack_fixed, unpack_fixed, windows
from edgepress_compression.codec.bytestream import ByteReader, CodecError, varint
from edgepress_compression.codec.coder import Symbols
from edgepress_compression.codec.prefix_code import PrefixCode, optimal_code, read_code, write_code

LANE_MAX_SYMBOLS: Final = 4096  # bounds the steps, and so the time, that a hostile stream can ask for
_LANE_SYMBOLS: Final = 1024  # measured: a lane costs about a byte, and fewer symbols a lane gain no speed
_GROUP_BITS: Final = 1 << 18  # bits decoded at once: the successor table of 2 MiB stays in the cache


def encode_stream(symbols: NDArray[Any], lane_symbols: int = _LANE_SYMBOLS) -> bytes:
    """``symbols`` (1-d, whole numbers below 2**15) as drawn above."""
    count = len(symbols)
    if count == 0:
        return b""
    code = optimal_code(np.bincount(symbols))
    table = write_code(code)
    if len(code.lengths) == 1:
        return table
    lanes = -(-count // lane_symbols)
    lane_bits, data = (_pack_native if native.available() else pack_lanes)(symbols, code, lane_symbols)
    head = varint(lane_symbols) + varint(int(lane_bits.sum()))
    if lanes > 1:
        shortest = int(lane_bits[:-1].min())
        extra = lane_bits[:-1] - shortest
        width = int(extra.max()).bit_length()
        head += varint(shortest) + bytes([width]) + pack_fixed(extra, width)
    return table + head + data


def pack_lanes(symbols: NDArray[Any], code: PrefixCode, lane_symbols: int) -> tuple[NDArray[np.int64], bytes]:
    """The bits of each lane, and the codes' bytes."""
    relative = symbols.astype(np.intp) - code.low
    lengths = code.lengths[relative]
    lane_bits = np.add.reduceat(lengths, np.arange(0, len(symbols), lane_symbols))
    return lane_bits, pack_codes(code.codes()[relative], lengths)


def _pack_native(
    symbols: NDArray[Any], code: PrefixCode, lane_symbols: int
) -> tuple[NDArray[np.int64], bytes]:
    source = np.ascontiguousarray(symbols, np.uint8 if symbols.dtype == np.uint8 else np.uint16)
    lane_bits = np.empty(-(-len(source) // lane_symbols), np.int64)
    out = np.empty((len(source) * code.max_bits + 7) // 8, np.uint8)
    size = native.call(
        "ep_stream_encode",
        source,
        source.itemsize,
        len(source),
        code.low,
        len(code.lengths),
        code.codes().astype(np.uint16),
        code.lengths.astype(np.uint8),
        lane_symbols,
        lane_bits,
        out,
        len(out),
    )
    return lane_bits, out[:size].tobytes()


def stream_bits(counts: NDArray[np.int64]) -> int:
    """The bits of table and codes in encode_stream for symbols that occur ``counts`` times."""
    if not counts.any():
        return 0
    code = optimal_code(counts)
    return int(counts[code.low : code.low + len(code.lengths)] @ code.lengths) + 8 * len(write_code(code))


def decode_stream(reader: ByteReader, count: int, alphabet: int, out: Symbols | None = None) -> Symbols:
    """``count`` symbols < ``alphabet`` (count,), in ``out`` where given (1-d, contiguous). Raises CodecError
    for a stream that encode never writes."""
    if native.available():
        symbols = np.empty(count, np.uint8 if alphabet <= 256 else np.uint16) if out is None else out
        work = np.empty(native.call("ep_stream_work_bytes"), np.uint8)
        rest = reader.peek(reader.left)
        used = native.status(
            "ep_stream_decode",
            rest,
            len(rest),
            count,
            alphabet,
            symbols,
            symbols.itemsize,
            work,
            len(work),
        )
        if used >= 0:
            reader.take(used)
            return symbols
    # Without compiled code; or to say what exactly is wrong.
    symbols = decode_stream_reference(reader, count, alphabet)
    if out is None:
        return symbols
    out[:] = symbols
    return out


def decode_stream_reference(reader: ByteReader, count: int, alphabet: int) -> Symbols:
    """As decode_stream, in numpy: what the compiled loops are held to."""
    if count == 0:
        return np.zeros(0, np.uint16)
    code = read_code(reader, alphabet)
    if len(code.lengths) == 1:
        return np.full(count, code.low, np.uint16)
    lane_symbols = reader.varint(LANE_MAX_SYMBOLS)
    if lane_symbols == 0:
        raise CodecError("a lane of no symbols")
    starts = _lane_starts(reader, count, lane_symbols)
    payload = reader.take((int(starts[-1]) + 7) // 8)
    return _decode_lanes(payload, code, starts, count, lane_symbols)


def _lane_starts(reader: ByteReader, count: int, lane_symbols: int) -> NDArray[np.int64]:
    """Bit position of each lane's start, and of the end: (lanes + 1,)."""
    lanes = -(-count // lane_symbols)
    total_bits = reader.varint(count * CODE_MAX_BITS)
    if total_bits > reader.left * 8:
        raise CodecError(f"{total_bits} bits of codes wanted, {reader.left} bytes left")
    starts = np.zeros(lanes + 1, np.int64)
    if lanes > 1:
        shortest = reader.varint(lane_symbols * CODE_MAX_BITS)
        width = reader.byte()
        if width > 16:
            raise CodecError(f"a lane's length has {width} bits")
        extra = unpack_fixed(reader.take(((lanes - 1) * width + 7) // 8), lanes - 1, width)
        starts[1:-1] = np.cumsum(extra + shortest)
    starts[-1] = total_bits
    # A code has 1 .. 15 bits. Without this check, empty or endless lanes could ask for unbounded memory.
    symbols = np.full(lanes, lane_symbols)
    symbols[-1] = count - (lanes - 1) * lane_symbols
    bits = np.diff(starts)
    if (bits < symbols).any() or (bits > symbols * CODE_MAX_BITS).any():
        raise CodecError("a lane has less than 1 or more than 15 bits a symbol")
    return starts


def _decode_lanes(
    payload: memoryview, code: PrefixCode, starts: NDArray[np.int64], count: int, lane_symbols: int
) -> Symbols:
    symbol_of, length_of = code.tables()  # (2**max_bits,) each
    lanes = len(starts) - 1
    out = np.empty((lanes, lane_symbols), np.uint16)
    last_symbols = count - (lanes - 1) * lane_symbols
    first = 0
    while first < lanes:
        # Lanes from `first` on that fit the group's bits; one always does: 4096 symbols of 15 bits.
        stop = int(np.searchsorted(starts, starts[first] + _GROUP_BITS, "right")) - 1
        from_byte, to_byte = int(starts[first]) >> 3, (int(starts[stop]) + 7) >> 3
        at = starts[first : stop + 1] - 8 * from_byte  # bit positions inside the group
        ahead = _codes_ahead(payload[from_byte:to_byte], code.max_bits)
        positions = _walk(ahead, length_of, at, lane_symbols)
        ends = positions[lane_symbols].copy()
        if stop == lanes:
            ends[-1] = positions[last_symbols, -1]
        if not np.array_equal(ends, at[1:]):
            raise CodecError("the codes of a lane do not end where the lane ends")
        out[first:stop] = symbol_of[ahead[positions[:lane_symbols].T]]
        first = stop
    tail = (-int(starts[-1])) % 8
    if tail and payload[-1] & ((1 << tail) - 1):
        raise CodecError("bits after the last code are not zero")
    return out.reshape(-1)[:count]


def _codes_ahead(data: memoryview, max_bits: int) -> NDArray[np.int64]:
    """At every bit position of ``data`` and a byte after it: the next max_bits bits."""
    shifts = 24 - max_bits - np.arange(8)
    ahead = windows(data, guard=1)[:, None] >> shifts
    ahead &= (1 << max_bits) - 1
    flat: NDArray[np.int64] = ahead.reshape(-1)
    return flat


def _walk(
    ahead: NDArray[np.int64], length_of: NDArray[np.int64], at: NDArray[np.int64], steps: int
) -> NDArray[np.int64]:
    """Bit position of each lane before each step, and after the last: (steps + 1, lanes)."""
    # From every bit position, where would the next code begin? Then each step of all lanes is one gather.
    successor = length_of.take(ahead)
    successor += np.arange(len(ahead))
    np.minimum(successor, len(ahead) - 1, out=successor)  # damaged lanes stop at the end
    positions = np.empty((steps + 1, len(at) - 1), np.int64)
    positions[0] = at[:-1]
    for step in range(steps):
        successor.take(positions[step], out=positions[step + 1], mode="clip")
    return positions
