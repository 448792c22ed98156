"""Convolutions of k x k as chains of thinner ones: Tucker-2, CP, or one side after the other.

    tucker    1 x 1 to r_in channels, k x k to r_out, 1 x 1 back (Kim et al. 2016, figure 1)
    cp        1 x 1 to r channels, k x 1 and 1 x k for each channel alone, 1 x 1 back (Lebedev et al. 2015,
              figure 1)
    spatial   k x 1 to r channels, then 1 x k (Jaderberg et al. 2014, figure 1 c)

Ranks: `vbmf` asks of the kernel's two unfoldings how many singular values are more than noise, as Kim et al.
do (section 3.1); `energy` keeps that share of the kernel's squared numbers; `budget` looks for the energy,
one for all layers, at which they have `kept` of their weights together.

What counts is the outputs on real inputs, where there are any: kernels are decomposed after multiplication
with the root of the moments of their input channels, and all factors but the first are then fitted once more
in closed form to the outputs, of patches as they occur (Zhang et al. 2015, section 3.1, for one factor).
Layers that would not become smaller stay.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import onnx
from onnx import helper

from edgepress_compression.executor import Executor
from edgepress_compression.graph.edit import fresh_name, replace_node
from edgepress_compression.graph.model import Graph, attributes
from edgepress_compression.passes.calibration_rows import CalibrationRows, calibration_rows
from edgepress_compression.passes.factorize.agreement import say_agreement
from edgepress_compression.passes.factorize.decompositions import cp, spatial, tucker2, unfold
from edgepress_compression.passes.factorize.evidence import noise_free_rank
from edgepress_compression.passes.factorize.layers import Layer, factorizable
from edgepress_compression.passes.factorize.rank_choice import rank_of_energy
from edgepress_compression.passes.factorize.seen_inputs import SeenInputs, seen_inputs
from edgepress_compression.passes.layer_inputs import Moments, layer_inputs
from edgepress_compression.passes.simplify import simplified
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import batch_limit

Method = Literal["tucker", "cp", "spatial"]
_ENERGIES = 1 - np.geomspace(0.9, 1e-4, 120)  # that `budget` chooses among, rising


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How, and how far."""

    method: Method = "tucker"
    ranks: Literal["vbmf", "energy", "budget"] = "budget"
    kept: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] = 0.5  # for `budget`: of the weights of such layers
    energy: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] = 0.9  # for `energy`
    least_weights: Annotated[int, msgspec.Meta(ge=64)] = 2048  # smaller layers stay
    samples: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100


@dataclass(frozen=True)
class Plan:
    """What one kernel becomes: ranks of outputs and inputs (alike where the method has one rank)."""

    outer: int
    inner: int
    weights: int


def run(state: PassState, options: Options) -> None:
    """Factorizes the k x k convolutions of `state.graph`. Nothing is trained: see the pass fine-tune."""
    started = time.monotonic()
    if any(node.op_type == "BatchNormalization" for node in state.graph.proto.graph.node):
        state.graph = simplified(state.graph)  # what follows a convolution goes into its weights first
    graph = state.graph
    found = factorizable(graph, frozenset({"conv"}), least_weights=options.least_weights)
    layers = {name: layer for name, layer in found.items() if max(layer.kernel) > 1}
    if not layers:
        state.warn(
            "tucker found no k x k convolution large enough to be factorized; the model stays as it is."
        )
        return
    rows = calibration_rows(state, options.samples)
    original = graph.copy()
    seen = _seen(state, rows, layers)
    weighed = {
        name: np.einsum("oiyx,ij->ojyx", graph.weights[name].astype(np.float64), seen[name].root)
        for name in layers
    }
    plans = _plans(weighed, options)
    before, split = graph.weight_bytes(), 0
    for number, (name, plan) in enumerate(plans.items()):
        state.check_cancelled()
        state.progress(0.5 + 0.5 * number / len(plans), f"factorizing {number + 1} of {len(plans)}")
        if plan is not None:
            _replace(graph, layers[name], weighed[name], seen[name], plan, options.method, state.seed)
            state.codes.pop(name, None)
            split += 1
    if not split:
        state.warn(
            f"tucker found no convolution that {options.method} makes smaller at this "
            f"{'budget' if options.ranks == 'budget' else 'rank'}; the model stays as it is."
        )
    state.add_stage(
        f"{options.method}, {split} of {len(layers)} convolutions",
        started,
        note=f"{graph.weight_bytes() / before:.1%} of the weights"
        + say_agreement(state, original, rows, options.method),
    )
    state.progress(1.0, "factorized")


def _plans(weighed: Mapping[str, np.ndarray], options: Options) -> dict[str, Plan | None]:
    if options.ranks == "vbmf":
        return {name: _smaller(k, _by_evidence(k, options.method)) for name, k in weighed.items()}
    spectra = {name: _spectra(kernel, options.method) for name, kernel in weighed.items()}

    def at(energy: float) -> dict[str, Plan | None]:
        return {
            name: _smaller(kernel, _by_energy(kernel, spectra[name], energy, options.method))
            for name, kernel in weighed.items()
        }

    if options.ranks == "energy":
        return at(options.energy)
    allowed = options.kept * sum(kernel.size for kernel in weighed.values())
    best = at(float(_ENERGIES[0]))
    for energy in _ENERGIES[1:]:
        plans = at(float(energy))
        if _total(plans, weighed) > allowed:
            break
        best = plans
    return best


def _total(plans: Mapping[str, Plan | None], weighed: Mapping[str, np.ndarray]) -> int:
    return sum(weighed[name].size if plan is None else plan.weights for name, plan in plans.items())


def _spectra(kernel: np.ndarray, method: Method) -> list[np.ndarray]:
    """Squared singular values, falling: of both unfoldings, or of the one matrix that the method cuts."""
    if method == "spatial":
        outputs, inputs, height, width = kernel.shape
        matrices = [kernel.transpose(1, 2, 0, 3).reshape(inputs * height, outputs * width)]
    else:
        matrices = [unfold(kernel, 0), unfold(kernel, 1)]
    return [np.linalg.svd(matrix, compute_uv=False) ** 2 for matrix in matrices]


def _by_energy(kernel: np.ndarray, spectra: list[np.ndarray], energy: float, method: Method) -> Plan:
    ranks = [rank_of_energy(values, energy) for values in spectra]
    return _plan(kernel, ranks[0], ranks[-1], method)


def _by_evidence(kernel: np.ndarray, method: Method) -> Plan:
    if method == "spatial":
        outputs, inputs, height, width = kernel.shape
        rank = noise_free_rank(kernel.transpose(1, 2, 0, 3).reshape(inputs * height, outputs * width))
        return _plan(kernel, rank, rank, method)
    return _plan(kernel, noise_free_rank(unfold(kernel, 0)), noise_free_rank(unfold(kernel, 1)), method)


def _plan(kernel: np.ndarray, outer: int, inner: int, method: Method) -> Plan:
    outputs, inputs, height, width = kernel.shape
    if method == "tucker":
        return Plan(outer, inner, inputs * inner + inner * outer * height * width + outer * outputs)
    rank = max(outer, inner)
    if method == "cp":  # as many components as the smaller of the unfoldings' ranks times the kernel's sides
        rank = min(outer * height, inner * width)
        return Plan(rank, rank, rank * (inputs + height + width + outputs))
    return Plan(rank, rank, rank * (inputs * height + outputs * width))


def _smaller(kernel: np.ndarray, plan: Plan) -> Plan | None:
    return plan if plan.weights < kernel.size else None


def _replace(
    graph: Graph,
    layer: Layer,
    weighed: np.ndarray,
    seen: SeenInputs,
    plan: Plan,
    method: Method,
    seed: int,
) -> None:
    """Two to four convolutions in the place of one; `weighed` is the kernel times `seen.root` by input."""
    node, old = layer.node, graph.weights[layer.weight]
    chain, matrix = _chain(layer, old.astype(np.float64), weighed, seen, plan, method, seed)
    if layer.bias is not None and seen.mean is not None:
        bias = graph.weights[layer.bias]
        gain = (layer.matrix(old) - matrix) @ seen.mean
        graph.set_weight(layer.bias, (bias + gain).astype(bias.dtype))
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, np.ndarray] = {}
    x = node.input[0]
    for number, (array, given) in enumerate(chain):
        last = number == len(chain) - 1
        name = fresh_name(graph, f"{layer.weight}.{method}{number}")
        y = node.output[0] if last else fresh_name(graph, f"{node.output[0]}.{method}{number}")
        nodes.append(helper.make_node("Conv", [x, name, *(node.input[2:] if last else [])], [y], **given))
        weights[name] = array.astype(old.dtype)
        x = y
    replace_node(graph, node, nodes, weights)


def _chain(
    layer: Layer,
    kernel: np.ndarray,
    weighed: np.ndarray,
    seen: SeenInputs,
    plan: Plan,
    method: Method,
    seed: int,
) -> tuple[list[tuple[np.ndarray, dict[str, Any]]], np.ndarray]:
    """Kernels with their attributes in the order of use, and the (outputs, patch) matrix that they make."""
    outputs, _, height, width = kernel.shape
    matrix, settings = kernel.reshape(outputs, -1), _settings(layer)
    one: dict[str, Any] = {"kernel_shape": [1, 1]}
    if method == "tucker":
        inner = seen.unroot @ tucker2(weighed, plan.outer, plan.inner).inner  # (inputs, r_in)
        features = np.kron(inner.T, np.eye(height * width))  # (r_in height width, patch)
        best = seen.refit(matrix, features)
        outer = seen.energies(best @ features)[1][:, : plan.outer]  # orthonormal columns
        core = outer.T @ best
        chain = [
            (inner.T[:, :, None, None], one),
            (core.reshape(plan.outer, plan.inner, height, width), settings),
            (outer[:, :, None, None], one),
        ]
        return chain, outer @ core @ features
    if method == "cp":
        parts = cp(weighed, plan.outer, seed=seed)
        inner = seen.unroot @ parts.inner
        features = np.einsum("ir,yr,xr->riyx", inner, parts.rows, parts.columns).reshape(plan.outer, -1)
        outer = seen.refit(matrix, features)
        chain = [
            (inner.T[:, :, None, None], one),
            (parts.rows.T[:, None, :, None], _side(settings, 0, group=plan.outer)),
            (parts.columns.T[:, None, None, :], _side(settings, 1, group=plan.outer)),
            (outer[:, :, None, None], one),
        ]
        return chain, outer @ features
    first = np.einsum("rjy,ij->riy", spatial(weighed, plan.outer).first, seen.unroot)
    features = np.einsum("riy,xz->rxiyz", first, np.eye(width)).reshape(plan.outer * width, -1)
    second = seen.refit(matrix, features)
    chain = [
        (first[:, :, :, None], _side(settings, 0)),
        (second.reshape(outputs, plan.outer, 1, width), _side(settings, 1)),
    ]
    return chain, second @ features


def _settings(layer: Layer) -> dict[str, Any]:
    """Attributes of the k x k convolution, all spelt out but padding by name (SAME_UPPER...)."""
    given: dict[str, Any] = dict(attributes(layer.node))
    auto = given.get("auto_pad", "NOTSET")
    by_name = auto in ("SAME_UPPER", "SAME_LOWER")
    return {
        "kernel_shape": list(layer.kernel),
        "strides": list(given.get("strides", [1, 1])),
        "dilations": list(given.get("dilations", [1, 1])),
        "pads": None if by_name else list(given.get("pads", [0, 0, 0, 0])),
        "auto_pad": auto if by_name else None,
    }


def _side(settings: Mapping[str, Any], axis: int, group: int | None = None) -> dict[str, Any]:
    """The same along one axis (0: rows), nothing along the other."""
    other = 1 - axis
    found = {
        key: None if value is None else list(value) for key, value in settings.items() if key != "auto_pad"
    }
    for key, neutral in (("kernel_shape", 1), ("strides", 1), ("dilations", 1)):
        found[key][other] = neutral  # type: ignore[index]
    if found["pads"] is not None:
        found["pads"][other] = found["pads"][2 + other] = 0
    return {**found, "auto_pad": settings["auto_pad"], "group": group}


def _seen(
    state: PassState, rows: CalibrationRows | None, layers: Mapping[str, Layer]
) -> dict[str, SeenInputs]:
    graph = state.graph
    moments: dict[str, Moments] = {}
    if rows is not None:
        state.progress(0.1, "looking at what goes into each layer")
        moments = layer_inputs(
            Executor(graph), rows.fetch, rows.rows, list(layers), seed=state.seed,
            batch_size=batch_limit(graph, 10), check_cancelled=state.check_cancelled,
        )  # fmt: skip
    return {
        name: seen_inputs(moments.get(name), graph.weights[name].shape, has_bias=layer.bias is not None)
        for name, layer in layers.items()
    }
