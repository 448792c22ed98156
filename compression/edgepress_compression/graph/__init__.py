"""The one representation of a model: an ONNX graph, checked at the door.

`load` opens it, `model` holds it.
"""

from edgepress_compression.graph.load import from_module, load_model
from edgepress_compression.graph.model import BATCH, Graph, Value

__all__ = ["BATCH", "Graph", "Value", "from_module", "load_model"]
