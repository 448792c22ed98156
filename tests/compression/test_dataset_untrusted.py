"""Data sets from strangers: nothing is unpickled, nothing outside is read, nothing large is allocated on
their word."""

from __future__ import annotations

import io
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgepress_compression.data.dataset import load_dataset
from edgepress_compression.data.npz import read_npz
from edgepress_compression.data.pictures import FolderFiles, TarFiles, open_picture
from edgepress_compression.errors import DatasetError


def npy(header: str, payload: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + payload


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"

LIES = [
    ("a pickle", {"x.npy": npy(GOOD.replace("<f4", "|O"), b"\x80\x04N.")}, "only numbers and text"),
    (
        "more than is there",
        {"x.npy": npy(GOOD.replace("(2,)", "(1000000000000,)"), b"\0" * 8)},
        "bytes and has at most",
    ),
    ("too little", {"x.npy": npy(GOOD, b"\0" * 4)}, "does not hold|bytes and has at most"),
    ("too much", {"x.npy": npy(GOOD, b"\0" * 64)}, "does not hold"),
    ("negative length", {"x.npy": npy(GOOD.replace("(2,)", "(-1,)"), b"\0" * 8)}, "negative|damaged"),
    ("code in the header", {"x.npy": npy("__import__('os').getcwd()")}, "damaged header"),
    ("no array", {"x.txt": b"hello"}, "which is no array"),
    ("NaN", {"x.npy": npy(GOOD, struct.pack("<2f", 1, float("nan")))}, "NaN or infinity"),
    ("version 9", {"x.npy": npy(GOOD, b"\0" * 8, b"\x09\x00")}, "version"),
]


@pytest.mark.parametrize(("members", "says"), [row[1:] for row in LIES], ids=[row[0] for row in LIES])
def test_an_npz_that_lies_is_refused(tmp_path: Path, members: dict[str, bytes], says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        read_npz(zipped(tmp_path / "x.npz", members))


def test_a_zip_bomb_is_refused_by_its_directory(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.npz", {"x.npy": b"\0" * 3_000_000})
    assert path.stat().st_size < 10_000
    with pytest.raises(DatasetError, match="unpacks to 3,000,000 bytes"):
        read_npz(path, max_bytes=1_000_000)


def test_a_directory_that_understates_a_bomb_gives_no_more_than_it_states(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.npz", {"x.npy": npy(GOOD, b"\0" * 3_000_000)})
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<I", 3_000_128), struct.pack("<I", 136)))
    with pytest.raises(DatasetError):
        read_npz(path, max_bytes=1_000_000)


def test_too_many_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="at most 64"):
        read_npz(zipped(tmp_path / "x.npz", {f"{n}.npy": npy(GOOD, b"\0" * 8) for n in range(65)}))


@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_flipped_bytes_give_the_arrays_or_a_dataset_error(place: int, flip: int) -> None:
    stream = io.BytesIO()
    np.savez(stream, x=np.arange(6, dtype=np.float32).reshape(3, 2), labels=np.arange(3))
    content = bytearray(stream.getvalue())
    content[place % len(content)] ^= flip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        path.write_bytes(content)
        try:
            read_npz(path)
        except DatasetError:
            pass


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "inside").mkdir()
    files = FolderFiles(tmp_path / "inside")
    for name in ("../secret.txt", str(tmp_path / "secret.txt")):
        with pytest.raises(DatasetError, match="leads out"):
            files.read(name)
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(DatasetError, match="leads out"):
        files.read("link")


def test_links_of_an_archive_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        link = tarfile.TarInfo("labels.csv")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.txt")
        archive.addfile(link)
    with pytest.raises(DatasetError, match=r"holds no file 'labels\.csv'"):
        TarFiles(tmp_path / "x.tar").read("labels.csv")


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("a.bin")
        member.size = 5000
        archive.addfile(member, io.BytesIO(bytes(5000)))
    whole = (tmp_path / "x.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:1500])
    with pytest.raises(DatasetError, match=r"intact|ends inside"):
        TarFiles(tmp_path / "cut.tar").read("a.bin")


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises a size and whose pixels are not there."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def jpeg(change: Callable[[bytes], bytes]) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(stream, "JPEG")
    return change(stream.getvalue())


BROKEN_PICTURES = [
    ("a bomb", png_of(60_000, 60_000), "pixels"),
    ("a large one", png_of(10_000, 5_000), "at most 40,000,000"),
    ("empty pixels", png_of(8, 8), "not an intact picture"),
    ("cut", jpeg(lambda content: content[: len(content) // 2]), "not an intact picture"),
    ("text", b"hello", "not an intact picture"),
]


@pytest.mark.parametrize(
    ("content", "says"), [row[1:] for row in BROKEN_PICTURES], ids=[row[0] for row in BROKEN_PICTURES]
)
def test_a_broken_picture_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        open_picture(content, "x.png")


def test_a_strangers_file_reads_only_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "private.npz", x=np.zeros((5, 2), np.float32), y=np.zeros(5, np.int64))
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("EDGEPRESS_DATA", str(tmp_path))
    for path in ("../private.npz", str(tmp_path / "private.npz"), "${EDGEPRESS_DATA}/private.npz"):
        text = f"""
name = "curious"
[source]
kind = "npz"
path = "{path}"
[splits.test]
arrays = {{ input = "x" }}
labels = "y"
"""
        (own / "set.toml").write_text(text)
        assert len(load_dataset(own / "set.toml").split("test")) == 5  # one's own file may
        with pytest.raises(DatasetError, match="leads out"):
            load_dataset(own / "set.toml", inside=own).split("test")
