"""A weight tensor as the matrix that its layer multiplies by, and the order in which columns are rounded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgepress_compression.passes.curvature import Curvature

_DAMPING = 0.01  # of the mean moment, added to all: rare inputs do not get wild weights


@dataclass(frozen=True)
class LayerMatrix:
    """Of one tensor: `rows` (groups, outputs of a group, inputs of an output), float64.

    `factor` (groups, inputs, inputs) is upper triangular with factor^T factor = (E[x x^T])^-1, inputs taken
    in `order` (groups, inputs): when input i is rounded after those before it, and all after it make up for
    its error e, the squared error of the outputs grows by (e / factor[i, i])^2 (Frantar and Alistarh 2022).
    Without moments of inputs `factor` is None: each weight stands for itself.
    """

    rows: np.ndarray
    order: np.ndarray
    factor: np.ndarray | None
    outputs: np.ndarray  # (groups, outputs of a group) float64, weight of an output's error in the loss
    shape: tuple[int, ...]
    rows_first: bool
    silent: np.ndarray  # (groups, inputs) bool: inputs that are always 0, in the tensor's own order

    @property
    def diagonal(self) -> np.ndarray:
        """(groups, 1, inputs) in the order of rounding: what a squared error of that weight costs, for
        outputs of weight 1."""
        if self.factor is None:
            return np.ones((1, 1, self.rows.shape[2]))
        inverse = np.diagonal(self.factor, axis1=1, axis2=2)[:, None, :]
        return np.asarray(inverse**-2.0, np.float64)

    def tensor(self, rows: np.ndarray) -> np.ndarray:
        """Rows (groups, outputs, inputs) as the tensor."""
        if self.rows_first:
            return np.ascontiguousarray(rows.reshape(self.shape))
        return np.ascontiguousarray(rows.reshape(self.shape[::-1]).T)

    def of_tensor(self, tensor: np.ndarray) -> np.ndarray:
        """The inverse of `tensor`."""
        flat = tensor if self.rows_first else tensor.T
        return flat.reshape(self.rows.shape)


def layer_matrix(weight: np.ndarray, curvature: Curvature, *, natural_order: bool = False) -> LayerMatrix:
    """`natural_order`: inputs are rounded as they stand; otherwise the loudest first, while there is most to
    adjust."""
    moments = curvature.moments
    if moments is None:
        rows = weight.astype(np.float64).reshape(1, weight.shape[0] if weight.ndim > 1 else 1, -1)
        return LayerMatrix(
            rows=rows,
            order=np.arange(rows.shape[2])[None],
            factor=None,
            outputs=np.full(rows.shape[:2], float(curvature.outputs[0])),
            shape=weight.shape,
            rows_first=True,
            silent=np.zeros((1, rows.shape[2]), bool),
        )
    flat = weight if moments.rows_first else weight.T
    groups, inputs = moments.products.shape[:2]
    rows = flat.astype(np.float64).reshape(groups, -1, inputs)
    hessian = moments.products.double().numpy() / moments.count  # (groups, inputs, inputs)
    power = np.diagonal(hessian, axis1=1, axis2=2)  # (groups, inputs)
    silent = power == 0
    rows = np.where(silent[:, None, :], 0.0, rows)
    natural = np.broadcast_to(np.arange(inputs), power.shape)
    order = natural if natural_order else np.argsort(-power, axis=1, kind="stable")
    ordered = np.take_along_axis(
        np.take_along_axis(hessian, order[:, :, None], axis=1), order[:, None, :], axis=2
    )
    mean_power = np.maximum(power.mean(axis=1, keepdims=True), 1e-12)  # (groups, 1)
    diagonal = _DAMPING * mean_power + np.where(silent, mean_power, 0.0)
    step = np.arange(inputs)
    ordered[:, step, step] += np.take_along_axis(diagonal, order, axis=1)
    # The inverse's upper factor from a lower factor of the matrix with its inputs in reverse: no inverse of
    # the matrix itself is formed.
    lower = np.linalg.cholesky(ordered[:, ::-1, ::-1])
    factor = np.linalg.inv(lower)[:, ::-1, ::-1]  # upper triangular
    return LayerMatrix(
        rows=rows,
        order=np.ascontiguousarray(order),
        factor=np.ascontiguousarray(factor),
        outputs=curvature.outputs.reshape(groups, -1),
        shape=weight.shape,
        rows_first=moments.rows_first,
        silent=silent,
    )


def row_length(weight: np.ndarray, curvature: Curvature) -> int:
    """Inputs of an output."""
    if curvature.moments is not None:
        return int(curvature.moments.products.shape[1])
    return weight.size // max(weight.shape[0] if weight.ndim > 1 else 1, 1)
