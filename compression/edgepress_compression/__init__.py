"""Compression of ONNX models into artifacts.

Light at import: the agent uses `codec` and `artifact` without torch or onnx.
"""
