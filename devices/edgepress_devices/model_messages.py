"""What a device tells of the model it runs: distributions of inputs, answers, confidence, and their drift.

Drift is against the baseline in the artifact. PSI = sum (p - q) ln(p / q) over the bins of a feature
(Siddiqi, Credit Risk Scorecards, 2006; common reading: below 0.1 stable, above 0.25 moved), less what chance
gives; KS = the largest distance of the two distribution functions at the bins' edges. No input leaves the
device unless ``Sampling`` says so.
"""

from typing import Annotated, Final

import msgspec

from edgepress_devices.wire_types import Count, Digest, Finite, Text

FEATURES_MAX: Final = 32
BINS_MAX: Final = 32
CLASSES_MAX: Final = 1000
INPUTS_PER_BATCH_MAX: Final = 4
INPUT_MAX_BYTES: Final = 24_000  # of one sampled input: a batch holds at most 120,000 bytes

Bins = Annotated[list[Count], msgspec.Meta(max_length=BINS_MAX)]


class FeatureDrift(msgspec.Struct, array_like=True):
    """One feature of the input: an input's mean, spread or extremes, or one column of a table."""

    name: Text
    psi: Finite | None  # None: too few requests for a figure; their counts add up elsewhere
    ks: Finite | None
    counts: Bins  # in the baseline's bins, outer ones open
    mean: Finite | None = None


class ModelStats(msgspec.Struct, array_like=True):
    """Of the requests since the last one of these. None: the artifact has no baseline, or too few came."""

    window_ms: Count
    looked_at: Count  # requests that were sketched; the others were skipped to save time
    input_psi: Finite | None = None  # of the feature where it is worst
    input_ks: Finite | None = None
    output_psi: Finite | None = None  # of the class distribution
    output_ks: Finite | None = None  # of the confidence
    confidence: Finite | None = None  # mean of the largest class probability
    confidence_counts: Bins = []  # BINS of equal width over 0..1
    class_counts: Annotated[list[Count], msgspec.Meta(max_length=CLASSES_MAX)] = []
    features: Annotated[list[FeatureDrift], msgspec.Meta(max_length=FEATURES_MAX)] = []
    compared: Count = 0  # shadow mode: requests that both models answered
    agreed: Count = 0


class InputSample(msgspec.Struct, array_like=True):
    """One input that the policy let out, with what the model made of it."""

    at_ms: Count
    artifact: Digest
    why: Text  # random, low confidence, drift
    name: Text  # of the model's input
    dtype: Text  # numpy's name
    shape: Annotated[list[Count], msgspec.Meta(max_length=8)]
    data: Annotated[bytes, msgspec.Meta(max_length=INPUT_MAX_BYTES)]  # little endian, zlib
    label: Count | None = None  # class that the model gave
    confidence: Finite | None = None


class Sampling(msgspec.Struct, omit_defaults=True, frozen=True):
    """The privacy policy of a device: by default no input leaves it."""

    per_hour: Annotated[int, msgspec.Meta(ge=0, le=3600)] = 0  # at most; 0: none
    low_confidence_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0  # only answers less sure; 0: any
