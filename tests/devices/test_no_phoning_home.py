"""Importing edgepress never lets onnxruntime send usage data to its maker."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("first", ["edgepress_agent.runtime", "edgepress_compression.evaluate"])
def test_onnxruntime_starts_no_uploader(first: str, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    subprocess.run(
        [sys.executable, "-c", f"import {first}, onnxruntime"],
        env={**environment, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
        timeout=120,
        check=True,
    )
    assert list(tmp_path.rglob("*")) == []  # the uploader leaves its session file there
