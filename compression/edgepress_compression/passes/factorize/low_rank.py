"""Low rank: a layer's matrix W (outputs, inputs) becomes A B, with A (outputs, r) and B (r, inputs).

Denton et al. 2014 (section 3.1) cut the singular value decomposition of W. What counts is not W but what it
gives on real inputs: of all matrices of rank r, U U^T W with U the first r eigenvectors of the outputs'
second moments W E[x x^T] W^T is nearest to W in the mean square of the outputs (Zhang et al. 2015, section
3.1, where it is also shown that a bias takes the mean away; Chen et al. 2021, DRONE, equation 5, has the same
solution for language models). Outputs that matter more to the model's answers weigh more: each is scaled by
the square root of its Fisher information first (curvature.py), which makes errors of different layers
comparable, in nats; ranks of all layers then follow from one budget (rank_choice.py).

A convolution of k x k becomes one of k x k with r outputs and one of 1 x 1 (Zhang et al. 2015, figure 1);
an embedding table becomes a table of r columns and a matrix (Lan et al. 2020, ALBERT, section 3.1), where
rows count as often as their words occur.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from onnx import helper

from edgepress_compression.executor import Executor
from edgepress_compression.graph.edit import fresh_name, replace_node
from edgepress_compression.graph.model import Graph, attributes
from edgepress_compression.graph.run_shapes import run_shapes
from edgepress_compression.passes.calibration_rows import CalibrationRows, calibration_rows
from edgepress_compression.passes.curvature import Curvature, measure_curvature, plain_curvature
from edgepress_compression.passes.factorize.agreement import say_agreement
from edgepress_compression.passes.factorize.layers import Kind, Layer, factorizable
from edgepress_compression.passes.factorize.rank_choice import Ladder, rank_of_energy, ranks_within
from edgepress_compression.passes.factorize.table_use import table_use
from edgepress_compression.passes.simplify import simplified
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import batch_limit
from edgepress_compression.training.losses import loss_for

_BATCH = 10
_GRADIENT_SAMPLES = 64


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much is kept, of what."""

    kept: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] = 0.6  # of the layers' `budget`, all together
    budget: Literal["weights", "macs"] = "weights"
    # the share of a layer's output energy that its rank keeps, each layer for itself, in place of `kept`
    energy: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] | None = None
    tables: bool = True  # embeddings, too
    least_weights: Annotated[int, msgspec.Meta(ge=64)] = 4096  # smaller layers stay
    samples: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200


@dataclass(frozen=True)
class Spectrum:
    """Of one layer: what each direction of its outputs carries."""

    energies: np.ndarray  # (outputs,) float64, falling: nats lost when this direction goes
    directions: np.ndarray  # (outputs, outputs), columns in that order, of the scaled outputs
    scale: np.ndarray  # (outputs,) square roots of the outputs' importance
    mean: np.ndarray | None  # (inputs,) of the inputs, where a bias can take it

    def factors(self, matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """A (outputs, rank) and B (rank, inputs), balanced: both have rows and columns of like size."""
        first = self.directions[:, :rank] / self.scale[:, None]
        second = self.directions[:, :rank].T @ (self.scale[:, None] * matrix)
        balance = np.sqrt(np.linalg.norm(second, axis=1) / np.maximum(np.linalg.norm(first, axis=0), 1e-30))
        balance = np.maximum(balance, 1e-12)
        return first * balance, second / balance[:, None]


def run(state: PassState, options: Options) -> None:
    """Factorizes layers of `state.graph` where that saves. Nothing is trained: see the pass fine-tune."""
    started = time.monotonic()
    if any(node.op_type == "BatchNormalization" for node in state.graph.proto.graph.node):
        state.graph = simplified(state.graph)  # what follows a layer goes into its weights first
    graph = state.graph
    kinds: set[Kind] = {"conv", "gemm", "matmul"}
    if options.tables:
        kinds.add("table")
    layers = factorizable(graph, frozenset(kinds), least_weights=options.least_weights)
    if not layers:
        state.warn("low-rank found no layer large enough to be factorized; the model stays as it is.")
        return
    rows = calibration_rows(state, options.samples)
    original = graph.copy()
    spectra = _spectra(state, rows, layers)
    uses = _uses(graph, layers) if options.budget == "macs" else dict.fromkeys(layers, 1)
    ladders = {
        name: _ladder(graph, layer, spectra[name], options, uses[name]) for name, layer in layers.items()
    }
    if options.energy is not None:
        ranks = {name: _by_energy(spectra[name], ladders[name], options.energy) for name in layers}
    else:
        ranks = ranks_within(ladders, options.kept * sum(ladder.whole for ladder in ladders.values()))
    before, split = graph.weight_bytes(), 0
    for name, rank in ranks.items():
        state.check_cancelled()
        if rank is not None:
            split_layer(graph, layers[name], spectra[name], rank)
            state.codes.pop(name, None)
            split += 1
    if not split:
        state.warn("low-rank found no layer whose two factors would be smaller; the model stays as it is.")
    lost = sum(float(spectra[n].energies[r:].sum()) for n, r in ranks.items() if r is not None)
    state.add_stage(
        f"low rank, {split} of {len(layers)} layers",
        started,
        note=f"{graph.weight_bytes() / before:.1%} of the weights; {lost:.4f} nats expected to be lost"
        + say_agreement(state, original, rows, "low-rank"),
    )
    state.progress(1.0, "factorized")


def spectrum(
    matrix: np.ndarray, moments: np.ndarray, outputs: np.ndarray, mean: np.ndarray | None = None
) -> Spectrum:
    """Of W (outputs, inputs) on inputs with second moments `moments`, (inputs, inputs) or, where they are
    uncorrelated, (inputs,); `outputs` (outputs,) is what a squared error of each costs. With `mean` (inputs,)
    the constant part of the error counts for nothing, since a bias takes it.
    """
    scale = np.sqrt(np.maximum(outputs, 1e-30))
    scaled = scale[:, None] * matrix
    covariance = (scaled * moments) @ scaled.T if moments.ndim == 1 else scaled @ moments @ scaled.T
    if mean is not None:
        shifted = scaled @ mean
        covariance = covariance - np.outer(shifted, shifted)
    values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.T))
    return Spectrum(np.maximum(values[::-1], 0.0), np.ascontiguousarray(vectors[:, ::-1]), scale, mean)


def split_layer(graph: Graph, layer: Layer, seen: Spectrum, rank: int) -> None:
    """Puts two layers of that rank in the place of one, and what their error is in the mean into its bias."""
    old = graph.weights[layer.weight]
    matrix = layer.matrix(old)
    first, second = seen.factors(matrix, rank)
    if layer.bias is not None and seen.mean is not None:
        bias = graph.weights[layer.bias]
        gain = (matrix - first @ second) @ seen.mean
        graph.set_weight(layer.bias, (bias + gain).astype(bias.dtype))
    down = fresh_name(graph, f"{layer.weight}.down")
    up = fresh_name(graph, f"{layer.weight}.up")
    between = fresh_name(graph, f"{layer.node.output[0]}.rank")
    node = layer.node
    settings: dict[str, Any] = attributes(node)
    if layer.kind == "conv":
        weights = {
            down: second.reshape(rank, *old.shape[1:]),
            up: first.reshape(old.shape[0], rank, 1, 1),
        }
        nodes = [
            helper.make_node("Conv", [node.input[0], down], [between], **settings),
            helper.make_node("Conv", [between, up, *node.input[2:]], [node.output[0]]),
        ]
    elif layer.kind == "gemm":
        weights = {down: second, up: first}
        scaled = {key: settings[key] for key in ("alpha", "beta") if key in settings}
        nodes = [
            helper.make_node("Gemm", [node.input[0], down], [between], transB=1),
            helper.make_node("Gemm", [between, up, *node.input[2:]], [node.output[0]], transB=1, **scaled),
        ]
    elif layer.kind == "matmul":
        weights = {down: second.T, up: first.T}
        nodes = [
            helper.make_node("MatMul", [node.input[0], down], [between]),
            helper.make_node("MatMul", [between, up], [node.output[0]]),
        ]
    else:
        weights = {down: second.T, up: first.T}  # (rows, rank), (rank, columns)
        nodes = [
            helper.make_node("Gather", [down, node.input[1]], [between]),
            helper.make_node("MatMul", [between, up], [node.output[0]]),
        ]
    typed = {name: array.astype(old.dtype) for name, array in weights.items()}
    replace_node(graph, node, nodes, typed)


def _spectra(
    state: PassState, rows: CalibrationRows | None, layers: Mapping[str, Layer]
) -> dict[str, Spectrum]:
    graph = state.graph
    names = list(layers)
    if rows is None:
        curvature = plain_curvature({name: graph.weights[name] for name in names})
        used: dict[str, np.ndarray] = {}
    else:
        executor = Executor(graph)
        size = batch_limit(graph, _BATCH)
        curvature = measure_curvature(
            executor, rows.fetch, rows.rows, names,
            loss_for(graph, "classification" if rows.classification else "other", label_share=0.0),
            seed=state.seed, gradient_rows=_GRADIENT_SAMPLES, batch_size=size,
            progress=lambda fraction, message: state.progress(0.8 * fraction, message),
            check_cancelled=state.check_cancelled,
        )  # fmt: skip
        tables = [name for name, layer in layers.items() if layer.kind == "table"]
        used = table_use(executor, rows.fetch, rows.rows, tables, graph, batch_size=size)
    return {name: _seen(graph, layer, curvature[name], used.get(name)) for name, layer in layers.items()}


def _seen(graph: Graph, layer: Layer, curvature: Curvature, used: np.ndarray | None) -> Spectrum:
    """Half the Fisher information times the squared error is the loss in nats."""
    matrix = layer.matrix(graph.weights[layer.weight])
    outputs = np.broadcast_to(curvature.outputs / 2, (len(matrix),))
    moments = curvature.moments
    if moments is None:
        per_input = np.ones(matrix.shape[1]) if used is None else used
        return spectrum(matrix, per_input, outputs)
    second = moments.products[0].double().numpy() / moments.count
    mean = moments.sums[0].double().numpy() / moments.count if layer.bias is not None else None
    return spectrum(matrix, second, outputs, mean)


def _ladder(graph: Graph, layer: Layer, seen: Spectrum, options: Options, times: int) -> Ladder:
    outputs, inputs = layer.matrix(graph.weights[layer.weight]).shape
    # a table's own part is a look-up: it costs weights and no work
    looked_up = layer.kind == "table" and options.budget == "macs"
    per_rank = outputs if looked_up else outputs + inputs
    whole = 0 if looked_up else outputs * inputs
    most = max(0, (whole - 1) // per_rank) if whole else 0
    ranks = np.arange(1, min(most, outputs, inputs) + 1)
    tails = np.cumsum(seen.energies[::-1])[::-1]  # energy of this direction and all after it
    errors = np.append(tails, 0.0)[ranks]
    return Ladder(errors, times * per_rank * ranks.astype(np.float64), float(times * whole))


def _uses(graph: Graph, layers: Mapping[str, Layer]) -> dict[str, int]:
    """How often each weight is used for one sample."""
    shapes = graph.shapes()
    if any(layer.node.output[0] not in shapes for layer in layers.values()):
        shapes |= run_shapes(graph)
    uses = {}
    for name, layer in layers.items():
        shape = shapes[layer.node.output[0]]
        places = {"conv": shape[2:], "gemm": (), "matmul": shape[1:-1], "table": shape[1:-1]}[layer.kind]
        uses[name] = math.prod(places)
    return uses


def _by_energy(seen: Spectrum, ladder: Ladder, share: float) -> int | None:
    rank = rank_of_energy(seen.energies, share)
    return rank if rank <= len(ladder.errors) else None
