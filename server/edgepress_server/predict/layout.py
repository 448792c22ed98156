"""Which form of a model's convolutions a device's runtime executes."""

from __future__ import annotations

from edgepress_devices.profile import DeviceProfile


def layout_of(profile: DeviceProfile) -> str:
    """What `edgepress_compression.predict.runtime_layout` says, which the web role cannot ask without loading
    onnx."""
    if profile.layout is not None:
        return profile.layout.preferred
    return "nchwc" if profile.cpu.machine == "x86_64" else "nchw"
