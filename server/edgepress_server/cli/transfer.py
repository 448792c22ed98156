"""Moving files to and from the server, with a progress bar for what takes more than a moment."""

from pathlib import Path
from typing import Any, BinaryIO

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from .client import Api
from .output import errors, writing


def upload_file(client: Api, endpoint: str, file: Path, *, quiet: bool, **query: Any) -> Any:
    """POST a file. Once it is there the server looks into it, which takes seconds for a large one."""
    try:
        size_bytes = file.stat().st_size
        stream = file.open("rb")
    except OSError as error:
        raise click.ClickException(f"cannot read {file}: {error.strerror}") from error
    with stream, _bar(quiet) as bar:
        if size_bytes == 0:
            raise click.ClickException(f"{file} is empty; copy or export it again")
        task = bar.add_task(f"Uploading {file.name}", total=size_bytes)
        return client.upload(endpoint, _Watched(stream, size_bytes, bar, task), size_bytes, **query)


class _Watched:
    """A file that tells a progress bar how far it was read."""

    def __init__(self, stream: BinaryIO, size_bytes: int, bar: Progress, task: TaskID) -> None:
        self._stream = stream
        self._left = size_bytes
        self._bar = bar
        self._task = task

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        self._left -= len(block)
        self._bar.advance(self._task, len(block))
        if self._left <= 0:
            self._bar.update(self._task, description="The server looks into it ...")
        return block


def download_artifact(client: Api, digest: str, target: Path, *, total_bytes: int, quiet: bool) -> None:
    """An interrupted or damaged download leaves no file under the final name."""
    with _bar(quiet) as bar, writing(target) as out:
        task = bar.add_task(f"Downloading {target.name}", total=total_bytes)
        for block in client.artifact(digest):
            out.write(block)
            bar.advance(task, len(block))


def _bar(quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=errors,
        disable=quiet or not errors.is_terminal,
    )
