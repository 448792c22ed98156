"""Quantization-aware training: what was trained is what ships, and it is nearer to the original."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from test_int8 import network
from tiny_models import mlp

from edgepress_compression.artifact.codes import ScaledIntegers
from edgepress_compression.data.dataset import Dataset, dataset_from_arrays
from edgepress_compression.data.fit import fit
from edgepress_compression.errors import RecipeError
from edgepress_compression.evaluate import open_session, run
from edgepress_compression.executor import Executor
from edgepress_compression.executor.quantize import fake_quantize
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.int8 import int8, qat
from edgepress_compression.passes.int8.learned_scales import LearnedScales
from edgepress_compression.passes.int8.prepare import Calibration, prepare, write
from edgepress_compression.passes.int8.training_graph import training_graph
from edgepress_compression.passes.state import PassState
from edgepress_devices.profile import load_profile

RNG = np.random.default_rng(11)


def data_for(graph: Graph, count: int) -> Dataset:
    shape = [side for side in graph.inputs[0].shape[1:] if isinstance(side, int)]
    x = np.random.default_rng(2).standard_normal((count, *shape)).astype(np.float32)
    classes = graph.outputs[0].shape[-1]
    assert isinstance(classes, int)
    labels = run(open_session(graph.serialize()), {"x": x})[0].argmax(axis=1)
    return fit(dataset_from_arrays("noise", {"x": x, "labels": labels}), graph.inputs, graph.outputs)


def state_of(graph: Graph, count: int = 80) -> PassState:
    return PassState(graph=graph.copy(), profile=load_profile("x86-pc"), dataset=data_for(graph, count))


def answers(graph: Graph, x: np.ndarray) -> np.ndarray:
    return run(open_session(graph.serialize()), {"x": x})[0]


def inputs_of(graph: Graph) -> np.ndarray:
    shape = [side for side in graph.inputs[0].shape[1:] if isinstance(side, int)]
    return np.random.default_rng(9).standard_normal((40, *shape)).astype(np.float32)


@pytest.mark.parametrize("relu6", [False, True])
def test_the_training_graph_computes_what_onnxruntime_computes_in_integers(relu6: bool) -> None:
    graph = network(relu6=relu6)
    state = state_of(graph)
    prepared = prepare(state, Calibration(samples=20))
    played = Executor(training_graph(prepared).graph)
    write(state, prepared, bias_correction=False)
    x = inputs_of(graph)
    in_floats = played.run({"x": x})["y"]
    in_integers = answers(state.graph, x)
    spread = float(np.abs(in_integers - answers(graph, x)).max())
    # a product that lies on the border of two integers may fall to either side
    assert float(np.abs(in_floats - in_integers).mean()) < 0.1 * spread


def quantized(graph: Graph, **options: object) -> PassState:
    state = state_of(graph)
    qat.run(state, msgspec.convert({"samples": 20, "steps": 60, "batch_size": 16, **options}, qat.Options))
    return state


def test_training_mends_ranges_that_calibration_cut_too_short() -> None:
    graph = network()
    x = inputs_of(graph)
    plain = state_of(graph)
    cut = {"calibration": "percentile", "percentile": 97.0}
    int8.run(plain, msgspec.convert({"samples": 20, "bias_correction": False, **cut}, int8.Options))
    trained = quantized(graph, learning_rate=5e-4, steps=150, **cut)
    wanted, *found = (centred(answers(one, x)) for one in (graph, plain.graph, trained.graph))
    errors = [float(np.square(one - wanted).mean()) for one in found]
    assert errors[1] < 0.5 * errors[0]


def centred(logits: np.ndarray) -> np.ndarray:
    """Without what a softmax does not see."""
    return logits - logits.mean(axis=1, keepdims=True)


def test_ranges_learn_to_be_wider_where_calibration_cut_them_too_short() -> None:
    cut = Calibration(samples=20, calibration="percentile", percentile=97.0)
    graph = network()
    state = state_of(graph)
    training = training_graph(prepare(state, cut))
    executor = Executor(training.graph)
    names = sorted(set(training.ranges.values()))
    before = {name: float(executor.weights[name].detach()) for name in names}
    constraint = LearnedScales(executor, [*names, *training.weights.values()], {}, learn_scales=True)
    scales_alone = [p for p in constraint.parameters() if p not in set(executor.weights.values())]
    optimizer = torch.optim.Adam(scales_alone, lr=0.001)
    x = inputs_of(graph)
    wanted = torch.from_numpy(centred(answers(graph, x)))
    for _ in range(40):
        executor.zero_grad(set_to_none=True)
        logits = executor({"x": torch.from_numpy(x)})["y"]
        loss = (logits - logits.mean(dim=1, keepdim=True) - wanted).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        constraint.collect()
        optimizer.step()
        constraint.apply()
    grown = [float(executor.weights[name].detach()) / before[name] for name in names]
    assert np.mean(grown) > 1.1


def test_zeros_stay_zero_whatever_the_optimizer_does() -> None:
    graph = network()
    weight = graph.weights["wide.w"].copy()
    weight[:, ::2] = 0
    graph.set_weight("wide.w", weight)
    training = training_graph(prepare(state_of(graph), Calibration(samples=8)))
    executor = Executor(training.graph)
    constraint = LearnedScales(executor, list(training.weights.values()), {}, learn_scales=True)
    with torch.no_grad():
        executor.weights["wide.w"].add_(1.0)
    constraint.apply()
    values = executor.weights["wide.w"].detach().numpy()
    assert not values[:, ::2].any()
    assert values[:, 1::2].all()


def test_a_scale_stays_where_the_clamp_is_the_integers_own_limit() -> None:
    training = training_graph(prepare(state_of(network(relu6=True)), Calibration(samples=8)))
    executor = Executor(training.graph)
    names = sorted(set(training.ranges.values()))
    constraint = LearnedScales(executor, names, training.largest, learn_scales=True)
    assert training.largest
    for logarithm in constraint.parameters()[-len(names) :]:
        logarithm.data.add_(1.0)
    constraint.apply()
    for name, largest in training.largest.items():
        assert float(executor.weights[name].detach()) <= largest * (1 + 2**-8)


def test_the_graph_that_ships_is_int8s_own() -> None:
    graph = network()
    plain = state_of(graph)
    int8.run(plain, int8.Options(samples=20))
    kinds = [[node.op_type for node in one.graph.proto.graph.node] for one in (plain, quantized(graph))]
    assert kinds[0] == kinds[1]


def test_what_training_made_worse_is_not_shipped() -> None:
    graph = network()
    state = quantized(graph, learning_rate=0.5)
    assert any("made the model worse" in warning for warning in state.warnings)
    x = inputs_of(graph)
    noise = np.square(answers(state.graph, x) - answers(graph, x)).mean()
    assert noise < 0.05 * np.square(answers(graph, x)).mean()


def test_pruned_weights_stay_zero() -> None:
    graph = network()
    weight = graph.weights["wide.w"].copy()
    weight[np.abs(weight) < np.median(np.abs(weight))] = 0
    graph.set_weight("wide.w", weight)
    whole = next(
        array
        for name, array in quantized(graph).graph.weights.items()
        if name.startswith("wide.w.") and array.dtype == np.int8 and array.ndim == 4
    )
    assert not whole[weight == 0].any()


def test_without_data_it_says_what_to_give() -> None:
    state = PassState(graph=mlp(RNG), profile=load_profile("x86-pc"))
    with pytest.raises(RecipeError, match="give a data set"):
        qat.run(state, qat.Options())


def test_training_starts_from_the_whole_numbers_of_an_earlier_pass() -> None:
    graph = network()
    state = state_of(graph)
    whole = RNG.integers(-7, 8, graph.weights["wide.w"].shape).astype(np.int32)
    code = ScaledIntegers(whole, np.full(len(whole), 0.0625, np.float32))
    state.graph.set_weight("wide.w", code.weights())
    state.codes["wide.w"] = code
    training = training_graph(prepare(state, Calibration(samples=8)), state.codes)
    assert (training.graph.weights[training.weights["wide.w"]] == np.float32(0.0625)).all()


def test_the_same_seed_gives_the_same_bytes() -> None:
    graph = mlp(np.random.default_rng(4))
    assert quantized(graph).graph.serialize() == quantized(graph).graph.serialize()


def test_gradients_of_rounding_are_those_of_learned_step_size_quantization() -> None:
    """Esser et al. 2020, equation 3, against the formula element by element."""
    x = torch.linspace(-3, 3, 61, requires_grad=True)
    scale = torch.tensor(0.25, requires_grad=True)
    low, high = -4, 7
    y = fake_quantize(x, scale, torch.tensor(0), low, high)
    y.sum().backward()  # type: ignore[no-untyped-call]
    ratio = (x / scale).detach().numpy()
    assert x.grad is not None and scale.grad is not None
    inside = (np.rint(ratio) >= low) & (np.rint(ratio) <= high)
    np.testing.assert_array_equal(x.grad.numpy(), inside)
    expected = np.where(inside, np.rint(ratio) - ratio, np.clip(ratio, low, high)).sum()
    assert float(scale.grad) == pytest.approx(expected, abs=1e-4)
    np.testing.assert_array_equal(y.detach().numpy(), np.clip(np.rint(ratio), low, high) * np.float32(0.25))


def test_training_in_bfloat16_rounds_to_the_same_integers() -> None:
    x = torch.linspace(-3, 3, 301)
    scale = torch.tensor(0.0137)
    coarse = fake_quantize(x.bfloat16(), scale, torch.tensor(100), 0, 255)
    fine = fake_quantize(x.bfloat16().float(), scale, torch.tensor(100), 0, 255)
    assert coarse.dtype == torch.float32
    assert torch.equal(coarse, fine)
