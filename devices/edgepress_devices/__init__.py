"""What a device is: profiles, sensors, telemetry histograms and the wire protocol."""

import os

__version__ = "0.1.0"

# onnxruntime's official builds send usage data to their maker (on Linux since 1.29, from the import on). A
# device tells only its own server. Every edgepress package imports this one first; 0 allows it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
