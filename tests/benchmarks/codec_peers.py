"""Coders of others, on the same tensors in the same run: those that are installed.

NNCodec (the reference software of ISO/IEC 15938-17, Clear BSD, no patent rights) is no dependency: it is
measured where somebody has put it (``pip install --no-deps nncodec``, which compiles C++). Only its compiled
coder is loaded, since the package itself imports a training framework.
"""

import importlib.util
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[Any]
Encode = Callable[[Tensor], Any]
Decode = Callable[[Any, Tensor], Tensor]  # payload, a tensor of the same shape and type -> the symbols


@dataclass(frozen=True)
class Peer:
    """``encode`` gives a payload, ``size`` its bytes, ``decode`` the tensor again."""

    name: str
    encode: Encode
    decode: Decode
    size: Callable[[Any], int] = len


def installed() -> list[Peer]:
    """Every peer that this machine has."""
    return [*_of_bytes(), *_constriction(), *_nncodec()]


def _of_bytes() -> list[Peer]:
    def plain(name: str, encode: Callable[[bytes], bytes], decode: Callable[[bytes], bytes]) -> Peer:
        return Peer(
            name,
            lambda tensor: encode(tensor.tobytes()),
            lambda payload, like: np.frombuffer(decode(payload), like.dtype).reshape(like.shape),
        )

    peers = [
        plain("zlib -9", lambda data: zlib.compress(data, 9), zlib.decompress),
        plain("xz", lzma.compress, lzma.decompress),
    ]
    if importlib.util.find_spec("zstandard"):
        import zstandard

        packer, unpacker = zstandard.ZstdCompressor(level=19), zstandard.ZstdDecompressor()
        peers.append(plain("zstd -19", packer.compress, unpacker.decompress))
    return peers


def _constriction() -> list[Peer]:
    if not importlib.util.find_spec("constriction"):
        return []
    import constriction

    def model(counts: NDArray[np.int64]) -> Any:
        return constriction.stream.model.Categorical(counts / counts.sum(), perfect=False)

    def encode(tensor: Tensor) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        counts = np.bincount(tensor.reshape(-1))
        coder = constriction.stream.stack.AnsCoder()
        coder.encode_reverse(tensor.reshape(-1).astype(np.int32), model(np.maximum(counts, 1e-9)))
        return coder.get_compressed(), counts

    def decode(payload: tuple[NDArray[np.uint32], NDArray[np.int64]], like: Tensor) -> Tensor:
        coder = constriction.stream.stack.AnsCoder(payload[0])
        symbols = coder.decode(model(np.maximum(payload[1], 1e-9)), like.size)
        return symbols.astype(like.dtype).reshape(like.shape)

    # Its tables would have to be sent too: two bytes for every symbol that occurs.
    return [
        Peer(
            "constriction ANS",
            encode,
            decode,
            lambda payload: 4 * len(payload[0]) + 2 * int(np.count_nonzero(payload[1])),
        )
    ]


def _nncodec() -> list[Peer]:
    package = importlib.util.find_spec("nncodec")
    if package is None or not package.submodule_search_locations:
        return []
    folder = Path(package.submodule_search_locations[0]) / "extensions"
    library = next((path for path in folder.glob("deepCABAC*") if path.suffix in (".so", ".pyd")), None)
    spec = importlib.util.spec_from_file_location("deepCABAC", library) if library else None
    if spec is None or spec.loader is None:
        return []
    cabac = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cabac)
    off = (cabac.HdspMode.AlwaysOff, np.zeros(2, np.int8))

    def encode(tensor: Tensor) -> tuple[int, int, Tensor]:
        """(background, unary length, payload): the best of four unary lengths, parameters optimized."""
        background = int(np.bincount(tensor.reshape(-1)).argmax())
        ranks = np.ascontiguousarray(tensor.astype(np.int32) - background)
        best: tuple[int, int, Tensor] | None = None
        for unary in (1, 4, 10, 15):
            encoder = cabac.Encoder()
            encoder.initCtxModels(unary, 1)
            encoder.encodeLayer(ranks, 0, 0, 0, 0, 0, np.zeros(len(ranks), np.int32), *off, 0, 0)
            payload = encoder.finish()
            if best is None or len(payload) < len(best[2]):
                best = background, unary, payload
        assert best is not None
        return best

    def decode(payload: tuple[int, int, Tensor], like: Tensor) -> Tensor:
        ranks = np.zeros(like.shape, np.int32)
        decoder = cabac.Decoder()
        decoder.setStream(payload[2])
        decoder.initCtxModels(payload[1])
        decoder.decodeLayer(ranks, 0, 0, 0, 0, *off, 0, 0)
        return (ranks + payload[0]).astype(like.dtype)

    return [Peer("NNCodec", encode, decode, lambda payload: len(payload[2]))]
