"""What a model or an artifact would do on a kind of device: latency, memory, energy, and what they rest on.

    file --child process, once a file and layout--> operators (kept on disk) --pure arithmetic--> prediction

The web role never loads torch or onnx: what a runtime executes is worked out in a child (executed_child.py)
and kept (executed.py); the rest is arithmetic (edgepress_devices.prediction).
"""

from edgepress_server.predict.executed import ExecutedModels
from edgepress_server.predict.executed_model import ExecutedModel

__all__ = ["ExecutedModel", "ExecutedModels"]
