"""The model of text, in plain Python: the specification. text.py runs the compiled twin where it is built.

A byte is eight binary decisions, high bit first; ``node`` is 1 followed by the bits of the byte so far. Each
decision is predicted by eight contexts and by the longest match, mixed by two learned linear mixers (logistic
mixing: Mahoney 2005, "Adaptive weighing of context models for lossless data compression", section 3) and
coded by a binary range coder. Whole numbers only, so every machine computes the same.

All hashes are modulo 2**32, ``mix`` is Wellons' lowbias32 (nullprogram.com, "Prospecting for hash functions",
2018). c1 is the last byte, c2 the one before, ...; 0 before the first. Contexts, by number::

    0  nothing                     4  mix(c1 + c2<<8 + c3<<16 + c4<<24) + c5 + c6<<8
    1  c1                          5  c4 + (bytes so far mod 4)<<8        (for float32 numbers)
    2  c1 + c2<<8                  6  mix(word) + c1
    3  c1 + c2<<8 + c3<<16         7  c2 + c3<<8

``word`` is 0 after a byte that is no ASCII letter, else mix(word before + c1). A decision's slot in context i
is (mix(context + (i + 1) * G) + node * G) mod 2**32 >> 15, with G = 0x9E3779B1: 2**17 slots a context. A slot
holds a probability of a one p (16 bits, at first 2**15) and a count n (at first 0). After each decision p
moves by (target - p) * rate[n] >> 14, with target 65535 for a one and 0 for a zero and rate[n] = 32768 //
(2 * n + 3), and n grows by one, to 12.
"""

from typing import Final

LETTERS: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
CONTEXTS: Final = 8
COUNT_MAX: Final = 12
_G: Final = 0x9E3779B1
_M: Final = 0xFFFFFFFF
_SLOT_SHIFT: Final = 15
_RATE: Final = tuple(32768 // (2 * count + 3) for count in range(COUNT_MAX + 1))
_INPUTS: Final = 2 * CONTEXTS + 2
_MATCH_MIN: Final = 4
_MATCH_LOOK: Final = 32
_MATCH_MAX: Final = 65_535
_WEIGHT_CONTEXT: Final = 10_000  # 65,536 is 1.0
_WEIGHT_MATCH: Final = 40_000
_WEIGHT_MAX: Final = 1 << 19
_LEARNING_RATE: Final = 3
# round(4096 / (1 + exp(-i / 4))), i = 0 .. 32
_LOGISTIC: Final = (
    *(2048, 2303, 2550, 2782, 2994, 3184, 3349, 3490, 3608, 3705, 3785, 3850, 3902, 3943, 3976, 4002, 4022),
    *(4038, 4051, 4061, 4069, 4075, 4079, 4083, 4086, 4088, 4090, 4091, 4092, 4093, 4094, 4094, 4095),
)


def squash(stretched: int) -> int:
    """A probability of 4096 (2 .. 4094) for a logit of -2047 .. 2047, in 1/256."""
    size = abs(stretched)
    at, part = size >> 6, size & 63
    value = _LOGISTIC[at] + ((_LOGISTIC[at + 1] - _LOGISTIC[at]) * part >> 6)
    return value if stretched >= 0 else 4096 - value


def _stretches() -> tuple[int, ...]:
    table, logit = [], -2047
    for probability in range(4096):
        while logit < 2047 and squash(logit) < probability:
            logit += 1
        table.append(logit)
    return tuple(table)


_STRETCH: Final = _stretches()  # the smallest logit that squash takes to the probability or more


def mix(value: int) -> int:
    """Wellons' lowbias32."""
    value &= _M
    value = (value ^ value >> 16) * 0x7FEB352D & _M
    value = (value ^ value >> 15) * 0x846CA68B & _M
    return value ^ value >> 16


class TextModel:
    """Predicts the bits of a text, and learns each."""

    def __init__(self) -> None:
        self._history = bytearray()
        self._word = 0
        self._probability: list[dict[int, int]] = [{} for _ in range(CONTEXTS)]
        self._count: list[dict[int, int]] = [{} for _ in range(CONTEXTS)]
        weights = [_WEIGHT_CONTEXT, 0] * CONTEXTS + [_WEIGHT_MATCH, 0]
        self._by_confidence = [weights.copy() for _ in range((CONTEXTS + 1) * 5)]
        self._by_node = [weights.copy() for _ in range(256)]
        self._last: dict[int, int] = {}  # hash of four bytes -> where they ended last
        self._match_at = self._match_bytes = 0
        self._hashes = [0] * CONTEXTS
        self._node = 1
        self._inputs = [0] * _INPUTS
        self._slots = [0] * CONTEXTS
        self._weights = self._by_confidence[0]
        self._logits = (0, 0)
        self._begin_byte()

    def copy(self) -> "TextModel":
        """A model that knows the same."""
        other = TextModel()
        other._history = self._history.copy()
        other._word = self._word
        other._probability = [slots.copy() for slots in self._probability]
        other._count = [slots.copy() for slots in self._count]
        other._by_confidence = [weights.copy() for weights in self._by_confidence]
        other._by_node = [weights.copy() for weights in self._by_node]
        other._last = self._last.copy()
        other._match_at, other._match_bytes = self._match_at, self._match_bytes
        other._begin_byte()
        return other

    def learn(self, data: bytes) -> None:
        """See ``data`` without coding it. Only between bytes."""
        for byte in data:
            for place in range(7, -1, -1):
                self.predict()
                self.update(byte >> place & 1)

    def predict(self) -> int:
        """How likely the next bit is a one, of 4096."""
        inputs, slots, node = self._inputs, self._slots, self._node
        known = 0
        for i, context in enumerate(self._hashes):
            slot = slots[i] = (context + node * _G & _M) >> _SLOT_SHIFT
            count = self._count[i].get(slot, 0)
            if count:
                probability = self._probability[i][slot] >> 4
                inputs[2 * i] = _STRETCH[probability]
                inputs[2 * i + 1] = (probability - 2048) * count >> 4
                known += 1
            else:
                inputs[2 * i] = inputs[2 * i + 1] = 0
        length = self._match_bytes
        if length:
            expected = self._history[self._match_at] | 256
            if expected >> (9 - node.bit_length()) == node:
                strength = length * 40 if length < 16 else 600 + min(length, 32) * 30
                one = expected >> (8 - node.bit_length()) & 1
                inputs[-2] = strength if one else -strength
            else:
                length = self._match_bytes = 0  # the byte is another one
        if not length:
            inputs[-2] = 0
        inputs[-1] = 256
        band = 0 if not length else 1 if length < 8 else 2 if length < 16 else 3 if length < 32 else 4
        self._weights = self._by_confidence[known * 5 + band]
        first = _dot(inputs, self._weights)
        second = _dot(inputs, self._by_node[node])
        self._logits = first, second
        return squash(first + second >> 1)

    def update(self, bit: int) -> None:
        """The bit that ``predict`` spoke of."""
        for logit, weights in zip(self._logits, (self._weights, self._by_node[self._node]), strict=True):
            error = ((bit << 12) - squash(logit)) * _LEARNING_RATE
            for i, value in enumerate(self._inputs):
                weight = weights[i] + (value * error + 8192 >> 14)
                weights[i] = max(-_WEIGHT_MAX, min(_WEIGHT_MAX, weight))
        target = 65535 if bit else 0
        for i, slot in enumerate(self._slots):
            count = self._count[i].get(slot, 0)
            probability = self._probability[i].get(slot, 32768)
            self._probability[i][slot] = probability + ((target - probability) * _RATE[count] >> 14)
            self._count[i][slot] = min(count + 1, COUNT_MAX)
        self._node = self._node << 1 | bit
        if self._node >= 256:
            self._end_byte(self._node & 255)

    def _end_byte(self, byte: int) -> None:
        history = self._history
        if self._match_bytes and history[self._match_at] == byte:
            self._match_bytes = min(self._match_bytes + 1, _MATCH_MAX)
            self._match_at += 1
        else:
            self._match_bytes = 0
        history.append(byte)
        self._word = mix(self._word + byte) if byte in LETTERS else 0
        if len(history) >= _MATCH_MIN:
            key = mix(int.from_bytes(history[-4:], "big")) >> 16
            if not self._match_bytes:
                self._match_at = self._last.get(key, 0)
                self._match_bytes = self._agreement(self._match_at)
            self._last[key] = len(history)
        self._begin_byte()

    def _agreement(self, at: int) -> int:
        """How many bytes before ``at`` are those before the end, at most 32."""
        history, length = self._history, 0
        while length < min(at, _MATCH_LOOK) and history[at - 1 - length] == history[-1 - length]:
            length += 1
        return length

    def _begin_byte(self) -> None:
        self._node = 1
        c = [*self._history[:-7:-1], 0, 0, 0, 0, 0, 0]
        values = (
            0,
            c[0],
            c[0] | c[1] << 8,
            c[0] | c[1] << 8 | c[2] << 16,
            mix(c[0] | c[1] << 8 | c[2] << 16 | c[3] << 24) + (c[4] | c[5] << 8),
            c[3] | (len(self._history) & 3) << 8,
            mix(self._word) + c[0],
            c[1] | c[2] << 8,
        )
        self._hashes = [mix(value + (i + 1) * _G) for i, value in enumerate(values)]


def _dot(inputs: list[int], weights: list[int]) -> int:
    total = sum(map(int.__mul__, inputs, weights)) >> 16
    return max(-2047, min(2047, total))
