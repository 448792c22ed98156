"""Predicted figures in words and as intervals: nobody should take them for measurements."""

from __future__ import annotations

from edgepress_devices.prediction import DATASHEET_ERROR, Prediction


def measured_words(devices: int) -> str:
    return f"measured on {devices:,} device{'' if devices == 1 else 's'}"


def interval_us(prediction: Prediction) -> tuple[float, float]:
    """Where the latency most likely lies: the expected error is a factor, the same to both sides."""
    factor = 1.0 + (DATASHEET_ERROR if prediction.error is None else prediction.error)
    return prediction.latency_us / factor, prediction.latency_us * factor
