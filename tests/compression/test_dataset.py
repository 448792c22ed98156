"""Data sets: every kind of source gives the arrays that its file describes, or one sentence that says
what is wrong."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgepress_compression.data.audio import LogMel, log_mel
from edgepress_compression.data.dataset import Dataset, load_dataset
from edgepress_compression.data.fit import check_fits, fit
from edgepress_compression.data.spec import data_folder
from edgepress_compression.data.wordpiece import WordPiece
from edgepress_compression.errors import DatasetError

FLOAT: np.dtype[np.generic] = np.dtype(np.float32)


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int | str, ...]
    dtype: np.dtype[np.generic] = FLOAT


def toml(folder: Path, text: str) -> Dataset:
    (folder / "set.toml").write_text(text)
    return load_dataset(folder / "set.toml")


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)  # (H, W, C), all different


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(7):
        (folder / f"{number}.png").write_bytes(png(PIXELS + np.uint8(number)))
    lines = [f"{number}.png,{number % 3},{'train' if number < 4 else 'test'}" for number in range(7)]
    (folder / "labels.csv").write_text("file,label,split\n" + "\n".join(lines) + "\n")
    return tmp_path


IMAGES = """
name = "pictures"
[source]
kind = "images"
path = "pictures"
[splits.train]
where = { split = ["train"] }
[splits.test]
where = { split = ["test"] }
"""


def test_pictures_of_a_folder_come_normalised_in_the_layout_and_channel_order_asked_for(
    pictures: Path,
) -> None:
    data = toml(
        pictures, IMAGES + '[input]\nchannels = "BGR"\ncrop = [2, 4]\nmean = [1.0, 2.0, 3.0]\nstd = 2.0\n'
    )
    feed, labels = next(data.split("test").batches(2))
    cropped = (PIXELS + 4)[1:3, 1:5, ::-1].astype(np.float32)
    wanted = ((cropped - [1, 2, 3]) / 2).transpose(2, 0, 1)
    np.testing.assert_allclose(feed["input"][0], wanted, rtol=1e-6)
    assert feed["input"].dtype == np.float32
    assert labels.tolist() == [1, 2]
    assert [len(data.split(name)) for name in data.splits] == [4, 3]


def test_a_tar_archive_gives_the_same_pictures_as_its_folder(pictures: Path) -> None:
    with tarfile.open(pictures / "pictures.tar", "w") as archive:
        archive.add(pictures / "pictures", arcname=".")
    of_folder = toml(pictures, IMAGES)
    from_folder = next(of_folder.split("train").batches(4))[0]["input"]
    of_tar = toml(pictures, IMAGES.replace('path = "pictures"', 'path = "pictures.tar"'))
    np.testing.assert_array_equal(next(of_tar.split("train").batches(4))[0]["input"], from_folder)


def test_resize_of_the_shorter_side_keeps_the_shape_of_a_picture(pictures: Path) -> None:
    data = toml(pictures, IMAGES + "[input]\nresize = 8\n")
    assert next(data.split("test").batches(1))[0]["input"].shape == (1, 3, 8, 12)
    data = toml(pictures, IMAGES + "[input]\nresize = [5, 7]\n")
    assert next(data.split("test").batches(1))[0]["input"].shape == (1, 3, 5, 7)


def test_an_atlas_is_cut_into_its_tiles_row_by_row(tmp_path: Path) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (6, 2, 3, 3), dtype=np.uint8)
    atlas = tiles.reshape(2, 3, 2, 3, 3).swapaxes(1, 2).reshape(4, 9, 3)  # 3 tiles a row
    (tmp_path / "atlas.png").write_bytes(png(atlas))
    np.savez(tmp_path / "labels.npz", y=np.arange(5))  # the sixth place is empty
    data = toml(
        tmp_path,
        """
name = "atlas"
[source]
kind = "atlas"
tile = [2, 3]
labels_path = "labels.npz"
[splits.test]
path = "atlas.png"
labels = "y"
""",
    )
    feed, labels = next(data.split("test").batches(10))
    np.testing.assert_array_equal(feed["input"], tiles[:5].transpose(0, 3, 1, 2))
    assert labels.tolist() == [0, 1, 2, 3, 4]


NPZ = """
name = "arrays"
[source]
kind = "npz"
path = "arrays.npz"
[splits.train]
arrays = { input = "x" }
labels = "y"
modulo = 5
remainders = [1, 2, 3, 4]
[splits.test]
arrays = { input = "x" }
labels = "y"
modulo = 5
remainders = [0]
[input]
reshape = [1, 2, 2]
std = 255.0
[variants.raw]
models = ["raw_*"]
input = { std = 1.0 }
"""


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    np.savez(tmp_path / "arrays.npz", x=np.arange(40, dtype=np.uint8).reshape(10, 4), y=np.arange(10) % 3)
    return tmp_path


def test_splits_by_remainder_share_no_sample(arrays: Path) -> None:
    data = toml(arrays, NPZ)
    test, train = (next(data.split(name).batches(10))[0]["input"] * 255 for name in ("test", "train"))
    assert np.rint(test[:, 0, 0, 0]).tolist() == [0, 20]
    assert np.rint(train[:, 0, 0, 0]).tolist() == [4, 8, 12, 16, 24, 28, 32, 36]


def test_the_models_name_chooses_the_variant(arrays: Path) -> None:
    data = toml(arrays, NPZ)
    model = [Tensor("image", ("N", 1, 2, 2))]
    assert fit(data, model).variant is None
    raw = fit(data, model, model_name="raw_cnn")
    assert raw.variant == "raw"
    assert (
        next(raw.split("test").batches(2))[0]["image"].max() == 23
    )  # not divided by 255, named as the input
    by_hand = load_dataset(arrays / "set.toml#raw")
    assert by_hand.variant == "raw"


def test_batches_cover_the_split_once_in_a_seeded_order(arrays: Path) -> None:
    split = toml(arrays, NPZ).split("train")
    plain = np.concatenate([labels for _, labels in split.batches(3)])
    np.testing.assert_array_equal(plain, split.labels)
    once = [feed["input"] for feed, _ in split.batches(3, shuffle_seed=7)]
    again = [feed["input"] for feed, _ in split.batches(3, shuffle_seed=7)]
    assert [len(batch) for batch in once] == [3, 3, 2]
    np.testing.assert_array_equal(np.concatenate(once), np.concatenate(again))
    assert sorted(np.concatenate(once)[:, 0, 0, 0]) == sorted(
        np.concatenate([feed["input"] for feed, _ in split.batches(8)])[:, 0, 0, 0]
    )
    assert sum(len(labels) for _, labels in split.batches(3, limit=4)) == 4


def test_a_plain_npz_needs_no_description(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", x=np.zeros((10, 3), np.float32), labels=np.arange(10) % 2)
    data = load_dataset(tmp_path / "plain.npz")
    assert {name: len(data.split(name)) for name in data.splits} == {"test": 2, "train": 8}
    fitted = fit(data, [Tensor("anything", ("N", 3))], [Tensor("y", ("N", 2))])
    assert list(next(fitted.split("test").batches(1))[0]) == ["anything"]


def test_text_becomes_word_pieces_with_a_mask(tmp_path: Path) -> None:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "film", "##s", "!", "cafe", "go", "##od"]
    (tmp_path / "vocabulary.txt").write_text("\n".join(pieces) + "\n")
    (tmp_path / "test.tsv").write_text("1\tGood films!\n0\tCafé zzz\n", encoding="utf-8")
    data = toml(
        tmp_path,
        """
name = "text"
[source]
kind = "text"
vocabulary = "vocabulary.txt"
max_length = 6
[splits.test]
path = "test.tsv"
""",
    )
    feed, labels = next(data.split("test").batches(2))
    assert feed["input_ids"].tolist() == [[2, 4, 5, 6, 7, 3], [2, 8, 1, 3, 0, 0]]
    assert feed["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 1, 0, 0]]
    assert labels.tolist() == [1, 0]


def test_long_text_is_cut_but_keeps_its_end_mark() -> None:
    tokens = WordPiece({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4})
    assert tokens.encode("a " * 50, 5) == [2, 4, 4, 4, 3]


def test_a_tone_is_loudest_in_the_mel_band_of_its_pitch() -> None:
    spec = LogMel(
        sample_rate_hz=8000,
        clip_samples=8000,
        frame_samples=200,
        hop_samples=80,
        fft_samples=256,
        mels=40,
        low_hz=60,
        high_hz=4000,
    )
    time_s = np.arange(4000) / 8000
    for hz in (500, 2000):
        clip = (10_000 * np.sin(2 * np.pi * hz * time_s)).astype(np.int16)
        features = log_mel([clip], spec)
        assert features.shape == (1, 1, 40, 98)
        edges = np.linspace(*(2595 * np.log10(1 + np.array([60, 4000]) / 700)), 42)
        band = int(np.abs(edges[1:-1] - 2595 * np.log10(1 + hz / 700)).argmin())
        assert abs(int(features[0, 0, :, 10].argmax()) - band) <= 1
        assert features[0, 0, :, 90].max() == pytest.approx(np.log(1e-6))  # the clip is over: silence


def test_boxes_are_padded_with_class_minus_one(tmp_path: Path) -> None:
    folder = tmp_path / "boxes"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(PIXELS))
    (folder / "b.png").write_bytes(png(PIXELS))
    images = [{"file": "a.png", "boxes": [[3, 0.1, 0.2, 0.3, 0.4]] * 2}, {"file": "b.png", "boxes": []}]
    (folder / "boxes.json").write_text(json.dumps({"images": images}))
    data = toml(
        tmp_path,
        """
name = "boxes"
task = "detection"
decode = "fastestdet"
[source]
kind = "boxes"
path = "boxes"
[splits.test]
annotations = "boxes.json"
""",
    )
    _, labels = next(data.split("test").batches(2))
    assert labels.shape == (2, 2, 5)
    assert labels[:, :, 0].tolist() == [[3, 3], [-1, -1]]


MISFITS = [
    (
        "another size",
        [Tensor("x", ("N", 1, 3, 3))],
        [],
        "takes samples of 1 x 3 x 3, the data set gives 1 x 2 x 2",
    ),
    ("another rank", [Tensor("x", ("N", 4))], [], "takes samples of 4, the data set gives 1 x 2 x 2"),
    ("two inputs", [Tensor("a", ("N",)), Tensor("b", ("N",))], [], "inputs are a, b"),
    ("whole numbers", [Tensor("x", ("N", 1, 2, 2), np.dtype(np.int64))], [], "takes whole numbers"),
    (
        "few classes",
        [Tensor("x", ("N", 1, 2, 2))],
        [Tensor("y", ("N", 2))],
        "has class 2, and the model's output",
    ),
]


@pytest.mark.parametrize(
    ("inputs", "outputs", "says"), [row[1:] for row in MISFITS], ids=[row[0] for row in MISFITS]
)
def test_a_data_set_that_does_not_fit_says_why(
    arrays: Path, inputs: list[Tensor], outputs: list[Tensor], says: str
) -> None:
    with pytest.raises(DatasetError, match=says):
        check_fits(toml(arrays, NPZ), inputs, outputs)


WRONG = [
    ("not TOML", "name = ", "not valid TOML"),
    ("unknown key", NPZ + "[inputs]\nscale = 1\n", "unknown field `inputs`"),
    ("unknown kind", NPZ.replace('"npz"', '"parquet"'), "Invalid value 'parquet'"),
    ("no splits", 'name = "x"\nsplits = {}\n[source]\nkind = "npz"\n', "no splits"),
    ("missing array", NPZ.replace('"y"', '"z"'), "no array 'z'; it has: x"),
    ("missing file", NPZ.replace("arrays.npz", "other.npz"), "There is no data file"),
    ("wrong shape", NPZ.replace("[1, 2, 2]", "[1, 3, 3]"), "cannot become"),
    ("no rows", NPZ.replace("[0]", "[]"), "takes no rows"),
    ("remainder too large", NPZ.replace("[0]", "[5]"), "smaller than `modulo`"),
    ("divisor 0", NPZ.replace("255.0", "0.0"), "`std` in \\[input\\] is 0"),
    ("wrong variant", NPZ.replace("{ std = 1.0 }", "{ sdt = 1.0 }"), "variant raw"),
]


@pytest.mark.parametrize(("text", "says"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_file_says_what_to_correct(arrays: Path, text: str, says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        next(toml(arrays, text).split("test").batches(1))


def test_a_data_set_that_is_not_there_or_no_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="There is no data set"):
        load_dataset(tmp_path / "nowhere.toml")
    (tmp_path / "data.csv").write_text("a,b\n")
    with pytest.raises(DatasetError, match="is no data set"):
        load_dataset(tmp_path / "data.csv")


def test_an_unknown_split_or_variant_names_those_there_are(arrays: Path) -> None:
    data = toml(arrays, NPZ)
    with pytest.raises(DatasetError, match="has: train, test"):
        data.split("dev")
    with pytest.raises(DatasetError, match="has: raw"):
        data.select("cooked")


def test_an_empty_data_variable_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_DATA", "")
    empty = data_folder(Path(__file__))
    monkeypatch.delenv("EDGEPRESS_DATA")
    assert empty == data_folder(Path(__file__)) == Path(__file__).parents[3] / "shared" / "data"
