"""Moving files to and from the server, with a progress bar for what takes more than a moment."""

import os
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn, wrap_file

from .client import Api
from .output import errors


def upload_file(client: Api, endpoint: str, file: Path, *, quiet: bool, **query: Any) -> Any:
    size_bytes = file.stat().st_size
    silent = quiet or not errors.is_terminal
    with file.open("rb") as stream:
        if silent:
            return client.upload(endpoint, stream, size_bytes, **query)
        with wrap_file(
            stream, total=size_bytes, description=f"Uploading {file.name}", console=errors
        ) as shown:
            return client.upload(endpoint, shown, size_bytes, **query)


def download_file(client: Api, endpoint: str, target: Path, *, total_bytes: int, quiet: bool) -> None:
    """Write aside, fsync, replace: an interrupted download leaves no half file under the final name."""
    aside = target.with_name(target.name + ".part")
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=errors,
        disable=quiet or not errors.is_terminal,
    )
    with bar, aside.open("wb") as out:
        task = bar.add_task(f"Downloading {target.name}", total=total_bytes)
        for block in client.download(endpoint):
            out.write(block)
            bar.advance(task, len(block))
        out.flush()
        os.fsync(out.fileno())
    aside.replace(target)
