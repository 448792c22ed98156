"""``edgepress model groups``: the groups of a file, without a server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from tiny_models import cnn

from edgepress_server.cli.main import edgepress


def test_groups_are_said_in_words_json_and_a_picture(tmp_path: Path) -> None:
    model = tmp_path / "cnn.onnx"
    model.write_bytes(cnn(np.random.default_rng(0)).serialize())
    said = CliRunner().invoke(
        edgepress, ["model", "groups", str(model), "--svg", str(tmp_path / "groups.svg")]
    )
    assert said.exit_code == 0, said.output
    assert "conv.weight  (6 channels; can be cut)" in said.output
    assert "    rides  var          axis 0, positions 0 to 5" in said.output
    assert "    reads  fc.weight    axis 1, positions 0 to 95, 16 a unit" in said.output
    assert (tmp_path / "groups.svg").read_text().startswith("<svg ")
    listed = json.loads(CliRunner().invoke(edgepress, ["model", "groups", str(model), "--json"]).output)
    assert [(group["name"], group["fixed"]) for group in listed] == [
        ("conv.weight", None),
        ("fc.weight", "they are the model's output y"),
    ]


def test_a_file_that_is_no_model_is_refused_in_words(tmp_path: Path) -> None:
    wrong = tmp_path / "model.onnx"
    wrong.write_bytes(b"{}")
    said = CliRunner().invoke(edgepress, ["model", "groups", str(wrong)])
    assert said.exit_code == 1
    assert "a text file and no model" in said.output
    assert "Traceback" not in said.output
