"""How much memory decoding takes: peak of a fresh process, against the size of the decoded model.

    python tests/benchmarks/decode_memory.py [MODEL.onnx] [--coding small]

Without a model one of 64 MB is made: a large table in 6-bit steps, layers with codebooks, int8, and fp32 as
it is. The process imports what it needs and decodes a tiny artifact first; what its peak memory (VmHWM)
grows by after that is decoding. It is measured three ways: into memory (which holds the model), from a file
into a file, and the same as a delta. Linux only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgepress_compression.artifact.probe import Probe
from edgepress_compression.artifact.write import ScaledIntegers, write_artifact

CHILD = """
import sys
from pathlib import Path
from edgepress_compression.artifact.read import decode, decode_file

def status(key):
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith(key))
    return 1024 * int(line.split()[1])

how, warm, source, target, base = sys.argv[1:6]
decode(Path(warm).read_bytes())
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
if how == "memory":
    data = Path(source).read_bytes()
    before = status("VmRSS")
    model = decode(data)
else:
    old = Path(base).read_bytes() if base else None
    before = status("VmRSS")
    with open(source, "rb") as file, open(target, "wb") as out:
        decode_file(file, out, base=old)
print(status("VmHWM") - before)
"""


def made_model(size_mb: int = 64, seed: int = 0) -> tuple[bytes, dict[str, ScaledIntegers]]:
    """(ONNX file, codes): about ``size_mb`` million bytes of weights of every kind."""
    rng = np.random.default_rng(seed)
    rows = size_mb * 1_000_000 // 8 // 512
    table = np.rint(rng.laplace(0, 4, (rows, 512))).clip(-31, 31).astype(np.int32)
    codes = ScaledIntegers(table, rng.uniform(0.001, 0.002, rows).astype(np.float32))
    values = np.sort(rng.normal(0, 0.1, 1000)).astype(np.float32)
    weights = {
        "table": codes.weights(),
        "wide": values[np.rint(rng.normal(500, 60, (rows // 2, 512))).clip(0, 999).astype(int)],
        "pruned": np.where(
            rng.random((rows // 4, 512)) < 0.1, values[::64][rng.integers(0, 16, 1)], 0
        ).astype(np.float32),
        "int8": np.rint(rng.normal(0, 20, (rows // 4, 512))).clip(-128, 127).astype(np.int8),
        "dense": rng.normal(0, 0.1, (rows // 5, 512)).astype(np.float32),
    }
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "made", [value], [value], tensors)
    return helper.make_model(graph).SerializeToString(), {"table": codes}


def written(
    onnx_model: bytes, codes: dict[str, ScaledIntegers], coding: str, base: bytes | None = None
) -> bytes:
    return write_artifact(
        onnx_model,
        name="made",
        profile="generic-x86",
        recipe={},
        provenance={},
        metadata={},
        probe=Probe(),
        codes=codes,
        coding=coding,
        base=base,
    )


def grown_bytes(how: str, artifact: bytes, base: bytes | None = None) -> int:
    """By how much a fresh process's peak grows when it decodes ``artifact``: "memory" or "file"."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in ("warm", "source", "target", "base")}
        small = np.arange(64, dtype=np.float32).reshape(8, 8)
        tiny = helper.make_graph([], "t", [], [], [numpy_helper.from_array(small, "w")])
        files["warm"].write_bytes(written(helper.make_model(tiny).SerializeToString(), {}, "raw"))
        files["source"].write_bytes(artifact)
        if base is not None:
            files["base"].write_bytes(base)
        words = [str(files[name]) for name in ("warm", "source", "target")]
        words.append(str(files["base"]) if base is not None else "")
        command = [sys.executable, "-c", CHILD, how, *words]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--coding", default="auto")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    onnx_model, codes = (asked.model.read_bytes(), {}) if asked.model else made_model()
    artifact = written(onnx_model, codes, asked.coding)
    changed = bytearray(onnx_model)
    for at in range(len(changed) // 3, len(changed) // 3 + 4000, 4):
        changed[at] ^= 1
    delta = written(bytes(changed), {}, asked.coding, base=onnx_model)
    rows = {
        "into memory": (artifact, grown_bytes("memory", artifact)),
        "file to file": (artifact, grown_bytes("file", artifact)),
        "delta, file to file": (delta, grown_bytes("file", delta, onnx_model)),
    }
    print(f"{'':22}{'artifact':>12}{'model':>12}{'grown':>12}{'more than model':>17}  (MB)")
    for name, (data, grown) in rows.items():
        more = grown - len(onnx_model)
        columns = (f"{count / 1e6:12.2f}" for count in (len(data), len(onnx_model), grown))
        print(f"{name:22}{''.join(columns)}{more / 1e6:17.2f}")
    if asked.json:
        asked.json.write_text(json.dumps({name: grown for name, (_, grown) in rows.items()}))


if __name__ == "__main__":
    main()
