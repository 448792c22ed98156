"""The probe: generated inputs and the outputs a right runtime gives for them.

A device generates the inputs, runs the model that it decoded and compares. The inputs are the same bits on
every platform: they come from a counter-based integer generator (splitmix64: Steele, Lea, Flood 2014, "Fast
splittable pseudorandom number generators", the finalizer of section 3) and exact or single IEEE 754
operations, never from libm.

Element ``e`` (0-based, flat, C order) of input number ``i`` (in the order of ``Probe.inputs``), draw ``d``
in 0..3, all arithmetic modulo 2**64::

    mix(z)     z ^= z >> 30; z *= 0xBF58476D1CE4E5B9; z ^= z >> 27; z *= 0x94D049BB133111EB; z ^ z >> 31
    u(i, e, d) = mix(mix(seed * 2**32 + 4 * i + d) + (e + 1) * 0x9E3779B97F4A7C15) >> 32

* ``uniform``  low + (high - low) * u / 2**32, u = one 32-bit draw
* ``normal``   bell-shaped between low and high: the mean of four such draws (its standard deviation is
               0.144 * (high - low))
* ``tokens``   integers, low <= t <= high inclusive: low + (u * (high - low + 1) >> 32)
"""

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgepress_compression.errors import ArtifactError

POSITIONS_MAX: Final = 64  # checked values per output
INPUT_MAX_BYTES: Final = 256 << 20  # all generated inputs together
_DIMS_MAX: Final = 8
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
_FLOAT16_MAX: Final = float(np.finfo(np.float16).max)

Dtype = Literal["float32", "float64", "float16", "int64", "int32", "uint8", "int8", "bool"]


class ProbeInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One input to generate: its shape has the batch filled in."""

    name: str
    shape: tuple[int, ...]
    dtype: Dtype
    kind: Literal["normal", "uniform", "tokens"]
    low: float
    high: float


class ProbeOutput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one output must be: its whole shape, and its values at some flat positions (C order)."""

    name: str
    shape: tuple[int, ...]
    positions: tuple[int, ...]
    values: tuple[float, ...]


class Probe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Inputs to generate, outputs to expect: ``|got - value| <= atol + rtol * |value|`` at each position."""

    seed: int = 0
    inputs: tuple[ProbeInput, ...] = ()
    outputs: tuple[ProbeOutput, ...] = ()
    rtol: float = 1e-3
    atol: float = 1e-3


def probe_inputs(probe: Probe) -> dict[str, NDArray[Any]]:
    """Generates the probe's inputs: arrays by input name, bit for bit the same on every platform.

    Raises ArtifactError for a probe that ``check_probe`` refuses.
    """
    check_probe(probe)
    return {spec.name: _generate(spec, probe.seed, number) for number, spec in enumerate(probe.inputs)}


def check_outputs(probe: Probe, outputs: Mapping[str, NDArray[Any]]) -> str | None:
    """None when ``outputs`` (by output name) agree with the probe, else the reason in words."""
    for expected in probe.outputs:
        got = outputs.get(expected.name)
        if got is None:
            return f"output '{expected.name}' is missing"
        if tuple(got.shape) != expected.shape:
            return f"output '{expected.name}' has shape {list(got.shape)}, expected {list(expected.shape)}"
        if got.dtype.kind not in "biuf":
            return f"output '{expected.name}' holds {got.dtype}, no numbers"
        values = got.reshape(-1)[list(expected.positions)].astype(np.float64)
        for position, value, want in zip(expected.positions, values.tolist(), expected.values, strict=True):
            # Written so that a NaN, which compares false, counts as a difference.
            if not abs(value - want) <= probe.atol + probe.rtol * abs(want):
                return f"output '{expected.name}' is {value:.6g} at position {position}, expected {want:.6g}"
    return None


def check_probe(probe: Probe) -> None:
    """Raises ArtifactError when the probe cannot be generated or compared within its limits."""
    if not 0 <= probe.seed < 1 << 32:
        raise _wrong(f"seed {probe.seed} is not in 0..2^32-1")
    if not (_tolerance(probe.rtol) and _tolerance(probe.atol)):
        raise _wrong("rtol and atol must be finite and not negative")
    total = 0
    for spec in probe.inputs:
        total += _elements(spec.name, spec.shape) * np.dtype(spec.dtype).itemsize
        if total > INPUT_MAX_BYTES:
            raise _wrong(f"its inputs need more than {INPUT_MAX_BYTES >> 20} MiB")
        _check_range(spec)
    for output in probe.outputs:
        size = _elements(output.name, output.shape)
        if len(output.positions) != len(output.values) or len(output.positions) > POSITIONS_MAX:
            raise _wrong(f"output '{output.name}' needs one value a position, at most {POSITIONS_MAX}")
        if not all(0 <= position < size for position in output.positions):
            raise _wrong(f"output '{output.name}' has a position outside its shape {list(output.shape)}")
        if not all(abs(value) <= _FLOAT32_MAX for value in output.values):  # false for NaN, too
            raise _wrong(f"output '{output.name}' has a value that is not finite in float32")
    names = [spec.name for spec in probe.inputs], [output.name for output in probe.outputs]
    if any(len(set(group)) != len(group) for group in names):
        raise _wrong("a name appears twice")


def canonical(probe: Probe) -> Probe:
    """The same probe with each value as the shortest decimal of its float32, which keeps the header small."""
    return msgspec.structs.replace(
        probe,
        outputs=tuple(
            msgspec.structs.replace(
                output, values=tuple(float(str(np.float32(value))) for value in output.values)
            )
            for output in probe.outputs
        ),
    )


def _wrong(reason: str) -> ArtifactError:
    return ArtifactError("probe", reason)


def _tolerance(value: float) -> bool:
    return math.isfinite(value) and value >= 0


def _elements(name: str, shape: tuple[int, ...]) -> int:
    if len(shape) > _DIMS_MAX or not all(0 < side <= 1 << 31 for side in shape):
        raise _wrong(
            f"'{name}' has the shape {list(shape)}; sides must be positive, at most {_DIMS_MAX} of them"
        )
    return math.prod(shape)


def _check_range(spec: ProbeInput) -> None:
    limit = (
        _FLOAT16_MAX if spec.dtype == "float16" else _FLOAT32_MAX
    )  # also for float64: high - low is finite
    if not -limit <= spec.low <= spec.high <= limit:
        raise _wrong(f"input '{spec.name}' has the range {spec.low} to {spec.high}")
    if spec.kind == "tokens" and not (
        spec.low.is_integer()
        and spec.high.is_integer()
        and abs(spec.low) < 1 << 31
        and abs(spec.high) < 1 << 31
    ):
        raise _wrong(f"input '{spec.name}': tokens need whole numbers of at most 31 bits as low and high")
    if spec.dtype in ("int64", "int32", "uint8", "int8"):
        limits = np.iinfo(spec.dtype)
        if spec.low < limits.min or spec.high > limits.max:
            raise _wrong(f"input '{spec.name}': {spec.low} to {spec.high} does not fit {spec.dtype}")


def _generate(spec: ProbeInput, seed: int, number: int) -> NDArray[Any]:
    count = math.prod(spec.shape)
    if spec.kind == "tokens":
        low = int(spec.low)
        span = np.uint64(int(spec.high) - low + 1)
        whole = (_draws(seed, number, 0, count) * span) >> np.uint64(32)
        values: NDArray[Any] = whole.astype(np.int64) + low
    else:
        draws = 4 if spec.kind == "normal" else 1
        total = _draws(seed, number, 0, count)
        for draw in range(1, draws):
            total += _draws(seed, number, draw, count)
        # Both operands are exact in float64 (34 bits, a power of two): the only rounding is that of
        # one product, one sum and the final cast, all IEEE 754.
        unit = total.astype(np.float64) / float(draws << 32)
        values = spec.low + (spec.high - spec.low) * unit
        if spec.dtype.startswith(("int", "uint")):
            values = np.floor(values)
    return values.astype(spec.dtype).reshape(spec.shape)


def _draws(seed: int, number: int, draw: int, count: int) -> NDArray[np.uint64]:
    """u(number, 0..count-1, draw) as uint64; the mixed start keeps neighbouring streams from overlapping."""
    start = _finalize(np.array([(seed << 32) + number * 4 + draw], np.uint64))[0]
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is meant
        counter = start + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return _finalize(counter) >> np.uint64(32)


def _finalize(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
