"""Folding attention (Li et al. 2023): attention blocks on parts of tokens, with F^2 times fewer weights.

The rewriting is in folded_graph.py. The paper trains folded models from the start; here the shared
projections begin as those that come nearest to the original's on real inputs (shared_projection.py) and are
then trained towards the original (imitate.py). The paper folds some layers and keeps others: `layers` says
how many, `from_end` at which end; feed-forward layers can be folded, too.
"""

from __future__ import annotations

import time
from typing import Annotated

import msgspec

from edgepress_compression.executor import Executor
from edgepress_compression.graph.run_shapes import run_shapes
from edgepress_compression.passes.layer_inputs import layer_inputs
from edgepress_compression.passes.state import PassState, Stage
from edgepress_compression.passes.transformer.attention import attention_blocks, feed_forwards
from edgepress_compression.passes.transformer.folded_graph import Folding
from edgepress_compression.passes.transformer.imitate import Imitation, data_for, imitate
from edgepress_compression.passes.transformer.local_fit import Part
from edgepress_compression.passes.transformer.shared_projection import all_projections

_SAMPLES = 200  # whose inner values give the first projections


class Options(Imitation, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is folded, how far."""

    parts: Annotated[int, msgspec.Meta(ge=2, le=16)] = 2  # F, of each token
    layers: Annotated[int, msgspec.Meta(ge=1)] | None = None  # None: all
    from_end: bool = True  # the last `layers`, else the first
    feed_forward: bool = False  # the layers between attention blocks, too


def run(state: PassState, options: Options) -> None:
    """Folds attention blocks of `state.graph` and trains it. Raises RecipeError without data to train on."""
    started = time.monotonic()
    graph, parts = state.graph, options.parts
    shapes = run_shapes(graph)
    blocks = [one for one in attention_blocks(graph, shapes) if one.heads % parts == 0]
    pairs = feed_forwards(graph, shapes) if options.feed_forward else []
    if options.layers is not None:
        chosen = slice(-options.layers, None) if options.from_end else slice(options.layers)
        blocks, pairs = blocks[chosen], pairs[chosen]
    if not blocks:
        state.warn(
            f"fold-attention found no attention block with a number of heads that {parts} divides; the model "
            "stays as it is."
        )
        return
    data = data_for(state, options, "Folding attention")
    before = graph.copy()
    projections = [p for b in blocks for p in (b.query, b.key, b.value, b.output)]
    projections += [p for pair in pairs for p in (pair.up, pair.down)]
    moments = layer_inputs(
        Executor(graph), data.split.fetch, data.rows[:_SAMPLES], [p.weight for p in projections],
        seed=state.seed, check_cancelled=state.check_cancelled,
    )  # fmt: skip
    weights = all_projections(graph, projections, moments, parts)
    weights_before = graph.weight_bytes()
    folding = Folding(graph, parts)
    for block in blocks:
        folding.attention(block, weights)
    for pair in pairs:
        folding.feed_forward(pair, weights)
    for one in projections:
        state.codes.pop(one.weight, None)
    state.stages.append(
        Stage(
            name=f"fold attention, {len(blocks)} blocks in {parts} parts",
            seconds=time.monotonic() - started,
            note=f"{graph.weight_bytes() / weights_before:.1%} of the weights",
        )
    )
    fitted = [Part(block.input, block.output.result) for block in blocks]
    fitted += [Part(pair.input, pair.down.result) for pair in pairs]
    imitate(state, before, data, options, fitted, "Folding attention")
