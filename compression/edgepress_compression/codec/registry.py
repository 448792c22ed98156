"""The coders by the names that artifacts use. A name, once shipped, keeps its byte format for ever."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from edgepress_compression.codec.bloomier import Bloomier
from edgepress_compression.codec.coder import ByteCoder, DeltaCoder, SymbolCoder
from edgepress_compression.codec.context import Context, ContextDelta
from edgepress_compression.codec.deflate import Deflate
from edgepress_compression.codec.floats import Floats
from edgepress_compression.codec.gaps import Gaps
from edgepress_compression.codec.huffman import Huffman
from edgepress_compression.codec.planes import Planes
from edgepress_compression.codec.rans import Rans
from edgepress_compression.codec.raw import Raw
from edgepress_compression.codec.text import Text

BYTE_CODERS: Final[Mapping[str, ByteCoder]] = MappingProxyType(
    {"raw": Raw(), "deflate": Deflate(), "planes": Planes(), "floats": Floats(), "text": Text()}
)
SYMBOL_CODERS: Final[Mapping[str, SymbolCoder]] = MappingProxyType(
    {"huffman": Huffman(), "gaps": Gaps(), "rans": Rans(), "bloomier": Bloomier(), "context": Context()}
)
DELTA_CODERS: Final[Mapping[str, DeltaCoder]] = MappingProxyType({"context-delta": ContextDelta()})
