"""The probe: inputs with the same bits everywhere, and a comparison that says what differs."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_compression.artifact.probe import (
    Probe,
    ProbeInput,
    ProbeOutput,
    canonical,
    check_outputs,
    check_probe,
    probe_inputs,
)
from edgepress_compression.errors import ArtifactError

UNHURRIED = settings(deadline=None, max_examples=60)  # a busy machine is no failure

INPUT = ProbeInput(name="x", shape=(2, 3), dtype="float32", kind="uniform", low=-1.0, high=1.0)
OUTPUT = ProbeOutput(name="y", shape=(1, 4), positions=(0, 3), values=(0.5, -2.0))
PROBE = Probe(seed=1, inputs=(INPUT,), outputs=(OUTPUT,), rtol=0.01, atol=0.001)


def made(**changes):
    probe = Probe(seed=7, inputs=(msgspec.structs.replace(INPUT, shape=(4,), **changes),))
    return probe_inputs(probe)["x"]


@pytest.mark.parametrize(
    ("changes", "hexadecimal"),
    [
        ({"kind": "uniform"}, "026bcd3e0b544e3f1fef8f3e29e767bf"),
        ({"kind": "normal"}, "75da233fd29cfc3e5c20d3bed7c613be"),
        (
            {"kind": "tokens", "dtype": "int64", "low": 5.0, "high": 30000.0},
            "1c52000000000000d269000000000000134b0000000000008805000000000000",
        ),
        ({"kind": "uniform", "dtype": "uint8", "low": 0.0, "high": 255.0}, "b2e6a30c"),
    ],
)
def test_generated_inputs_are_the_bits_they_have_always_been(changes, hexadecimal):
    assert made(**changes).tobytes().hex() == hexadecimal


def plain_draw(seed, number, element, draw):
    """u(i, e, d) of docs/artifact.md, in Python's own integers."""
    word = 2**64 - 1

    def mix(z):
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & word
        z = (z ^ z >> 27) * 0x94D049BB133111EB & word
        return z ^ z >> 31

    return mix(mix(seed * 2**32 + 4 * number + draw) + (element + 1) * 0x9E3779B97F4A7C15 & word) >> 32


@UNHURRIED
@given(st.integers(0, 2**32 - 1), st.sampled_from(["uniform", "normal", "tokens"]))
def test_inputs_follow_the_format_page(seed, kind):
    second = msgspec.structs.replace(INPUT, name="z", kind=kind, dtype="float64", low=-3.0, high=9.0)
    values = probe_inputs(Probe(seed=seed, inputs=(INPUT, second)))["z"].reshape(-1)
    for element, value in enumerate(values.tolist()):
        draws = [plain_draw(seed, 1, element, draw) for draw in range(4)]
        expected = {
            "uniform": -3.0 + 12.0 * (draws[0] / 2**32),
            "normal": -3.0 + 12.0 * (sum(draws) / 2**34),
            "tokens": -3 + (draws[0] * 13 >> 32),
        }[kind]
        assert value == expected


def test_inputs_stay_in_their_range_and_differ_between_inputs_and_seeds():
    big = msgspec.structs.replace(INPUT, shape=(10_000,), kind="normal", low=0.0, high=10.0)
    other = msgspec.structs.replace(big, name="other")
    first, second = (probe_inputs(Probe(seed=seed, inputs=(big, other))) for seed in (1, 2))
    values = first["x"]
    assert values.min() >= 0
    assert values.max() <= 10
    assert abs(values.mean() - 5) < 0.1 and abs(values.std() - 1.44) < 0.05
    assert not np.array_equal(values, first["other"])
    assert not np.array_equal(values, second["x"])


@pytest.mark.parametrize(
    ("claim", "output", "reason"),
    [
        ("agrees within the tolerance", {"y": np.array([[0.5004, 9, 9, -2.02]], np.float32)}, None),
        ("is missing", {}, "output 'y' is missing"),
        ("has another shape", {"y": np.zeros((4, 1))}, "output 'y' has shape [4, 1], expected [1, 4]"),
        ("holds text", {"y": np.array([["a", "b", "c", "d"]])}, "output 'y' holds <U1, no numbers"),
        ("is off", {"y": np.array([[0.5, 0, 0, -2.03]])}, "output 'y' is -2.03 at position 3, expected -2"),
        (
            "is no number",
            {"y": np.array([[np.nan, 0, 0, -2]])},
            "output 'y' is nan at position 0, expected 0.5",
        ),
    ],
)
def test_an_output_that(claim, output, reason):
    assert check_outputs(PROBE, output) == reason


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("seed", {"seed": 2**32}),
        ("rtol and atol", {"rtol": float("nan")}),
        ("256 MiB", {"inputs": (msgspec.structs.replace(INPUT, shape=(2**30,)),)}),
        ("sides must be positive", {"inputs": (msgspec.structs.replace(INPUT, shape=(0, 2)),)}),
        ("range", {"inputs": (msgspec.structs.replace(INPUT, low=2.0),)}),
        ("range", {"inputs": (msgspec.structs.replace(INPUT, high=float("nan")),)}),
        ("range", {"inputs": (msgspec.structs.replace(INPUT, high=7e4, dtype="float16"),)}),
        ("range", {"inputs": (msgspec.structs.replace(INPUT, high=1e300, dtype="float64"),)}),
        ("does not fit uint8", {"inputs": (msgspec.structs.replace(INPUT, dtype="uint8"),)}),
        ("whole numbers", {"inputs": (msgspec.structs.replace(INPUT, kind="tokens", low=0.5),)}),
        ("one value a position", {"outputs": (msgspec.structs.replace(OUTPUT, values=(1.0,)),)}),
        ("outside its shape", {"outputs": (msgspec.structs.replace(OUTPUT, positions=(0, 4)),)}),
        ("not finite", {"outputs": (msgspec.structs.replace(OUTPUT, values=(1.0, float("nan"))),)}),
        ("not finite", {"outputs": (msgspec.structs.replace(OUTPUT, values=(1.0, 1e39)),)}),
        ("appears twice", {"outputs": (OUTPUT, OUTPUT)}),
    ],
)
def test_a_probe_is_refused_for(reason, change):
    with pytest.raises(ArtifactError, match=reason):
        check_probe(msgspec.structs.replace(PROBE, **change))


@UNHURRIED
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_the_canonical_probe_keeps_float32_values_exactly(value):
    output = msgspec.structs.replace(OUTPUT, values=(float(np.float32(value)), 1.0))
    short = canonical(Probe(outputs=(output,))).outputs[0].values[0]
    back = msgspec.json.decode(msgspec.json.encode(short), type=float)
    assert np.float32(back).tobytes() == np.float32(value).tobytes()
