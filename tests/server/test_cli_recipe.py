"""``edgepress recipe``: what people choose from, without a server."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgepress_compression.recipe import list_recipes, load_recipe
from edgepress_server.cli.main import edgepress
from edgepress_server.cli.recipe import _paper


def said(*words: str) -> str:
    done = CliRunner().invoke(edgepress, ["recipe", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_list_names_every_recipe_with_what_it_needs() -> None:
    lines = {line.split()[0]: line for line in said("list").splitlines()}
    assert {"none", "int8", "weightless"} <= set(lines)
    assert "labelled" in lines["weightless"] and "Reagen et al. 2018" in lines["weightless"]
    listed = json.loads(said("list", "--json"))
    assert [one["name"] for one in listed] == [one.name for one in list_recipes()]
    assert {one["needs"] for one in listed} <= {"none", "unlabelled", "labelled"}


def test_a_recipe_is_shown_with_every_option_and_what_it_means() -> None:
    text = said("show", "int8")
    assert "Jacob et al. 2018, Quantization and Training" in text
    assert "samples" in text and "(default 100)" in text
    shown = json.loads(said("show", "int8", "--json"))
    (samples,) = [one for one in shown["passes"][0]["options"] if one["name"] == "samples"]
    assert (samples["value"], samples["default"], samples["changed"]) == (200, 100, True)


def test_the_file_of_a_recipe_is_a_start_for_ones_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(said("show", "deep-compression", "--toml"))
    assert load_recipe(mine) == load_recipe("deep-compression")
    assert "share" in said("show", str(mine))


def test_an_unknown_recipe_is_one_sentence() -> None:
    done = CliRunner().invoke(edgepress, ["recipe", "show", "int-8"])
    assert done.exit_code == 1 and "Did you mean int8" in done.output and "Traceback" not in done.output


PAPERS = [
    ("Han, Mao, Dally 2016, Deep Compression (ICLR)", "Han et al. 2016"),
    ("Zhu and Gupta 2017, To prune, or not to prune", "Zhu and Gupta 2017"),
    ("", "edgepress"),
]


@pytest.mark.parametrize(("source", "short"), PAPERS, ids=[short for _, short in PAPERS])
def test_sources_are_short_in_the_list(source: str, short: str) -> None:
    assert _paper(source) == short
