"""Calibration: times that devices reported, fitted to parameters of their profile."""

from edgepress_compression.calibrate.fit import CalibrationError, DeviceReport, fit
from edgepress_compression.calibrate.here import calibrate_here

__all__ = ["CalibrationError", "DeviceReport", "calibrate_here", "fit"]
