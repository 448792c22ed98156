"""Samples as rows of a table: readings become three columns, with where they came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, get_args

from edgepress_devices.protocol import Sample
from edgepress_server.api.parquet import Column, Kind
from edgepress_server.api.samples import ReadingAnswer, SampleAnswer

_READINGS: Final = ("power_mw", "energy_mj")
_KINDS: Final[dict[object, Kind]] = {bool: "flag", int: "integer", float: "number", str: "text"}


def _kind(name: str) -> Kind:
    if name == "at_ms":
        return "time"
    annotation = SampleAnswer.model_fields[name].annotation
    kinds = [kind for kind in (get_args(annotation) or (annotation,)) if kind in _KINDS]
    return _KINDS[kinds[0]]


SAMPLE_COLUMNS: Final = (
    Column("device", "text"),
    *(Column(name, _kind(name)) for name in SampleAnswer.model_fields if name not in _READINGS),
    *(
        Column(f"{name}{suffix}", "text" if suffix else "number")
        for name in _READINGS
        for suffix in ("", "_method", "_scope")
    ),
)


def sample_rows(samples: Iterable[tuple[str, Sample]]) -> Iterator[tuple[object, ...]]:
    """A row of SAMPLE_COLUMNS for each (device, sample)."""
    for device, sample in samples:
        told = SampleAnswer.of(sample)
        plain = (getattr(told, name) for name in SampleAnswer.model_fields if name not in _READINGS)
        yield (device, *plain, *_reading(told.power_mw), *_reading(told.energy_mj))


def _reading(reading: ReadingAnswer | None) -> tuple[object, ...]:
    return (None, None, None) if reading is None else (reading.value, reading.method, reading.scope)
