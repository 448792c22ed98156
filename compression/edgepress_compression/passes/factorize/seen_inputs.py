"""What a convolution sees, for factors that keep its outputs and not its numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgepress_compression.passes.layer_inputs import Moments

_DAMPING = 1e-4  # of the mean moment: directions that hardly occur do not get wild weights


@dataclass(frozen=True)
class SeenInputs:
    """Second moments of the patches of one convolution, less their mean where a bias can take it."""

    patches: np.ndarray  # (inputs height width, same)
    mean: np.ndarray | None  # (inputs height width,)
    root: (
        np.ndarray
    )  # (inputs, inputs), symmetric root of the channels' moments over all positions of a patch
    unroot: np.ndarray  # its inverse

    def refit(self, matrix: np.ndarray, features: np.ndarray) -> np.ndarray:
        """(outputs, f): what makes the outputs of `matrix` (outputs, patch) from features (f, patch) of the
        patch with the least mean squared error: W M D^T (D M D^T)^-1."""
        seen = self.patches @ features.T  # (patch, f)
        gram = features @ seen
        gram += np.eye(len(gram)) * max(_DAMPING * float(np.trace(gram)) / len(gram), 1e-30)
        return np.asarray(np.linalg.solve(gram, (matrix @ seen).T).T)

    def energies(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues, falling, and eigenvectors (outputs, outputs) of the outputs of `matrix`."""
        covariance = matrix @ self.patches @ matrix.T
        values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.T))
        return np.maximum(values[::-1], 0.0), np.ascontiguousarray(vectors[:, ::-1])


def seen_inputs(moments: Moments | None, kernel_shape: tuple[int, ...], *, has_bias: bool) -> SeenInputs:
    """Of a convolution with a kernel (outputs, inputs, height, width); white noise where nothing was seen."""
    inputs, area = kernel_shape[1], kernel_shape[2] * kernel_shape[3]
    if moments is None:
        return SeenInputs(np.eye(inputs * area), None, np.eye(inputs), np.eye(inputs))
    patches = moments.products[0].double().numpy() / moments.count
    mean = moments.sums[0].double().numpy() / moments.count if has_bias else None
    if mean is not None:
        patches = patches - np.outer(mean, mean)
    channels = np.einsum("iaja->ij", patches.reshape(inputs, area, inputs, area)) / area
    values, vectors = np.linalg.eigh(channels)
    values = np.sqrt(np.maximum(values, max(_DAMPING * float(values.mean()), 1e-30)))
    return SeenInputs(patches, mean, (vectors * values) @ vectors.T, (vectors / values) @ vectors.T)
