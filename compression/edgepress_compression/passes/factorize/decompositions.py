"""Convolution kernels (outputs, inputs, height, width) as products of thinner ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SWEEPS = 12  # of alternating least squares; the error hardly changes after
_CP_SWEEPS = 60


@dataclass(frozen=True)
class Tucker2:
    """K[o, i, y, x] = sum over a, b of outer[o, a] core[a, b, y, x] inner[i, b] (Kim et al. 2016, equation
    2)."""

    outer: np.ndarray  # (outputs, ranks of outputs), orthonormal columns
    core: np.ndarray  # (ranks of outputs, ranks of inputs, height, width)
    inner: np.ndarray  # (inputs, ranks of inputs), orthonormal columns

    def kernel(self) -> np.ndarray:
        return _product("oa,abyx,ib->oiyx", self.outer, self.core, self.inner)


@dataclass(frozen=True)
class Cp:
    """K[o, i, y, x] = sum over r of outer[o, r] inner[i, r] rows[y, r] columns[x, r] (Lebedev et al. 2015,
    equation 3)."""

    outer: np.ndarray
    inner: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    def kernel(self) -> np.ndarray:
        return _product("or,ir,yr,xr->oiyx", self.outer, self.inner, self.rows, self.columns)


@dataclass(frozen=True)
class Spatial:
    """K[o, i, y, x] = sum over r of second[o, r, x] first[r, i, y] (Jaderberg et al. 2014, scheme 2)."""

    first: np.ndarray  # (rank, inputs, height)
    second: np.ndarray  # (outputs, rank, width)

    def kernel(self) -> np.ndarray:
        return _product("orx,riy->oiyx", self.second, self.first)


def _product(subscripts: str, *factors: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum(subscripts, *factors, optimize=True))


def unfold(kernel: np.ndarray, axis: int) -> np.ndarray:
    """The kernel as a matrix whose rows run along `axis`."""
    return np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)


def tucker2(kernel: np.ndarray, outer_rank: int, inner_rank: int) -> Tucker2:
    """By higher-order orthogonal iteration from the truncated singular vectors of both unfoldings."""
    kernel = kernel.astype(np.float64)
    outer, inner = _leading(unfold(kernel, 0), outer_rank), _leading(unfold(kernel, 1), inner_rank)
    for _ in range(_SWEEPS):
        outer = _leading(unfold(np.einsum("oiyx,ib->obyx", kernel, inner), 0), outer_rank)
        inner = _leading(unfold(np.einsum("oiyx,oa->aiyx", kernel, outer), 1), inner_rank)
    core = np.einsum("oiyx,oa,ib->abyx", kernel, outer, inner, optimize=True)
    return Tucker2(outer, core, inner)


def cp(kernel: np.ndarray, rank: int, *, seed: int) -> Cp:
    """By alternating least squares from leading singular vectors, random where there are too few of them.
    Components are scaled alike in all four factors, which keeps training stable."""
    kernel = kernel.astype(np.float64)
    rng = np.random.default_rng(seed)
    factors = [_start(unfold(kernel, axis), rank, rng) for axis in range(4)]
    unfolded = [unfold(kernel, axis) for axis in range(4)]
    for _ in range(_CP_SWEEPS):
        for axis in range(4):
            others = [factor for number, factor in enumerate(factors) if number != axis]
            gram = np.ones((rank, rank))
            for factor in others:
                gram *= factor.T @ factor
            joined = _khatri_rao(others)
            damping = 1e-9 * float(np.trace(gram)) / rank + 1e-30
            factors[axis] = np.linalg.solve(gram + damping * np.eye(rank), (unfolded[axis] @ joined).T).T
    norms = [np.maximum(np.linalg.norm(factor, axis=0), 1e-30) for factor in factors]
    even = np.prod(norms, axis=0) ** 0.25
    outer, inner, rows, columns = (factor / norm * even for factor, norm in zip(factors, norms, strict=True))
    return Cp(outer, inner, rows, columns)


def spatial(kernel: np.ndarray, rank: int) -> Spatial:
    """By the singular value decomposition of (inputs height) x (outputs width)."""
    outputs, inputs, height, width = kernel.shape
    matrix = kernel.astype(np.float64).transpose(1, 2, 0, 3).reshape(inputs * height, outputs * width)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(values[:rank])
    first = (left[:, :rank] * root).T.reshape(rank, inputs, height)
    second = (root[:, None] * right[:rank]).reshape(rank, outputs, width).transpose(1, 0, 2)
    return Spatial(np.ascontiguousarray(first), np.ascontiguousarray(second))


def _leading(matrix: np.ndarray, rank: int) -> np.ndarray:
    """The first `rank` left singular vectors."""
    vectors = np.linalg.eigh(matrix @ matrix.T)[1]
    return np.ascontiguousarray(vectors[:, ::-1][:, :rank])


def _start(matrix: np.ndarray, rank: int, rng: np.random.Generator) -> np.ndarray:
    leading = _leading(matrix, min(rank, matrix.shape[0]))
    missing = rank - leading.shape[1]
    return np.concatenate([leading, rng.standard_normal((matrix.shape[0], missing))], axis=1)


def _khatri_rao(factors: list[np.ndarray]) -> np.ndarray:
    """Column by column the Kronecker product: (product of the heights, rank)."""
    joined = factors[0]
    for factor in factors[1:]:
        joined = (joined[:, None, :] * factor[None, :, :]).reshape(-1, joined.shape[1])
    return joined
