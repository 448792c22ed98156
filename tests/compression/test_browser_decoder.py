"""The browser's decoder, written from docs/artifact.md: the same models and the same refusals as Python's.

It runs in Node here, with the codec in WebAssembly, as in a browser.
"""

import importlib.util
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from make_vectors import vectors
from small_artifacts import (
    ARTIFACT,
    MODEL,
    SECTIONS_AT,
    model,
    rebuilt,
    skeleton_of,
    with_body,
    with_entry,
    with_header,
    write,
)

from edgepress_compression.artifact.format import Grid
from edgepress_compression.artifact.read import decode, read_header
from edgepress_compression.codec.deflate import deflate
from edgepress_compression.errors import ArtifactError

ROOT = Path(__file__).parents[2]
BROWSER = ROOT / "agent/browser"
FIXTURES = sorted((ROOT / "tests/fixtures/artifact").glob("*.epa"))
ALLOWED = 512 << 20
MORE_THAN_THE_MODEL = 8_000_000  # bytes of memory that decoding may take


class Refused(Exception):
    """The browser's ArtifactError."""

    def __init__(self, section: str, reason: str) -> None:
        super().__init__(f"{section}: {reason}")
        self.section = section
        self.reason = reason


class Browser:
    """A process that decodes what it is sent (agent/browser/fuzz/decode.ts)."""

    def __init__(self, node: str) -> None:
        self.process = subprocess.Popen(
            [node, str(BROWSER / "fuzz/decode.ts")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.node = node
        self.peak_bytes = 0

    def decode(self, artifact, base=None, max_bytes=ALLOWED, chunk_bytes=1 << 30):
        """The model; raises Refused. A decoder that crashed is a failure of the test."""
        stdin, stdout = self.process.stdin, self.process.stdout
        request = {
            "bytes": len(artifact),
            "base_bytes": None if base is None else len(base),
            "max_bytes": max_bytes,
            "chunk_bytes": chunk_bytes,
        }
        stdin.write(json.dumps(request).encode() + b"\n" + artifact + (base or b""))
        stdin.flush()
        line = stdout.readline()
        assert line, f"the decoder ended with status {self.process.wait()}"
        answer = json.loads(line)
        if "reason" in answer:
            raise Refused(**answer)
        self.peak_bytes = answer["peak_bytes"]
        return stdout.read(answer["bytes"])


def find_node():
    """The script that knows where Node.js is, and the program; skips where there is none of a fit version."""
    spec = importlib.util.spec_from_file_location("build_web", ROOT / "deploy/build_web.py")
    build_web = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build_web)
    try:
        node = build_web.find_node().node
    except build_web.NodeMissingError as error:
        return None, str(error)
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    major, minor = map(int, said.strip().lstrip("v").split(".")[:2])
    return (node, None) if (major, minor) >= (22, 18) else (None, f"Node {said} knows no types; 22.18 does")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """All vectors, and a folder with their files."""
    folder = tmp_path_factory.mktemp("vectors")
    made = list(vectors(seed=0))
    for vector in made:
        vector.write(folder)
    return made, folder


@pytest.fixture(scope="module")
def browser():
    node, missing = find_node()
    build = [sys.executable, str(ROOT / "deploy/build_native.py"), "--wasm"]
    built = subprocess.run(build, capture_output=True, text=True, check=False) if node else None
    if built is None or built.returncode != 0:
        reason = missing or built.stderr.strip()
        assert os.environ.get("CI") != "true", f"in CI nothing is left out: {reason}"
        pytest.skip(reason)
    opened = Browser(str(node))
    yield opened
    opened.process.stdin.close()
    assert opened.process.wait(timeout=30) == 0
    opened.process.stdout.close()


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_artifacts_of_every_version_decode(browser, path):
    artifact = path.read_bytes()
    base = (
        decode(path.with_name(path.name.replace("-delta", "")).read_bytes()) if "delta" in path.stem else None
    )
    assert browser.decode(artifact, base) == decode(artifact, base=base)


@pytest.mark.timeout(300)
def test_all_codings_decode_to_the_same_bytes(browser, made):
    for number, vector in enumerate(made[0]):
        chunk_bytes = (1 << 30, 1000, 7, 65_536)[number % 4]
        assert browser.decode(vector.artifact, vector.base, chunk_bytes=chunk_bytes) == vector.model, (
            vector.name
        )
        assert browser.peak_bytes <= len(vector.model) + MORE_THAN_THE_MODEL, vector.name


@pytest.mark.parametrize("chunk_bytes", [1, 2, 25, 26, 4096])
def test_the_pieces_that_an_artifact_comes_in_do_not_matter(browser, chunk_bytes):
    assert browser.decode(ARTIFACT, chunk_bytes=chunk_bytes) == MODEL


def test_a_baseline_of_whatever_version_is_passed_over(browser):
    for baseline in ({"v": 1, "rows": 3, "looks": [], "features": []}, {"v": 99, "from": "later"}, {}):
        said = msgspec.json.encode({"baseline": baseline})[:-1] + b","
        header = said + msgspec.json.encode(read_header(ARTIFACT), order="sorted")[1:]
        assert browser.decode(rebuilt(header=header)) == decode(rebuilt(header=header)) == MODEL


def test_decoding_needs_little_more_memory_than_the_model(browser):
    rng = np.random.default_rng(3)
    book = rng.normal(size=300).astype(np.float32)
    weights = {
        "shared": book[np.clip(rng.normal(150, 40, (1500, 1000)), 0, 299).astype(int)],
        "dense": rng.normal(size=(1000, 1000)).astype(np.float32),
        "last": rng.integers(-128, 127, (1000, 2000)).astype(np.int8),
    }
    onnx_model = model(weights)
    artifact = write(onnx_model, coding="fast")
    assert browser.decode(artifact, chunk_bytes=65_536) == onnx_model
    assert browser.peak_bytes <= len(onnx_model) + MORE_THAN_THE_MODEL


LIES = {
    "another magic": b"PK" + ARTIFACT[2:],
    "a version to come": rebuilt(start={4: 3}),
    "a head coded in another way": rebuilt(start={5: 2}),
    "nothing": b"",
    "half a start": ARTIFACT[:12],
    "half a head": ARTIFACT[:100],
    "half of the sections": ARTIFACT[: (SECTIONS_AT + len(ARTIFACT)) // 2],
    "bytes at the end": ARTIFACT + b"\0",
    "a bit in the head": ARTIFACT[:60] + bytes([ARTIFACT[60] ^ 1]) + ARTIFACT[61:],
    "a bit in a section": ARTIFACT[:-9] + bytes([ARTIFACT[-9] ^ 1]) + ARTIFACT[-8:],
    "a header that is no JSON": rebuilt(header=b"{]"),
    "a header that is no object": rebuilt(header=b"[]"),
    "a header that is no text": rebuilt(header=b'{"name":"\xff"}'),
    "a header of brackets": rebuilt(header=b"[" * 100_000),
    "a header that is longer than it says": rebuilt(lengths={1: 10}),
    "a header that is too long": rebuilt(lengths={1: (16 << 20) + 1}),
    "a skeleton that is longer than it says": rebuilt(lengths={2: 3}),
    "a skeleton of other length": rebuilt(skeleton=skeleton_of(ARTIFACT) + b"\0"),
    "an unknown key": rebuilt(header=msgspec.json.encode(read_header(ARTIFACT))[:-1] + b',"more":1}'),
    "a baseline that is no object": rebuilt(
        header=b'{"baseline":[1],' + msgspec.json.encode(read_header(ARTIFACT), order="sorted")[1:]
    ),
    "a larger model": with_header(onnx_bytes=len(MODEL) + 1),
    "a model of 3 GiB": with_header(onnx_bytes=3 << 30),
    "another SHA-256": with_header(onnx_sha256="0" * 64),
    "no SHA-256": with_header(onnx_sha256="X" * 64),
    "an unknown coding": with_entry(coding="lzma"),
    "a coding of deltas": with_entry(coding="same", values=0, stored_bytes=0),
    "no name": with_entry(name=""),
    "a long name": with_entry(name="n" * 1025),
    "nine sides": with_entry(shape=(1,) * 9),
    "a side of 0": with_entry(shape=(0, 5)),
    "a tensor of 2^62 elements": with_entry(shape=(1 << 31, 1 << 31)),
    "a tensor as large as is possible": with_entry(shape=((1 << 29) - 1,)),
    "a negative skip": with_entry(skip=-1),
    "a section longer than its tensor": with_entry(stored_bytes=10_000_000),
    "a negative section": with_entry(stored_bytes=-1),
    "a codebook of 4097": with_entry(values=4097),
    "a codebook of -1": with_entry(values=-1),
    "another codebook": with_entry(values=17),
    "a grid of nothing": with_entry(values=Grid(0, 0, 0, 0)),
    "a grid of another axis": with_entry(values=Grid(0, 16, 2, 0)),
    "a grid too high": with_entry(values=Grid(1 << 23, 16, 0, 0)),
    "a grid of unknown kind": with_entry(values=Grid(0, 16, 0, 4)),
    "a body of nothing": with_body(b""),
    "a body of zeros": with_body(bytes(100)),
    "a body of ones": with_body(b"\xff" * 100),
    "a body that is no stream": with_body(b"\xff" * 100, coding="rans"),
    "a bomb": with_body(deflate(bytes(10_000_000)), coding="deflate", values=0),
}


@pytest.mark.parametrize("claim", LIES)
def test_lies_are_refused_as_python_refuses_them(browser, claim):
    with pytest.raises(ArtifactError) as python:
        decode(LIES[claim])
    with pytest.raises(Refused) as refused:
        browser.decode(LIES[claim])
    if "half" not in claim and claim != "bytes at the end":  # seen when they come, in a stream
        assert refused.value.section == python.value.section


def test_a_section_longer_than_its_tensor_is_refused_by_the_header(browser):
    with pytest.raises(Refused, match="a length in the header is not possible"):
        browser.decode(with_entry(stored_bytes=10_000_000))


def test_a_model_larger_than_the_caller_allows_is_refused_by_its_header(browser):
    with pytest.raises(Refused, match="more than the 1000 allowed here") as refused:
        browser.decode(ARTIFACT[:SECTIONS_AT], max_bytes=1000)
    assert refused.value.section == "header"


@pytest.mark.parametrize(
    ("base", "said"), [(None, "none was given"), (MODEL[:-1], "bytes"), (b"", "0 bytes")]
)
def test_a_delta_without_its_base_says_which_one_it_needs(browser, base, said):
    delta = write(MODEL, base=MODEL)
    with pytest.raises(Refused, match=said) as refused:
        browser.decode(delta, base)
    assert read_header(delta).base.onnx_sha256 in refused.value.reason


def damaged(rng, of):
    """``of`` with some bytes of one section changed, and all checksums made right."""
    artifact, header, ends = of
    number = int(rng.integers(0, len(ends)))
    start = ends[number] - header.tensors[number].stored_bytes
    body = bytearray(artifact[start : ends[number] - 2])
    for _ in range(int(rng.integers(1, 4))):
        # Lengths and tables stand in front.
        at = int(min(rng.integers(0, len(body)), rng.integers(0, len(body))))
        body[at] = int(
            rng.choice((body[at] ^ 1 << int(rng.integers(0, 8)), 0, 255, int(rng.integers(0, 256))))
        )
    seal = (zlib.crc32(body) & 0xFFFF).to_bytes(2, "little")
    return artifact[:start] + bytes(body) + seal + artifact[ends[number] :], number


def opened(vector):
    header = read_header(vector.artifact)
    at = len(vector.artifact) - sum(entry.stored_bytes for entry in header.tensors)
    return vector.artifact, header, np.cumsum([entry.stored_bytes for entry in header.tensors]) + at


def outcome(read, artifact, base):
    """The model, or the section at fault."""
    try:
        return read(artifact, base=base)
    except (ArtifactError, Refused) as error:
        return error.section


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
def test_damaged_sections_mean_the_same_as_in_python(browser, made):
    rng = np.random.default_rng(11)
    small = [vector for vector in made[0] if 1000 < len(vector.model) < 120_000]
    known = [(vector, opened(vector)) for vector in small]
    outcomes = {"section": 0, "file": 0}
    for _ in range(300):
        vector, of = known[int(rng.integers(0, len(known)))]
        artifact, number = damaged(rng, of)
        ours = outcome(browser.decode, artifact, vector.base)
        assert ours == outcome(decode, artifact, vector.base), (vector.name, of[1].tensors[number])
        outcomes["file" if ours == "file" else "section"] += 1
    assert min(outcomes.values()) > 20


@pytest.mark.timeout(300)
def test_damaged_artifacts_do_no_harm(browser, made):
    """A bounded run of agent/browser/fuzz/campaign.ts."""
    program = str(BROWSER / "fuzz/campaign.ts")
    done = subprocess.run(
        [browser.node, program, str(made[1]), "4000", "1"],
        capture_output=True, text=True, check=False, cwd=made[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["runs"] == 4000
    assert counts["accepted"] > 50
    assert min(counts["sections"][section] for section in ("file", "header", "tensor")) > 100


def test_types_and_unit_tests_of_the_browsers_agent_pass():
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy/check_browser.py")], capture_output=True, text=True, check=False
    )
    if done.returncode != 0 and "Is the npm registry reachable?" in done.stderr:
        assert os.environ.get("CI") != "true", f"in CI nothing is left out: {done.stderr}"
        pytest.skip(done.stderr.strip()[:200])
    assert done.returncode == 0, done.stderr
