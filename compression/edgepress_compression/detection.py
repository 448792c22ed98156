"""Boxes: from a detector's output to boxes, and how well they match the truth.

FastestDet (github.com/dog-qiuqiu/FastestDet, BSD-3) gives for each of H x W cells: objectness, dx, dy, w,
h and one probability for each class. A cell holds one box, of its most probable class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgepress_compression.errors import DatasetError

SCORE_FLOOR = 0.001
SAME_OBJECT_IOU = 0.45  # boxes of one class that overlap more are one object (non-maximum suppression)
MATCH_IOU = 0.5
RECALL_POINTS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Boxes:
    """Detections of one picture, best first. Coordinates in 0..1 of its width and height."""

    classes: np.ndarray  # (D,) int64
    scores: np.ndarray  # (D,) float64
    corners: np.ndarray  # (D, 4) x1, y1, x2, y2


def decode_fastestdet(output: np.ndarray) -> Boxes:
    """(5 + classes, H, W) -> boxes after non-maximum suppression for each class."""
    if output.ndim != 3 or output.shape[0] < 6:
        raise DatasetError(
            "A FastestDet model gives (5 + classes, rows, columns) for a picture, this one gives "
            f"{output.shape}; "
            "the data set's `decode` does not fit the model."
        )
    _, rows, columns = output.shape
    flat = output.reshape(output.shape[0], -1).astype(np.float64)  # (5 + classes, cells)
    classes = flat[5:].argmax(axis=0)
    scores = np.clip(flat[0], 0, None) ** 0.6 * np.clip(flat[5:].max(axis=0), 0, None) ** 0.4
    keep = scores > SCORE_FLOOR
    cell_y, cell_x = np.divmod(np.flatnonzero(keep), columns)
    dx, dy = np.tanh(flat[1, keep]), np.tanh(flat[2, keep])
    width, height = 1 / (1 + np.exp(-flat[3, keep])), 1 / (1 + np.exp(-flat[4, keep]))
    x, y = (cell_x + dx) / columns, (cell_y + dy) / rows
    corners = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)
    chosen = _suppress(classes[keep], scores[keep], corners)
    return Boxes(classes[keep][chosen], scores[keep][chosen], corners[chosen])


def _suppress(classes: np.ndarray, scores: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Indices of the boxes that stay, best first."""
    order = np.argsort(-scores, kind="stable")
    overlap = iou(corners, corners) > SAME_OBJECT_IOU
    overlap &= classes[:, None] == classes[None, :]
    alive = np.ones(len(order), dtype=bool)
    kept = []
    for index in order:
        if alive[index]:
            kept.append(index)
            alive &= ~overlap[index]
    return np.array(kept, dtype=np.int64)


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair: (A, 4), (B, 4) -> (A, B)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    area_first = np.prod(np.clip(first[:, 2:] - first[:, :2], 0, None), axis=1)
    area_second = np.prod(np.clip(second[:, 2:] - second[:, :2], 0, None), axis=1)
    union = area_first[:, None] + area_second[None, :] - shared
    ratio: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def average_precision(found: list[Boxes], truth: list[np.ndarray], wanted_class: int) -> float:
    """Mean interpolated precision at 101 recalls, as COCO's evaluation does."""
    scores: list[np.ndarray] = []
    hits: list[np.ndarray] = []
    total = 0
    for boxes, true_boxes in zip(found, truth, strict=True):
        right = true_boxes[true_boxes[:, 0] == wanted_class, 1:]
        total += len(right)
        mine = boxes.classes == wanted_class
        scores.append(boxes.scores[mine])
        hits.append(_match(boxes.corners[mine], right))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hit = np.concatenate(hits)[order]
    true_positives = np.cumsum(hit)
    recall = true_positives / total
    precision = true_positives / np.arange(1, len(hit) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(
        recall, RECALL_POINTS
    )  # first place that reaches each recall; none gives precision 0
    return float(np.append(envelope, 0.0)[at].mean())


def _match(corners: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Which detections (best first) hit a true box that no better one has hit."""
    hit = np.zeros(len(corners), dtype=bool)
    if not len(right):
        return hit
    overlap = iou(corners, right.astype(np.float64))
    free = np.ones(len(right), dtype=bool)
    for index, row in enumerate(overlap):
        best = int(np.where(free, row, -1).argmax())
        if free[best] and row[best] >= MATCH_IOU:
            hit[index], free[best] = True, False
    return hit
