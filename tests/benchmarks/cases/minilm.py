"""A transformer: three layers of MiniLM on SST-2, by every method that is made for such models."""

from __future__ import annotations

from collections.abc import Iterator

from cases.case import Row, Settings, compressed, row_of
from edgepress_compression.recipe import Recipe, Step

TITLE = "MiniLM-3, SST-2 (1,821 test sentences; latency of 64 tokens)"
_RATIO, _POINTS = 8.0, 1.0
_TARGET = "8x at 1.0 point or less"
_BUDGETS = (4_000_000, 2_800_000, 2_000_000)


def measure(settings: Settings) -> Iterator[Row]:
    for target_bytes in _BUDGETS:
        yield _row(settings, "rate-distortion", target_bytes=target_bytes, target=_TARGET)
    both = Recipe(
        "low-rank, rate-distortion",
        "Low rank, then few bits",
        passes=(Step("low-rank", {"kept": 0.7}), Step("quantize", {"bits": 3.5})),
    )
    yield _row(settings, both, target_bytes=2_000_000, target=_TARGET)
    yield _row(settings, "transformer-compression", target=_TARGET)
    yield _row(settings, "low-rank")
    yield _row(settings, "folding-attention")
    yield _row(settings, "squeezebert")


def _row(
    settings: Settings, recipe: Recipe | str, *, target_bytes: int | None = None, target: str = ""
) -> Row:
    report = compressed(settings, "minilm3_sst2", recipe, settings.dataset("sst2"), target_bytes=target_bytes)
    row = row_of(report, case="MiniLM-3", target=target, met=None, note="; ".join(report["warnings"]))
    if target and row.ratio is not None and row.lost_points is not None:
        row.met = row.ratio >= _RATIO and row.lost_points <= _POINTS
    return row
