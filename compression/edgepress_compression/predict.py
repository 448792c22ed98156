"""Predicted latency, memory and energy of a model on a device, from the operators that its runtime runs."""

from __future__ import annotations

from edgepress_compression.graph.cost import blocks_channels
from edgepress_compression.graph.executed import executed
from edgepress_compression.graph.model import Graph
from edgepress_devices.prediction import Prediction, predict
from edgepress_devices.profile import DeviceProfile


def predict_model(model: bytes | Graph, profile: DeviceProfile) -> Prediction:
    """Of one inference of one sample, free lengths 64. Raises GraphError where onnxruntime cannot run it."""
    runs = executed(model, layout=runtime_layout(profile))
    return predict(
        list(runs.operators),
        profile,
        weight_bytes=runs.weight_bytes,
        peak_activation_bytes=runs.peak_activation_bytes,
    )


def runtime_layout(profile: DeviceProfile) -> str:
    """Where fp32 convolutions run on the profile's runtime (`executed`'s layout)."""
    return "nchwc" if blocks_channels(profile) else "nchw"
