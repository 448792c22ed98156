"""What a model's inputs and answers looked like when it was made: the part of an artifact that drift is
measured against. Optional in the header, under ``baseline``; JSON of at most ``BASELINE_MAX_BYTES``.

::

    v         1; a reader that does not know the version goes on without a baseline
    rows      samples that were looked at
    looks     how each input is looked at: [input, kind, channels, unknown], see looks.py
    features  [name, edges, counts], in the order of the looks, then of the answer's own features
    answer    [output, form, counts of the classes, counts of the confidence]

A feature with edges e[0] < ... < e[k-1] has k + 1 bins; bin i holds ``e[i-1] < x <= e[i]``, the outer ones
are open, and what is no number is in the last. Edges are quantiles of the samples, in tenths; where many
samples have one value the bins are fewer, and a value that alone makes up an outer bin has an edge on either
side. Confidence, the largest share that the answer gives a class, has 20 bins of equal width over 0..1.
"""

from typing import Annotated, Any, Final, Literal

import msgspec

from edgepress_compression.errors import ArtifactError

BASELINE_MAX_BYTES: Final = 4096
VERSION: Final = 1
ROWS_MAX: Final = 2000
QUANTILES: Final = 10
CONFIDENCE_BINS: Final = 20
FEATURES_MAX: Final = 32
EDGES_MAX: Final = 31
CLASSES_MAX: Final = 1000
NAME_MAX_CHARS: Final = 80
ANSWER_FEATURES: Final = ("answer.mean", "answer.std")  # of an answer whose form is "values"

Kind = Literal["planes", "columns", "tokens"]
Form = Literal["logits", "probabilities", "counts", "values"]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_MAX_CHARS)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]
_Number = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]


class Look(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How one input is turned into features (looks.py)."""

    input: _Name
    kind: Kind
    channels: Literal["", "first", "last"] = ""  # axis of a row that holds at most four channels; "" = none
    unknown: Annotated[int, msgspec.Meta(ge=0, le=1 << 31)] | None = None  # tokens: id of a word not known


class Feature(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One number of a sample, and how often it lay in which bin."""

    name: _Name
    edges: Annotated[tuple[_Number, ...], msgspec.Meta(max_length=EDGES_MAX)]
    counts: Annotated[tuple[_Count, ...], msgspec.Meta(min_length=1, max_length=EDGES_MAX + 1)]


class Answer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The output that is looked at; ``values`` has features of its own and neither classes nor confidence."""

    output: _Name
    form: Form  # counts: whole numbers in proportion to probabilities, as quantized classifiers give
    classes: Annotated[tuple[_Count, ...], msgspec.Meta(max_length=CLASSES_MAX)] = ()
    confidence: Annotated[tuple[_Count, ...], msgspec.Meta(max_length=CONFIDENCE_BINS)] = ()


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """See the head of the module."""

    v: Literal[1] = VERSION
    rows: Annotated[int, msgspec.Meta(ge=1, le=1 << 31)]
    looks: Annotated[tuple[Look, ...], msgspec.Meta(max_length=FEATURES_MAX)]
    features: Annotated[tuple[Feature, ...], msgspec.Meta(max_length=FEATURES_MAX)]
    answer: Answer | None = None

    def is_of_answer(self, feature: str) -> bool:
        """Whether a feature is the answer's and not an input's."""
        return self.answer is not None and self.answer.form == "values" and feature in ANSWER_FEATURES


def read_baseline(said: dict[str, Any] | None) -> Baseline | None:
    """The baseline of a header; None: it has none, or one of a later version.

    Raises ArtifactError when it cannot be what it says it is.
    """
    if said is None or said.get("v") != VERSION:
        return None
    try:
        baseline = msgspec.convert(said, Baseline)
    except msgspec.ValidationError as error:
        raise ArtifactError("baseline", f"it cannot be read: {error}") from error
    for feature in baseline.features:
        if len(feature.counts) != len(feature.edges) + 1:
            raise _wrong(f"'{feature.name}' needs one count more than edges")
        if any(not a < b for a, b in zip(feature.edges, feature.edges[1:], strict=False)):
            raise _wrong(f"the edges of '{feature.name}' do not ascend")
    if len({feature.name for feature in baseline.features}) != len(baseline.features):
        raise _wrong("a name appears twice")
    answer = baseline.answer
    if answer is not None and answer.confidence and len(answer.confidence) != CONFIDENCE_BINS:
        raise _wrong(f"confidence has {len(answer.confidence)} bins, not {CONFIDENCE_BINS}")
    return baseline


def baseline_json(baseline: Baseline) -> dict[str, Any]:
    """As it stands in a header."""
    return msgspec.json.decode(msgspec.json.encode(baseline), type=dict[str, Any])


def size_bytes(baseline: Baseline) -> int:
    """Of its JSON, before the header is coded."""
    return len(msgspec.json.encode(baseline))


def _wrong(reason: str) -> ArtifactError:
    return ArtifactError("baseline", reason)
