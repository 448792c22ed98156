"""Pictures from a folder, a tar archive or one atlas, decoded when first asked for.

Archives are read in place and never unpacked, so no member's name can lead outside. A picture's size is
known from its header and limited before its pixels are allocated.
"""

from __future__ import annotations

import io
import tarfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from PIL import Image, UnidentifiedImageError

from edgepress_compression.data.preprocess import InputSpec, fit_picture
from edgepress_compression.errors import DatasetError

MAX_PIXELS = 40_000_000  # of one picture; an atlas of 10,000 32 x 32 pictures has 10 million
MAX_FILE_BYTES = 256 << 20  # of one picture's file
MAX_MEMBERS = 2_000_000
CACHE_BYTES = 1 << 30  # decoded pictures are kept when all of a split fit in this


class Files(Protocol):
    """Named blobs: a folder or a tar archive."""

    def read(self, name: str) -> bytes: ...


class FolderFiles:
    """Files under one folder; names that lead out of it are refused."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def read(self, name: str) -> bytes:
        path = (self.root / name).resolve()
        if not path.is_relative_to(self.root):
            raise DatasetError(
                f"The name {name!r} leads out of the folder {self.root.name}; use names inside it."
            )
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise DatasetError(f"{name} is larger than {MAX_FILE_BYTES:,} bytes; save it smaller.")
            return path.read_bytes()
        except OSError as error:
            raise DatasetError(f"{name} cannot be read from {self.root}: {error.strerror}.") from error


class TarFiles:
    """Regular members of an uncompressed tar archive, read by offset; links and devices are not followed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._where: dict[str, tuple[int, int]] = {}  # name -> offset, size in bytes
        try:
            with tarfile.open(path, "r:") as archive:
                for member in archive:
                    if member.isreg():
                        self._where[member.name.removeprefix("./")] = (member.offset_data, member.size)
                    if len(self._where) > MAX_MEMBERS:
                        raise DatasetError(f"{path.name} holds more than {MAX_MEMBERS:,} files.")
        except FileNotFoundError:
            raise DatasetError(f"There is no archive {path}; check the path.") from None
        except tarfile.TarError as error:
            raise DatasetError(
                f"{path.name} is not an intact, uncompressed tar archive ({error}); make it with `tar cf`."
            ) from error
        except OSError as error:
            raise DatasetError(f"{path.name} cannot be read: {error}.") from error

    def read(self, name: str) -> bytes:
        if name not in self._where:
            raise DatasetError(f"{self.path.name} holds no file {name!r}; check the names in its labels.")
        offset, size = self._where[name]
        if size > MAX_FILE_BYTES:
            raise DatasetError(f"{name} is larger than {MAX_FILE_BYTES:,} bytes; save it smaller.")
        with self.path.open("rb") as stream:
            stream.seek(offset)
            content = stream.read(size)
        if len(content) != size:
            raise DatasetError(f"{self.path.name} ends inside {name}; copy it again.")
        return content


def open_files(path: Path) -> Files:
    if path.is_dir():
        return FolderFiles(path)
    return TarFiles(path)


def open_picture(content: bytes, name: str) -> Image.Image:
    """Decoded pixels; DatasetError when it is no picture, damaged, or larger than MAX_PIXELS."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content))  # reads the header only
            if picture.width * picture.height > MAX_PIXELS:
                raise DatasetError(
                    f"{name} has {picture.width} x {picture.height} pixels; at most {MAX_PIXELS:,} are "
                    "decoded."
                )
            picture.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DatasetError(f"{name} has far too many pixels; at most {MAX_PIXELS:,} are decoded.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        # Pillow raises OSError for truncated data, SyntaxError for broken PNG chunks, ValueError for bad
        # modes
        raise DatasetError(
            f"{name} is not an intact picture ({error}); save it as JPEG or PNG again."
        ) from error
    return picture


class PictureRows:
    """Samples of a split: names in a folder or archive, decoded on demand and kept while they are few."""

    def __init__(self, files: Files, names: Sequence[str], spec: InputSpec) -> None:
        self.files, self.names, self.spec = files, list(names), spec
        self._cache: dict[int, np.ndarray] = {}
        self._cached_bytes = 0

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """uint8 (len(rows), H, W, C); all pictures must come out at one size."""
        pictures = [self._one(int(row)) for row in rows]
        shapes = {picture.shape for picture in pictures}
        if len(shapes) > 1:
            two = " and ".join(str(shape) for shape in sorted(shapes)[:2])
            raise DatasetError(
                f"The pictures have different sizes (for example {two}); set `crop`, or "
                "`resize = [height, width]`, in [input]."
            )
        return np.stack(pictures)

    def _one(self, row: int) -> np.ndarray:
        kept = self._cache.get(row)
        if kept is None:
            name = self.names[row]
            kept = np.ascontiguousarray(fit_picture(open_picture(self.files.read(name), name), self.spec))
            if self._cached_bytes + kept.nbytes <= CACHE_BYTES:
                self._cache[row] = kept
                self._cached_bytes += kept.nbytes
        return kept


def read_atlas(path: Path, tile: tuple[int, int], count: int, spec: InputSpec) -> np.ndarray:
    """The first `count` tiles of one picture, row by row: uint8 (count, height, width, C)."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"The atlas {path} cannot be read: {error.strerror}; check the path.") from error
    height, width = tile
    picture = open_picture(content, path.name).convert("L" if spec.channels == "grey" else "RGB")
    across, down = picture.width // width, picture.height // height
    if across * down < count:
        raise DatasetError(
            f"{path.name} has room for {across * down} tiles of {height} x {width} pixels and {count} "
            "labels are given."
        )
    pixels = np.asarray(picture, dtype=np.uint8)[: down * height, : across * width]
    tiles = (
        pixels.reshape(down, height, across, width, -1)
        .swapaxes(1, 2)
        .reshape(down * across, height, width, -1)
    )
    tiles = tiles[:count, :, :, ::-1] if spec.channels == "BGR" else tiles[:count]
    if spec.resize is None and spec.crop is None:
        return np.ascontiguousarray(tiles)
    # Channel order is done above, so only the geometry is left.
    geometry = msgspec.structs.replace(spec, channels="grey" if spec.channels == "grey" else "RGB")
    return np.stack(
        [
            fit_picture(Image.fromarray(tile.squeeze(2) if tile.shape[2] == 1 else tile), geometry)
            for tile in tiles
        ]
    )
