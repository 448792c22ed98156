"""``edgepress device register --csv`` and what is left of it: codes to print, codes that are open."""

import csv
import io
import os
from pathlib import Path
from typing import Any, Final

import click
from rich.progress import track

from . import output
from .client import Api
from .output import emit_json, writing

FILE_MAX_BYTES: Final = 8 << 20
COLUMNS: Final = ("device", "code", "expires_at", "enrol_url")


def register_csv(
    client: Api,
    file: Path,
    *,
    expires_in_s: int,
    replace: bool,
    out: Path | None,
    qr_dir: Path | None,
    as_json: bool,
) -> None:
    """All devices of the file or, when a row is not good, none; codes into ``out``, ``qr_dir`` or here."""
    data = _read(file)
    if qr_dir is not None:
        make_folder(qr_dir)  # before there are codes that nobody could print
    made = client.upload(
        "/devices/bulk",
        io.BytesIO(data),
        len(data),
        content_type="text/csv",
        expires_in_s=expires_in_s,
        replace="true" if replace else "false",
    )["codes"]
    if out is not None:
        _write_codes(out, made)
    if qr_dir is not None:
        draw_qr_codes(qr_dir, made)
    if as_json:
        emit_json(made)
    elif out is None and qr_dir is None:
        text = io.StringIO()
        _write_rows(text, made)
        click.echo(text.getvalue(), nl=False)
    else:
        kept = [f"codes in {out}"] if out is not None else []
        kept += [f"QR codes in {qr_dir}"] if qr_dir is not None else []
        click.echo(f"Registered {len(made)} devices: {', '.join(kept)}. Each code works once.")


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}") from error
    if len(data) > FILE_MAX_BYTES:
        raise click.ClickException(f"{file} is larger than {FILE_MAX_BYTES >> 20} MiB; split it")
    return data


def _write_codes(out: Path, made: list[dict[str, Any]]) -> None:
    """Readable by its owner only: who has a code is the device."""
    text = io.StringIO()
    _write_rows(text, made)
    with writing(out) as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write(text.getvalue().encode())


def _write_rows(stream: io.StringIO, made: list[dict[str, Any]]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([one[column] for column in COLUMNS] for one in made)


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise click.ClickException(f"cannot make {folder}: {error.strerror}") from error


def draw_qr_codes(folder: Path, made: list[dict[str, Any]]) -> None:
    """``NAME.svg`` for each: the enrolment address, with the name in the picture's title."""
    import segno

    make_folder(folder)
    shown = track(
        made, "Drawing QR codes", console=output.errors, disable=not output.errors.is_terminal, transient=True
    )
    for one in shown:
        with writing(folder / f"{one['device']}.svg") as stream:
            os.fchmod(stream.fileno(), 0o600)
            segno.make(one["enrol_url"], micro=False).save(
                stream, kind="svg", scale=4, border=4, title=one["device"], dark="#000", light="#fff"
            )
