"""Files made to harm the reader, all checksums right: every reader gives the same model or refusal."""

import random

import pytest
from hostile_artifacts import MOST_BYTES, PARTS, WORDS, artifact, one_input, seeds

from edgepress_compression.artifact.read import decode
from edgepress_compression.errors import ArtifactError

SEEDS = seeds()


def mutated(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(1 + rng.randrange(1 + rng.randrange(6))):
        at = rng.randrange(1, len(out)) if rng.random() < 0.7 else rng.randrange(1, min(len(out), 900))
        kind = rng.randrange(6)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x30, 0x39, 0x5D, rng.randrange(256)))
        elif kind == 2:
            del out[at : at + rng.randrange(1, 9)]
        elif kind == 3:
            out[at:at] = out[at : at + rng.randrange(1, 40)]
        elif kind == 4:
            out[at : at + rng.randrange(12)] = rng.choice(WORDS).encode()
        else:  # a number in the header, made large or negative
            out[at:at] = rng.choice((b"9", b"99999", b"-", b"0", b"."))
        if len(out) < 3:
            break
    return bytes(out)


def test_the_seeds_decode():
    for number, seed in enumerate(SEEDS):
        # Parts are put together with DEFLATE heads, everything else is as it was written.
        assert one_input(seed) == "decoded", number


@pytest.mark.timeout(600)
def test_mutated_files_are_refused_with_a_reason_or_decode_the_same_everywhere():
    rng = random.Random(20)
    reasons = {}
    for _ in range(1200):
        said = one_input(mutated(rng.choice(SEEDS), rng))
        reasons[said.split("'")[0]] = reasons.get(said.split("'")[0], 0) + 1
        assert "Traceback" not in said
        assert len(said) < 1000
    assert len(reasons) > 12, reasons  # the mutations do get past the first checks


@pytest.mark.parametrize("claimed", [10**6 + 2**20, 2**31 - 1])
def test_a_bomb_is_refused_by_its_header(claimed):
    seed = next(seed for seed in SEEDS if seed[0] == PARTS)
    file, _ = artifact(seed.replace(b'"onnx_bytes":', b'"onnx_bytes":%d,"x":' % claimed, 1))
    with pytest.raises(ArtifactError, match="header"):
        decode(file, max_bytes=MOST_BYTES)
