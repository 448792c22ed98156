"""Recipes compared: who is dominated, what is kept, what a failure leaves behind."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgepress_compression import compare as compare_module
from edgepress_compression.compare import Comparison, Point, compare, mark_dominated
from edgepress_compression.compress import Progress
from edgepress_compression.data.digits import digits_dataset, make_digits_model
from edgepress_compression.errors import CompressionCancelledError, RecipeError
from edgepress_compression.page.compare_page import compare_page
from edgepress_compression.page.report_page import report_page
from edgepress_devices.profile import load_profile


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "digits.onnx"
    path.write_bytes(make_digits_model(seed=0))
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_module, "SECONDS_A_MODEL", 0.0)


class Run:
    """Compares, and remembers which recipes worked."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.model, self.folder, self.worked = model, folder, set[str]()

    def __call__(self, recipes: list[str], *, stop_at: str = "", seed: int = 0) -> Comparison:
        self.worked = set()

        def note(recipe: str, step: Progress) -> None:
            self.worked.add(recipe)

        return compare(
            self.model,
            recipes,
            profile=load_profile("x86-pc"),
            dataset=digits_dataset(),
            folder=self.folder,
            command="edgepress compare",
            seed=seed,
            progress=note,
            cancelled=lambda: stop_at in self.worked,
        )


def test_an_interrupted_comparison_goes_on_and_keeps_what_is_finished(model: Path, tmp_path: Path) -> None:
    run = Run(model, tmp_path / "out")
    with pytest.raises(CompressionCancelledError):
        run(["none", "int8"], stop_at="int8")
    assert sorted(path.name for path in run.folder.iterdir()) == ["none.epa", "none.json", "unfinished"]
    found = run(["none", "int8"])
    assert run.worked == {"int8"}
    assert [point.recipe for point in found.points] == ["none", "int8"]
    assert json.loads((run.folder / "compare.json").read_bytes()) == found.as_json()
    assert run(["none", "int8"]).points[1].artifact_bytes == found.points[1].artifact_bytes
    assert run.worked == set()


def test_what_was_made_otherwise_or_is_damaged_is_made_anew(model: Path, tmp_path: Path) -> None:
    run = Run(model, tmp_path)
    run(["none"])
    run(["none"], seed=1)
    assert run.worked == {"none"}
    (tmp_path / "none.epa").write_bytes((tmp_path / "none.epa").read_bytes()[:-1])
    run(["none"], seed=1)
    assert run.worked == {"none"}
    (tmp_path / "none.json").write_text("{")
    run(["none"], seed=1)
    assert run.worked == {"none"}


def test_a_recipe_that_fails_says_why_and_the_others_go_on(model: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('name = "bad"\ndescription = "d"\n[[passes]]\nname = "quantize"\ntarget_bytes = 10\n')
    found = Run(model, tmp_path / "out")([str(bad), "none"])
    assert found.points[0].artifact is None
    assert "10" in (found.points[0].error or "") and found.points[1].error is None
    with pytest.raises(RecipeError, match="no recipe 'nothing'"):
        Run(model, tmp_path / "out")(["none", "nothing"])


def point(name: str, size: int, latency: float, accuracy: float) -> Point:
    return Point(recipe=name, artifact_bytes=size, latency_us=latency, accuracy=accuracy)


def test_a_point_is_dominated_where_another_is_no_worse_in_both_and_better_in_one() -> None:
    points = [
        point("small", 10, 9.0, 0.90),
        point("fast", 20, 1.0, 0.90),
        point("good", 40, 9.0, 0.99),
        point("same as good", 40, 9.0, 0.99),
        point("bad", 40, 9.5, 0.80),
    ]
    mark_dominated(points)
    assert [one.recipe for one in points if one.dominated_by_bytes] == ["fast", "bad"]
    assert [one.recipe for one in points if one.dominated_by_latency] == ["small", "bad"]
    blind = [Point(recipe="a", artifact_bytes=1), Point(recipe="b", artifact_bytes=2)]
    mark_dominated(blind)
    assert not any(one.dominated_by_bytes or one.dominated_by_latency for one in blind)


class Balanced(HTMLParser):
    """Fails on a tag that is closed out of order; holds the text."""

    VOID = frozenset({"meta", "br", "circle", "line"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_pages_are_whole_html_that_loads_nothing(model: Path, tmp_path: Path) -> None:
    run = Run(model, tmp_path)
    found = run(["none", "int8"])
    found.points[0].recipe = "<script>alert(1)</script>"
    report = json.loads((tmp_path / "int8.json").read_bytes())
    report["stages"][0]["detail"] = {
        "sensitivity": [
            {"tensor": name, "bits": bits, "loss": bits * rate}
            for name, rate in (("a", 1.0), ("b<", 0.5))
            for bits in (2, 4, 8)
        ],
        "filters": [{"group": "conv<1>", "alive": 3, "of": 8}, {"group": "conv2", "alive": 16, "of": 16}],
    }
    report["model"] = "<b>digits</b>"
    for text, says in (
        (compare_page(found), ["int8", "Accuracy against latency", "<script>alert(1)</script>"]),
        (
            report_page(report),
            ["conv<1>", "3 of 8", "b<", "<b>digits</b>: int8 for x86-pc", "Sensitivity, int8"],
        ),
    ):
        words = Balanced(text).words
        for one in says:
            assert any(one in word for word in words), one
        assert "<script" not in text and "http" not in text.replace("https://", "http")
        assert 'src="' not in text


def named(path: Path, name: str) -> str:
    path.write_text(f'name = "{name}"\ndescription = "d"\n[[passes]]\nname = "quantize"\ntarget_bytes = 10\n')
    return str(path)


def test_recipes_whose_files_would_be_the_same_are_refused(model: Path, tmp_path: Path) -> None:
    run = Run(model, tmp_path / "out")
    first, second = named(tmp_path / "a.toml", "mine"), named(tmp_path / "b.toml", "mine")
    with pytest.raises(RecipeError, match=r"a.toml and .*b.toml are both named 'mine'"):
        run(["none", first, second])
    with pytest.raises(RecipeError, match="cannot be named 'compare'"):
        run(["none", named(tmp_path / "c.toml", "compare")])
    assert run.worked == set()
    assert not run.folder.exists()


def test_other_samples_or_another_version_are_no_reason_to_keep(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(model, tmp_path)
    run(["none"])
    data = digits_dataset()
    monkeypatch.setattr(compare_module, "data_identity", lambda data: {"sha256": "of others"})
    run(["none"])
    assert run.worked == {"none"}
    run(["none"])
    assert run.worked == set()
    monkeypatch.setattr(compare_module, "__version__", "9.9.9")
    run(["none"])
    assert run.worked == {"none"}
    assert json.loads((tmp_path / "none.json").read_bytes())["dataset"]["name"] == data.name


def test_a_page_without_a_result_is_a_page(model: Path, tmp_path: Path) -> None:
    found = Run(model, tmp_path / "out")([named(tmp_path / "bad.toml", "bad")])
    assert found.n is None
    assert any("on digits" in word for word in Balanced(compare_page(found)).words)
