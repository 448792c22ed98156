"""Sensors of a board: CPU, GPU, memory, temperature, throttling, power, battery, disk, network."""

from edgepress_devices.sensors.hardware import describe_hardware
from edgepress_devices.sensors.sensors import Readings, Sensors

__all__ = ["Readings", "Sensors", "describe_hardware"]
