"""``edgepress artifact``: look into artifacts and compare them; a file here or a digest on the server."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .client import Api
from .compress import print_report
from .model import artifact_table
from .output import api, emit_json, facts, percent, server_options, size, table, writing
from .transfer import download_artifact

if TYPE_CHECKING:
    from edgepress_compression.artifact.sizes import TensorBytes


@click.group()
def artifact() -> None:
    """Look into artifacts, and get plain ONNX back."""


@artifact.command("list")
@click.option("--model", help="Only artifacts of this model.")
@click.option("--profile", help="Only artifacts for this profile.")
@server_options
def list_(model: str | None, profile: str | None, url: str, token: str | None, as_json: bool) -> None:
    """List the server's artifacts."""
    found = api(url, token).get("/artifacts", model=model, profile=profile)
    if as_json:
        emit_json(found)
    else:
        fitting = [f"{kind} {name}" for kind, name in (("model", model), ("profile", profile)) if name]
        artifact_table(found, fitting=" and ".join(fitting))


def _resolve(source: str, url: str, token: str | None) -> tuple[bytes, dict[str, Any] | None]:
    """The artifact's bytes, and the server's record of it when SOURCE is a digest (or the start of one)."""
    if Path(source).is_file():
        try:
            return Path(source).read_bytes(), None
        except OSError as error:
            raise click.ClickException(f"cannot read {source}: {error.strerror}") from error
    if not re.fullmatch(r"[0-9a-f]{6,64}", source):
        raise click.BadParameter(
            f"{source!r} is neither a file nor a digest (6 to 64 hexadecimal characters)"
        )
    client = api(url, token)
    record = _record(client, source)
    return b"".join(client.artifact(record["digest"])), record


def _record(client: Api, digest: str) -> dict[str, Any]:
    """The server's record of the one artifact whose digest begins so. Raises ClickException."""
    matching = [a["digest"] for a in client.get("/artifacts") if a["digest"].startswith(digest)]
    if len(matching) != 1:
        said = "no artifact begins" if not matching else f"{len(matching)} artifacts begin"
        raise click.ClickException(f"{said} with {digest}; see `edgepress artifact list`")
    found: dict[str, Any] = client.get(f"/artifacts/{matching[0]}")
    return found


def _base_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option("--base", help="What a delta changes: an ONNX file, an artifact, or its digest.")(
        command
    )


def _onnx(source: str | None, url: str, token: str | None) -> bytes | None:
    """The ONNX file that SOURCE is, or holds; None for none."""
    if source is None:
        return None
    from edgepress_compression.artifact.rebase import onnx_of

    return onnx_of(_resolve(source, url, token)[0])


@contextmanager
def _saying(source: str) -> Iterator[None]:
    """What is wrong with an artifact, as a sentence that names it."""
    from edgepress_compression.errors import ArtifactError, GraphError

    try:
        yield
    except (ArtifactError, GraphError) as error:
        raise click.ClickException(f"{source}: {error}") from error


@artifact.command()
@click.argument("source")
@_base_option
@server_options
def show(source: str, base: str | None, url: str, token: str | None, as_json: bool) -> None:
    """Show SOURCE (file or digest): what it holds and where its bytes went."""
    from edgepress_compression.artifact import read
    from edgepress_compression.artifact.sizes import sizes

    data, record = _resolve(source, url, token)
    with _saying(source):
        header = read.read_header(data)
        parts = sizes(data, base=_onnx(base, url, token))
    summary = {
        "model": header.name,
        "profile": header.profile,
        "recipe": header.recipe,
        "format": data[4],
        "base": header.base.onnx_sha256 if header.base else None,
        "bytes": len(data),
        "onnx_bytes": header.onnx_bytes,
        "sections": [asdict(part) for part in parts],
        "report": record["report"] if record else None,
    }
    if as_json:
        emit_json(summary)
        return
    facts(
        [
            ("model", header.name),
            ("profile", header.profile),
            ("recipe", header.recipe.get("name")),
            ("coding", header.recipe.get("coding")),
            ("bytes", f"{size(len(data))}, decodes to {size(header.onnx_bytes)} of ONNX"),
            ("delta of", header.base.onnx_sha256 if header.base else None),
        ]
    )
    if record:
        click.echo()
        print_report(record["report"])
    click.echo()
    table(
        ("SECTION", "SHAPE", "CODING", ">IN ONNX", ">NOT ZERO", ">ENTROPY", ">CODED", ">SIDE", ">BYTES"),
        [*map(_row, parts), _total(parts)],
        empty="",
    )


def _row(part: "TensorBytes") -> tuple[str | None, ...]:
    stages = (part.raw_bytes, part.nonzero_bytes, part.entropy_bytes, part.stored_bytes - part.side_bytes)
    return (
        part.name or f"({part.part})",
        "x".join(map(str, part.shape)) or None,
        part.coding,
        *(None if count is None else f"{count:,}" for count in stages),
        f"{part.side_bytes:,}",
        f"{part.stored_bytes:,}",
    )


def _total(parts: "list[TensorBytes]") -> tuple[str | None, ...]:
    raw, side, stored = (
        sum(getattr(part, name) for part in parts) for name in ("raw_bytes", "side_bytes", "stored_bytes")
    )
    return ("(all)", None, None, f"{raw:,}", None, None, f"{stored - side:,}", f"{side:,}", f"{stored:,}")


def _output_option(help_text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    path = click.Path(dir_okay=False, path_type=Path)
    return click.option("-o", "--output", "out", required=True, type=path, help=help_text)


@artifact.command()
@click.argument("source")
@_output_option("ONNX file to write.")
@_base_option
@server_options
def decode(source: str, out: Path, base: str | None, url: str, token: str | None, as_json: bool) -> None:
    """Decode SOURCE (file or digest) to plain ONNX."""
    from edgepress_compression.artifact import read

    data, _ = _resolve(source, url, token)
    with _saying(source), writing(out) as stream:
        header = read.decode_file(io.BytesIO(data), stream, base=_onnx(base, url, token))
    if as_json:
        emit_json({"output": str(out), "bytes": header.onnx_bytes, "artifact_bytes": len(data)})
    else:
        click.echo(f"Wrote {out}: {size(header.onnx_bytes)} of ONNX from {size(len(data))} of artifact.")


@artifact.command()
@click.argument("source")
@_base_option
@server_options
def verify(source: str, base: str | None, url: str, token: str | None, as_json: bool) -> None:
    """Check every section of SOURCE, decode it, run it on its probe and compare the answers."""
    from edgepress_compression.artifact.read import read_header
    from edgepress_compression.verify import verify_artifact

    data, _ = _resolve(source, url, token)
    with _saying(source):
        said = verify_artifact(data, base=_onnx(base, url, token))
        has_probe = bool(read_header(data).probe.inputs)
    if as_json:
        emit_json({"ok": said is None, "reason": said})
    elif said is None and has_probe:
        click.echo("All sections are whole, and the decoded model answers its probe as recorded.")
    elif said is None:
        click.echo("All sections are whole, and onnxruntime loads the model. It has no probe to answer.")
    if said is not None:
        raise click.ClickException(f"the decoded model does not answer its probe as recorded: {said}")


@artifact.command()
@click.argument("before")
@click.argument("after")
@server_options
def diff(before: str, after: str, url: str, token: str | None, as_json: bool) -> None:
    """Show what differs between two artifacts (files or digests), and what a delta would take.

    CHANGED: which part of a tensor's elements are other ones. RELATIVE L2: |after - before| by |before|.
    """
    from edgepress_compression.artifact.compare import compare
    from edgepress_compression.artifact.read import decode, read_header
    from edgepress_compression.artifact.rebase import write_delta

    old, new = _resolve(before, url, token)[0], _resolve(after, url, token)[0]
    with _saying(before):
        stored_before = {entry.name: entry.stored_bytes for entry in read_header(old).tensors}
        onnx_before = decode(old)
    with _saying(after):
        stored_after = {entry.name: entry.stored_bytes for entry in read_header(new).tensors}
        rows = compare(onnx_before, decode(new))
        delta = write_delta(new, onnx_before)
        stored_delta = {entry.name: entry.stored_bytes for entry in read_header(delta).tensors}
    listed = [
        {
            **asdict(row),
            "bytes_before": stored_before.get(row.name),
            "bytes_after": stored_after.get(row.name),
            "bytes_delta": stored_delta.get(row.name),
        }
        for row in rows
    ]
    if as_json:
        summary = {"bytes_before": len(old), "bytes_after": len(new), "bytes_delta": len(delta)}
        emit_json({**summary, "tensors": listed})
        return
    table(
        ("TENSOR", "SHAPE", "CHANGE", ">CHANGED", ">RELATIVE L2", ">BEFORE", ">AFTER", ">DELTA"),
        [
            (
                row["name"],
                "x".join(map(str, row["shape"])) or None,
                row["change"],
                percent(row["changed"]),
                None if row["relative_l2"] is None else f"{row['relative_l2']:.3g}",
                *(
                    None if row[f"bytes_{of}"] is None else f"{row[f'bytes_{of}']:,}"
                    for of in ("before", "after", "delta")
                ),
            )
            for row in listed
            if row["change"] != "same"
        ],
        empty="No tensor differs.",
    )
    same = sum(row["change"] == "same" for row in listed)
    click.echo(
        f"{same} of {len(listed)} tensors are the same. Before {size(len(old))}, after {size(len(new))}, "
        f"after as a delta {size(len(delta))}."
    )


@artifact.command()
@click.argument("base")
@click.argument("source")
@_output_option("Delta to write.")
@server_options
def delta(base: str, source: str, out: Path, url: str, token: str | None, as_json: bool) -> None:
    """Write what SOURCE (artifact) changes against BASE (artifact or ONNX file), which the reader has."""
    from edgepress_compression.artifact.rebase import write_delta

    data = _resolve(source, url, token)[0]
    with _saying(base):
        onnx_model = _onnx(base, url, token) or b""
    with _saying(source):
        made = write_delta(data, onnx_model)
    with writing(out) as stream:
        stream.write(made)
    if as_json:
        emit_json({"output": str(out), "bytes": len(made), "artifact_bytes": len(data)})
    else:
        click.echo(f"Wrote {out}: {size(len(made))}, the whole artifact has {size(len(data))}.")


@artifact.command()
@click.argument("digest")
@_output_option("File to write.")
@server_options
def download(digest: str, out: Path, url: str, token: str | None, as_json: bool) -> None:
    """Download the artifact with this DIGEST (or its start), and check that it is whole."""
    client = api(url, token)
    record = _record(client, digest)
    download_artifact(client, record["digest"], out, total_bytes=record["bytes"], quiet=as_json)
    if as_json:
        emit_json({"output": str(out), "bytes": record["bytes"]})
    else:
        click.echo(f"Wrote {out} ({size(record['bytes'])}).")
