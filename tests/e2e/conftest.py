"""Fixtures of the stories: a fresh installation, the digits model and its data set."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from installation import Installation


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(model.onnx, data.npz): a CNN trained here in seconds on scikit-learn's digits."""
    from edgepress_compression.data.digits import make_digits_model, write_digits_npz

    folder = tmp_path_factory.mktemp("digits")
    model, data = folder / "digits-cnn.onnx", folder / "digits.npz"
    model.write_bytes(make_digits_model(seed=0))
    write_digits_npz(data)
    return model, data
