"""Log-mel features of short clips: what small speech networks take as a picture of time and pitch."""

from __future__ import annotations

import msgspec
import numpy as np

from edgepress_compression.errors import DatasetError


class LogMel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[features]` table of an audio data set."""

    sample_rate_hz: int
    clip_samples: int  # longer clips are cut, shorter ones get zeros at the end
    frame_samples: int
    hop_samples: int
    fft_samples: int
    mels: int
    low_hz: float
    high_hz: float
    log_floor: float = 1e-6
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        sizes = (self.sample_rate_hz, self.frame_samples, self.hop_samples, self.mels)
        if min(sizes) < 1 or self.std == 0 or self.log_floor <= 0:
            raise ValueError("[features]: lengths, `std` and `log_floor` must be greater than 0")
        if not self.frame_samples <= self.fft_samples or not self.frame_samples <= self.clip_samples:
            raise ValueError("[features]: `frame_samples` must fit in `fft_samples` and in `clip_samples`")
        if not 0 <= self.low_hz < self.high_hz <= self.sample_rate_hz / 2:
            raise ValueError("[features]: `low_hz` < `high_hz` <= half of `sample_rate_hz` must hold")


def log_mel(clips: list[np.ndarray], spec: LogMel) -> np.ndarray:
    """int16 or float clips -> float32 (N, 1, mels, frames)."""
    signal = np.zeros((len(clips), spec.clip_samples), dtype=np.float32)
    for row, clip in enumerate(clips):
        scale = 1 / 32768 if clip.dtype == np.int16 else 1.0
        cut = clip[: spec.clip_samples]
        signal[row, : len(cut)] = cut * np.float32(scale)
    frames = np.lib.stride_tricks.sliding_window_view(signal, spec.frame_samples, axis=1)[
        :, :: spec.hop_samples
    ]
    # periodic Hann, as for spectral analysis: its period is the frame, not the frame less one sample
    window = np.hanning(spec.frame_samples + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, spec.fft_samples, axis=2)) ** 2  # (N, frames, bins)
    mels = power.astype(np.float32) @ _triangles(spec).T  # (N, frames, mels)
    features = (np.log(mels + spec.log_floor) - spec.mean) / spec.std
    return np.ascontiguousarray(features.transpose(0, 2, 1)[:, None]).astype(np.float32)


def cut_clips(audio: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Clips that are stored end to end, as views."""
    if audio.ndim != 1 or lengths.ndim != 1 or lengths.min(initial=0) < 0:
        raise DatasetError(
            "Audio is read as one row of samples with one row of lengths; check the two arrays."
        )
    ends = np.cumsum(lengths, dtype=np.int64)
    if len(ends) and ends[-1] != len(audio):
        raise DatasetError(f"The clips' lengths add up to {ends[-1]:,} samples and {len(audio):,} are there.")
    return [audio[end - length : end] for end, length in zip(ends, lengths.astype(np.int64), strict=True)]


def _triangles(spec: LogMel) -> np.ndarray:
    """(mels, bins): triangles evenly spaced on the mel scale of HTK, 2595 log10(1 + f / 700)."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (spec.low_hz, spec.high_hz))
    edges_hz = 700 * (10 ** (np.linspace(low, high, spec.mels + 2) / 2595) - 1)
    bins_hz = np.arange(spec.fft_samples // 2 + 1) * spec.sample_rate_hz / spec.fft_samples
    left, centre, right = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    rising = (bins_hz - left) / (centre - left)
    falling = (right - bins_hz) / (right - centre)
    weights: np.ndarray = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    return weights
