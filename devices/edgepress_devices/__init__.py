"""What a device is: profiles, sensors, telemetry histograms and the wire protocol."""

__version__ = "0.1.0"
