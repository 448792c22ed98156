"""A stored model and data set as files under the names that compression goes by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgepress_server.store import Store

if TYPE_CHECKING:
    from edgepress_compression.data.dataset import Dataset


def linked_model(store: Store, name: str, folder: Path) -> Path:
    """FOLDER/<name>.onnx: reports and data set variants go by the model's name. Raises as `Blobs.intact`."""
    source = folder / f"{name}.onnx"
    source.symlink_to(store.blobs.intact(store.models.get(name).blob).resolve())
    return source


def linked_dataset(store: Store, name: str | None, folder: Path) -> Dataset | None:
    """The data set, loaded; None for none. Raises DatasetError, NotFoundError."""
    from edgepress_compression.data.dataset import load_dataset

    if name is None:
        return None
    row = store.datasets.get(name)
    if row.path is not None:
        return load_dataset(Path(row.path))
    named = folder / f"{row.name}.npz"  # load_dataset goes by the suffix
    named.symlink_to(store.blobs.intact(row.blob or "").resolve())
    return load_dataset(named)
