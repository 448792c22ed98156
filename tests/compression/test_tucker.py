"""Tucker, CP and spatial decompositions of convolutions."""

import numpy as np
import pytest
from onnx import helper
from tiny_models import model, normal

from edgepress_compression.evaluate import open_session, run
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.factorize import tucker
from edgepress_compression.passes.factorize.decompositions import cp, spatial, tucker2
from edgepress_compression.passes.factorize.evidence import noise_free_rank
from edgepress_compression.passes.factorize.tucker import Options
from edgepress_compression.passes.state import PassState
from edgepress_devices.profile import load_profile

RNG = np.random.default_rng(2)


def low_tucker(outputs: int, inputs: int, outer: int, inner: int, side: int = 3) -> np.ndarray:
    core = RNG.standard_normal((outer, inner, side, side))
    return np.einsum(
        "oa,abyx,ib->oiyx", RNG.standard_normal((outputs, outer)), core, RNG.standard_normal((inputs, inner))
    )


def convolution(kernel: np.ndarray, **settings: object) -> Graph:
    nodes = [helper.make_node("Conv", ["x", "k", "b"], ["y"], **settings)]
    weights = {"k": kernel.astype(np.float32), "b": normal(RNG, kernel.shape[0])}
    shape = ["N", kernel.shape[1], 9, 8]
    return load_model(
        model(
            nodes, weights, input_shape=shape, output_shape=["N", kernel.shape[0], "h", "w"]
        ).SerializeToString()
    )


def answers(graph: Graph, x: np.ndarray) -> np.ndarray:
    return run(open_session(graph.serialize()), {"x": x})[0]


def test_a_kernel_of_low_multilinear_rank_is_found_exactly() -> None:
    kernel = low_tucker(8, 7, 3, 2)
    np.testing.assert_allclose(tucker2(kernel, 3, 2).kernel(), kernel, atol=1e-9)


def test_tucker_iteration_is_no_worse_than_cutting_both_unfoldings() -> None:
    kernel = RNG.standard_normal((8, 7, 3, 3))
    left = np.linalg.svd(kernel.reshape(8, -1))[0][:, :3]
    right = np.linalg.svd(kernel.transpose(1, 0, 2, 3).reshape(7, -1))[0][:, :3]
    cut = np.einsum("oiyx,oa,pa,ib,jb->pjyx", kernel, left, left, right, right, optimize=True)
    assert np.square(tucker2(kernel, 3, 3).kernel() - kernel).sum() <= np.square(cut - kernel).sum() + 1e-9


def test_a_sum_of_few_outer_products_is_found() -> None:
    factors = [RNG.standard_normal((n, 3)) for n in (8, 7, 3, 3)]
    kernel = np.einsum("or,ir,yr,xr->oiyx", *factors)
    found = cp(kernel, 3, seed=0).kernel()
    assert np.square(found - kernel).sum() < 1e-4 * np.square(kernel).sum()


def test_a_spatial_decomposition_of_full_rank_is_exact() -> None:
    kernel = RNG.standard_normal((4, 5, 3, 3))
    np.testing.assert_allclose(spatial(kernel, 12).kernel(), kernel, atol=1e-9)


@pytest.mark.parametrize("rank", [2, 5, 11])
def test_evidence_finds_the_rank_under_noise(rank: int) -> None:
    clean = RNG.standard_normal((40, rank)) @ RNG.standard_normal((rank, 120))
    assert noise_free_rank(clean + 0.3 * RNG.standard_normal((40, 120))) == rank


@pytest.mark.parametrize("method", ["tucker", "cp", "spatial"])
@pytest.mark.parametrize(
    "settings",
    [
        {"pads": [1, 1, 1, 1]},
        {"pads": [0, 1, 2, 1], "strides": [2, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
    ],
)
def test_the_chain_gives_what_one_convolution_of_its_kernel_gives(
    method: str, settings: dict[str, object]
) -> None:
    kernel = np.einsum("or,ir,yr,xr->oiyx", *[RNG.standard_normal((n, 3)) for n in (16, 12, 3, 3)])
    graph = convolution(kernel, **settings)
    x = normal(RNG, 2, 12, 9, 8)
    before = answers(graph, x)
    state = PassState(graph=graph, profile=load_profile("x86-pc"))
    tucker.run(state, Options(method=method, ranks="energy", energy=0.9999999, least_weights=64))  # type: ignore[arg-type]
    after = answers(state.graph, x)
    assert len(state.graph.proto.graph.node) == {"tucker": 3, "cp": 4, "spatial": 2}[method]
    far = 2e-2 if method == "cp" else 2e-3  # alternating least squares comes near, slowly
    assert np.abs(after - before).max() < far * np.abs(before).max()


@pytest.mark.parametrize("method", ["tucker", "cp", "spatial"])
def test_a_budget_is_kept(method: str) -> None:
    state = PassState(graph=convolution(RNG.standard_normal((32, 32, 3, 3))), profile=load_profile("x86-pc"))
    tucker.run(state, Options(method=method, kept=0.5))  # type: ignore[arg-type]
    left = sum(a.size for a in state.graph.weights.values() if a.ndim == 4)
    assert left <= 0.5 * 32 * 32 * 9


def test_noise_stays_as_it_is_with_ranks_by_evidence_of_a_model_without_structure() -> None:
    state = PassState(graph=convolution(RNG.standard_normal((4, 4, 3, 3))), profile=load_profile("x86-pc"))
    tucker.run(state, Options(least_weights=1000))
    assert "no k x k convolution large enough" in state.warnings[0]
