"""Compression of ONNX models into artifacts.

Light at import: the agent uses `codec` and `artifact` without torch or onnx.
"""

import edgepress_devices  # noqa: F401 - before onnxruntime: it turns that library's own telemetry off
