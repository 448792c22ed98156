"""A context-adaptive range coder with mixing: the smallest coder; and its delta against known symbols.

The symbols are walked once as a matrix, row by row. Each is coded by what a model expects of it, and the
model then learns from it; nothing but the choices below travels beside the code. Two kinds of walk:

*spike* (one symbol, the background, is frequent: pruned weights). First a flag, background or not, then the
side (below or above the background), then which symbol. Flag and side are mixed from opinions as in PAQ
(Mahoney 2005, "Adaptive weighing of context models for lossless data compression"): flags of the row, the
column, the channel's kernel, the neighbours in the row before, and what the taps expect.

*smooth*. A symbol is an interval of a latent value whose distribution is known, around a mean and with a
scale that rows, columns and channels learn (an ordered probit model, McKelvey and Zavoina 1975); the
intervals are learned from the symbols' counts. Which symbol, in a spike walk, is coded the same way.

*taps* expect an element from those before it in its row, by weights that each column learns (normalised
least mean squares, Widrow and Hoff 1960): rows of a matrix correlate.

payload::

    byte    kind        bit 0: spike; bit 1: columns are walked as rows; bits 2-3: the distribution; bits 4-7:
                        how slowly taps learn, 1 .. 14; 0 without taps
    byte    taps / 16   0 .. 32; less than columns / 16 + 1; taps * columns at most 2^20
    byte    density     of what is not background at first, 1 .. 255, of 256
    varint  columns     1 .. min(elements, 65536); divides the elements where columns are walked as rows
    varint  kernel      columns that make a channel, 1 .. columns
    varint  lag         how far back in the row another neighbour is, 1 .. 4096
    varint  background  a symbol
    varint  centre      of the symbols at first, in 1/16
    varint  spread      their standard deviation at first, in 1/16, at least 4
    rest                the range coder's code

A tensor without elements has no payload. The model, number by number, is context_reference.py, which the
compiled loop equals bit for bit. A delta has the same payload (spike, without taps) and codes symbol - base
+ alphabet - 1, of 2 * alphabet - 1; its background, "as the base", is alphabet - 1, and the one in the head
only tells which base is special.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec import native
from edgepress_compression.codec.bytestream import ByteReader, CodecError
from edgepress_compression.codec.coder import Shape, Symbols
from edgepress_compression.codec.context_head import (
    COLUMNS_MAX,
    FAMILIES,
    LAG_MAX,
    TAP_WEIGHTS_MAX,
    Head,
    read_head,
)
from edgepress_compression.codec.context_reference import decode_reference, encode_reference

_TRIAL_SYMBOLS: Final = 1 << 20  # choices are tried on this many, or half a tensor where that is more
_TAPS_FIRST: Final = 128
_TAPS_MOST: Final = 384  # more cost time and gained nothing
_TAPS_MOST_SPIKE: Final = 256
_RATE_FIRST: Final = 6
_SPIKE_FIRST: Final = 0.3
_SPIKE_ALWAYS: Final = 0.6  # the background's share from which only a spike walk is tried
_SPIKE_NEVER: Final = 0.05
_LAGS: Final = 64  # most neighbours that are looked for in a row
_LAG_SYMBOLS: Final = 1 << 16


class Context:
    """See the module."""

    def encode(self, symbols: Symbols, alphabet: int, shape: Shape) -> bytes:
        if not len(symbols):
            return b""
        if int(symbols.max()) >= alphabet:
            raise ValueError(f"a symbol is {int(symbols.max())}, the alphabet has {alphabet}")
        trial = max(_TRIAL_SYMBOLS, len(symbols) // 2)
        tried: dict[Head, float] = {}

        def cost(head: Head) -> float:
            """Bytes a symbol, of as many rows as are tried."""
            if head not in tried:
                rows = min(head.rows, max(1, trial // head.columns))
                tried[head] = len(_code(symbols, head, None, rows)) / min(head.elements, rows * head.columns)
            return tried[head]

        head, background_share = _first(symbols, alphabet, shape)
        if columns := _other_matrix(head):
            turned = head._replace(columns=columns, kernel=1, transposed=True, taps=_TAPS_FIRST)
            head = min(head, _fit(turned), key=cost)
        if _SPIKE_NEVER <= background_share <= _SPIKE_ALWAYS:
            head = min(head, head._replace(spike=not head.spike), key=cost)
        most = _TAPS_MOST_SPIKE if head.spike else _TAPS_MOST
        head = min(head, *(_fit(head._replace(taps=taps)) for taps in (0, most)), key=cost)
        if head.taps:
            head = min(head, *(head._replace(rate=rate) for rate in (head.rate - 1, head.rate + 1)), key=cost)
        head = min((head._replace(family=family) for family in range(FAMILIES)), key=cost)
        return head.to_bytes() + _code(symbols, head, None, head.rows)

    def decode(self, payload: memoryview, alphabet: int, shape: Shape, out: Symbols) -> None:
        _decode(payload, alphabet, math.prod(shape), None, out)


class ContextDelta:
    """The same model for symbols that are mostly as in ``base``."""

    def encode(self, symbols: Symbols, alphabet: int, shape: Shape, base: Symbols) -> bytes:
        if not len(symbols):
            return b""
        if max(int(symbols.max()), int(base.max())) >= alphabet:
            raise ValueError(f"a symbol is not below {alphabet}, the alphabet")
        changes = symbols.astype(np.int64) - base
        changed = changes[changes != 0]
        density = _density(len(changed) / len(changes))
        spread = _spread(float(np.sqrt(np.mean(np.square(changed)))) if len(changed) else 1.0)
        background = int(np.bincount(base, minlength=1).argmax())
        columns, kernel = _matrix(shape)
        head = Head(
            len(symbols), columns, kernel, _lag(changes != 0, columns, kernel), alphabet, background,
            16 * (alphabet - 1), spread, density,
            spike=True, transposed=False, family=1, taps=0, rate=0,
        )  # fmt: skip
        return head.to_bytes() + _code(symbols, head, base, head.rows)

    def decode(self, payload: memoryview, alphabet: int, shape: Shape, base: Symbols, out: Symbols) -> None:
        if len(base) and int(base.max()) >= alphabet:
            raise CodecError(f"the base has a symbol that is not below {alphabet}, the alphabet")
        _decode(payload, alphabet, math.prod(shape), base, out)


def _first(symbols: Symbols, alphabet: int, shape: Shape) -> tuple[Head, float]:
    """The choices that the search starts from, and the share of the background."""
    count = len(symbols)
    frequencies = np.bincount(symbols, minlength=alphabet)
    background = int(frequencies.argmax())
    share = int(frequencies[background]) / count
    levels = np.arange(alphabet)
    mean = float(frequencies @ levels) / count
    spread = math.sqrt(float(frequencies @ np.square(levels - mean)) / count)
    columns, kernel = _matrix(shape)
    lag = _lag(symbols != background, columns, kernel) if share >= _SPIKE_NEVER else 1
    head = Head(
        count, columns, kernel, lag, alphabet, background,
        round(16 * mean), _spread(spread), _density(1 - share),
        spike=share >= _SPIKE_FIRST, transposed=False, family=1, taps=_TAPS_FIRST, rate=_RATE_FIRST,
    )  # fmt: skip
    return _fit(head), share


def _fit(head: Head) -> Head:
    """With no more taps than there are columns, and than there is room for."""
    columns = head.columns
    taps = min(head.taps, -(-columns // 16) * 16 if columns > 1 else 0)
    taps = min(taps, TAP_WEIGHTS_MAX // columns // 16 * 16)
    return head._replace(taps=taps, rate=(head.rate or _RATE_FIRST) if taps else 0)


def _other_matrix(head: Head) -> int:
    """The columns when columns are walked as rows; 0 where that is nothing else, or not possible."""
    rows = head.elements // head.columns
    return rows if head.elements % head.columns == 0 and head.columns > 1 and 1 < rows <= COLUMNS_MAX else 0


def _matrix(shape: Shape) -> tuple[int, int]:
    """Columns and kernel: a row is a filter, as far as rows may be long."""
    count = math.prod(shape)
    columns = count // shape[0] if len(shape) > 1 and shape[0] else count
    kernel = math.prod(shape[2:])
    if columns > COLUMNS_MAX:  # a row of no meaning, as long as one can be
        return min(shape[-1], COLUMNS_MAX) if shape[-1] > 1 else COLUMNS_MAX, 1
    return columns, min(kernel, columns)


def _lag(kept: NDArray[np.bool_], columns: int, kernel: int) -> int:
    """How far back in a row the likeness to what is kept is greatest: the width of an image, say."""
    if kernel > 1 or columns < 16:
        return min(max(kernel, 1), LAG_MAX)
    rows = max(1, min(len(kept), _LAG_SYMBOLS) // columns)
    part = kept[: rows * columns].reshape(-1, columns) if len(kept) >= rows * columns else kept[None]
    both = [
        int(np.count_nonzero(part[:, lag:] & part[:, :-lag])) for lag in range(4, min(_LAGS, columns // 2))
    ]
    return 4 + int(np.argmax(both)) if any(both) else 1


def _spread(value: float) -> int:
    return max(4, min(32 * 4096, round(16 * value)))


def _density(share: float) -> int:
    return max(1, min(254, round(256 * share)))


def _code(symbols: Symbols, head: Head, base: Symbols | None, rows: int) -> bytes:
    """The code of the first ``rows``, without the head."""
    rows = min(rows, head.rows)
    if not native.available():
        return encode_reference(symbols, head, base, rows)
    numbers = np.array(head, np.int64)
    out = np.empty(3 * min(head.elements, rows * head.columns) + 64, np.uint8)
    work = _work(head)
    size = native.call(
        "ep_context_encode", numbers, np.ascontiguousarray(symbols), symbols.itemsize,
        None if base is None else np.ascontiguousarray(base), rows, out, len(out), work, len(work),
    )  # fmt: skip
    return out[:size].tobytes()


def _decode(payload: memoryview, alphabet: int, count: int, base: Symbols | None, out: Symbols) -> None:
    if count == 0:
        ByteReader(payload).end()
        return
    reader = ByteReader(payload)
    head = read_head(reader, alphabet, count, delta=base is not None)
    if not native.available():
        decode_reference(reader.rest(), head, base, out)
        return
    work = _work(head)
    native.call(
        "ep_context_decode", payload, len(payload), alphabet, count, out, out.itemsize,
        None if base is None else np.ascontiguousarray(base), work, len(work),
    )  # fmt: skip


def _work(head: Head) -> NDArray[np.uint8]:
    return np.empty(native.call("ep_context_work_bytes", head.columns, head.kernel, head.taps), np.uint8)
