"""What the head of a `context` payload says (drawn in context.py), checked."""

from typing import Final, NamedTuple

from edgepress_compression.codec.bytestream import ByteReader, CodecError, varint

ALPHABET_MAX: Final = 4096
COLUMNS_MAX: Final = 65536
LAG_MAX: Final = 4096
FAMILIES: Final = 4  # distributions: normal, between, logistic, with longer tails
TAPS_MAX: Final = 512
TAP_WEIGHTS_MAX: Final = 1 << 20
_SIXTEENTHS_MAX: Final = 32 * ALPHABET_MAX  # of a symbol, with the 2 * alphabet - 1 of a delta


class Head(NamedTuple):
    """The choices of an encoder. In this order the compiled coder takes them."""

    elements: int
    columns: int
    kernel: int
    lag: int
    alphabet: int
    background: int
    centre: int
    spread: int
    density: int
    spike: bool
    transposed: bool
    family: int
    taps: int
    rate: int

    @property
    def rows(self) -> int:
        return -(-self.elements // self.columns)

    def to_bytes(self) -> bytes:
        kind = self.spike | self.transposed << 1 | self.family << 2 | self.rate << 4
        numbers = (self.columns, self.kernel, self.lag, self.background, self.centre, self.spread)
        return bytes([kind, self.taps // 16, self.density]) + b"".join(map(varint, numbers))


def read_head(reader: ByteReader, alphabet: int, count: int, *, delta: bool) -> Head:
    """The head of a payload of ``count`` > 0 symbols. Raises CodecError for what no encoder writes."""
    kind, taps, density = reader.byte(), 16 * reader.byte(), reader.byte()
    columns, kernel = reader.varint(COLUMNS_MAX), reader.varint(COLUMNS_MAX)
    lag, background = reader.varint(LAG_MAX), reader.varint(ALPHABET_MAX)
    centre, spread = reader.varint(_SIXTEENTHS_MAX), reader.varint(_SIXTEENTHS_MAX)
    head = Head(
        count, columns, kernel, lag, alphabet, background, centre, spread, density,
        spike=bool(kind & 1), transposed=bool(kind & 2), family=kind >> 2 & 3, taps=taps, rate=kind >> 4,
    )  # fmt: skip
    possible = (
        1 <= columns <= min(count, COLUMNS_MAX)
        and 1 <= kernel <= columns
        and lag >= 1
        and background < alphabet
        and spread >= 4
        and density >= 1
        and taps <= min(TAPS_MAX, columns + 15)
        and taps * columns <= TAP_WEIGHTS_MAX
        and (1 <= head.rate <= 14 if taps else head.rate == 0)
        and not (head.transposed and count % columns)
        and not (delta and (taps or not head.spike))
    )
    if not possible:
        raise CodecError("a number in the head is outside what is possible here")
    return head
