"""Minutes of devices, one object each: for what looks at few of them, one after the other."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
import numpy as np

from edgepress_devices.protocol import Histogram
from edgepress_server.store.series.keys import SeriesKey
from edgepress_server.store.series.read import SeriesRead
from edgepress_server.store.series.seal import MINUTE_MS


class DeviceMinute(msgspec.Struct, frozen=True):
    """What a device did with one artifact in one minute. None: it cannot tell."""

    device: str
    at: int  # start of the minute, Unix ms
    artifact: str  # digest, "" = no model
    inferences: int
    errors: int
    latency: Histogram | None
    rss_bytes: float | None  # the most
    energy_mj: float | None  # of an inference, mean of the minute's samples
    energy_samples: int
    temp_c: float | None  # the most
    throttled: bool


def device_minutes(
    read: SeriesRead,
    devices: Sequence[str],
    from_ms: int,
    to_ms: int,
    artifacts: Collection[str] | None = None,
) -> dict[str, list[DeviceMinute]]:
    """The minutes of each device that begin in this time, ascending, of these artifacts; none: not there."""
    keys = [SeriesKey("device", name) for name in devices]
    found: dict[str, list[DeviceMinute]] = {}
    frames = read.frames(keys, from_ms, to_ms, span="minute", histograms=("latency_us",))
    for key, frame in frames.items():
        if artifacts is not None and len(frame):
            codes = [code for code, name in frame.artifacts.items() if name in artifacts]
            frame = frame.take(np.flatnonzero(np.isin(frame.artifact, codes)))  # noqa: PLW2901
        if not len(frame):
            continue
        columns = (
            frame.at.tolist(),
            frame.artifact.tolist(),
            frame.total("inferences").tolist(),
            frame.total("errors").tolist(),
            frame.histograms["latency_us"],
            frame.highest("rss_bytes").tolist(),
            frame.mean("energy_mj").tolist(),
            frame.samples("energy_mj").tolist(),
            frame.highest("temp_c").tolist(),
            frame.total("throttled").tolist(),
        )
        found[key.name] = [
            DeviceMinute(
                device=key.name,
                at=at,
                artifact=frame.artifacts.get(artifact, ""),
                inferences=int(_known(inferences) or 0),
                errors=int(_known(errors) or 0),
                latency=latency,
                rss_bytes=_known(rss),
                energy_mj=_known(energy),
                energy_samples=samples,
                temp_c=_known(temp),
                throttled=bool(_known(throttled)),
            )
            for at, artifact, inferences, errors, latency, rss, energy, samples, temp, throttled in zip(
                *columns, strict=True
            )
        ]
    return found


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


__all__ = ["MINUTE_MS", "DeviceMinute", "device_minutes"]
