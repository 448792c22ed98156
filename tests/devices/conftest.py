import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from board import Board


@pytest.fixture
def board(tmp_path: Path) -> Callable[[str], Board]:
    return lambda name: Board(name, tmp_path)
