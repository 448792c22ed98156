"""PUBLISH packets made beforehand: 64 devices' batches as one array of bytes, whose fields are set in place.

A batch of a board is encoded once, by the protocol's own encoder; names, packet ids, batch numbers and times
lie at known places of fixed width in it, so a thousand packets cost what copying them costs.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepress_devices.metrics import METRICS
from edgepress_devices.protocol import Sample, TelemetryBatch, encode_batch, up_topic
from telemetry_cases.board import samples

ROWS: Final = 64
SAMPLES: Final = 10
EPOCH: Final = "0123456789abcdef"
DIGITS: Final = 6
_NUMBER, _OLDEST = 0x7DEADBEE, 0x7DEADBEF  # five bytes each in msgpack: ce and the number
_START_MS: Final = 1_900_000_000_000  # nine bytes: cf and the number
_SENT_MS: Final = 1_950_000_000_000


def device(n: int) -> str:
    return f"load-{n:0{DIGITS}d}"


class Template:
    """One board's batch; ``fill`` makes it the batches of up to ROWS devices."""

    def __init__(self, seed: int, artifact: str) -> None:
        self.samples = samples(seed, SAMPLES, _START_MS, artifact=artifact)
        batch = TelemetryBatch(1, EPOCH, _NUMBER, self.samples, _OLDEST, sent_at_ms=_SENT_MS)
        payload = encode_batch(batch)
        topic = up_topic(device(0), "telemetry").encode()
        body = struct.pack("!H", len(topic)) + topic + b"\0\0" + payload
        packet = b"\x32" + _length(len(body)) + body  # QoS 1
        self.bytes = len(packet)
        self._rows = np.tile(np.frombuffer(packet, np.uint8), (ROWS, 1))
        start = packet.index(topic)
        self._name = start + len(topic) - len("000000/up/telemetry")
        self._id = start + len(topic)
        self._number = packet.index(_NUMBER.to_bytes(4, "big"))
        self._oldest = packet.index(_OLDEST.to_bytes(4, "big"))
        self._times = [packet.index(sample.at_ms.to_bytes(8, "big")) for sample in self.samples]
        self._sent = packet.index(_SENT_MS.to_bytes(8, "big"))

    def fill(
        self,
        names: NDArray[np.uint8],
        ids: NDArray[np.int64],
        number: int,
        oldest: object,
        span_ms: tuple[int, int],
        sent_ms: int,
    ) -> bytes:
        """Packets of len(names) devices. ``names`` [n, DIGITS] ASCII; ``ids`` [n]; ``oldest`` [n] or one for
        all; the samples end evenly in ``span_ms`` = (after, to and with).
        """
        count = len(names)
        rows = self._rows[:count]
        rows[:, self._name : self._name + DIGITS] = names
        rows[:, self._id] = ids >> 8
        rows[:, self._id + 1] = ids & 255
        big = np.broadcast_to(np.asarray(oldest, ">u4"), (count,))
        rows[:, self._oldest : self._oldest + 4] = np.ascontiguousarray(big).view(np.uint8).reshape(-1, 4)
        rows[:, self._number : self._number + 4] = _bytes(number, 4)
        rows[:, self._sent : self._sent + 8] = _bytes(sent_ms, 8)
        after, last = span_ms
        for i, at in enumerate(self._times, 1):
            rows[:, at : at + 8] = _bytes(after + (last - after) * i // SAMPLES, 8)
        return rows.tobytes()


def _bytes(value: int, width: int) -> NDArray[np.uint8]:
    return np.frombuffer(value.to_bytes(width, "big"), np.uint8)


def digits(count: int) -> NDArray[np.uint8]:
    """[count, DIGITS] what stands in the names of the devices, in ASCII."""
    text = "".join(f"{n:0{DIGITS}d}" for n in range(count))
    return np.frombuffer(text.encode(), np.uint8).reshape(count, DIGITS)


def steps(sample: Sample) -> Counter[str]:
    """What the store should add up for a sample, by metric, in steps of its resolution. Written down here
    from the catalogue, without the store's own code.
    """
    made: Counter[str] = Counter()
    kinds = sample.error_kinds
    for metric in METRICS:
        value: object
        if metric.name == "covered_ms":
            value = sample.interval_ms
        elif metric.name.startswith("errors_"):
            value = None if kinds is None else getattr(kinds, metric.name.removeprefix("errors_"))
        elif metric.name in ("power_mw", "energy_mj"):
            reading = getattr(sample, metric.name)
            value = None if reading is None else reading.value
        else:
            value = getattr(sample, metric.name, None)
        if value is not None:
            made[metric.name] = round(float(value) / metric.resolution)  # type: ignore[arg-type]
    return made


def _length(count: int) -> bytes:
    out = bytearray()
    while True:
        out.append(count & 0x7F | (0x80 if count > 0x7F else 0))
        count >>= 7
        if not count:
            return bytes(out)
