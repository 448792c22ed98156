"""``edgepress artifact``: list, show, decode, verify; on a file here or a digest on the server."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from .client import Api
from .compress import print_report
from .model import artifact_table
from .output import api, emit_json, facts, server_options, size, table, writing
from .transfer import download_artifact


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


@artifact.command()
@click.argument("source")
@server_options
def show(source: str, url: str, token: str | None, as_json: bool) -> None:
    """Show SOURCE (file or digest): what it holds and where its bytes went."""
    from edgepress_compression.artifact import format as layout
    from edgepress_compression.artifact import read
    from edgepress_compression.artifact.sizes import sizes
    from edgepress_compression.errors import ArtifactError

    data, record = _resolve(source, url, token)
    try:
        header = read.read_header(data)
        parts = sizes(data)
    except ArtifactError as error:
        raise click.ClickException(f"{source}: {error}") from error
    summary = {
        "model": header.name,
        "profile": header.profile,
        "recipe": header.recipe,
        "format": layout.VERSION,
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
            ("bytes", f"{size(len(data))}, decodes to {size(header.onnx_bytes)} of ONNX"),
        ]
    )
    if record:
        click.echo()
        print_report(record["report"])
    click.echo()
    table(
        ("SECTION", "SHAPE", "CODING", ">BYTES"),
        [
            (p.name or f"({p.part})", "x".join(map(str, p.shape)) or None, p.coding, f"{p.stored_bytes:,}")
            for p in parts
        ],
        empty="",
    )


@artifact.command()
@click.argument("source")
@click.option(
    "-o",
    "--output",
    "out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="ONNX file to write.",
)
@server_options
def decode(source: str, out: Path, url: str, token: str | None, as_json: bool) -> None:
    """Decode SOURCE (file or digest) to plain ONNX."""
    from edgepress_compression.artifact import read
    from edgepress_compression.errors import ArtifactError

    data, _ = _resolve(source, url, token)
    try:
        onnx_bytes = read.decode(data)
    except ArtifactError as error:
        raise click.ClickException(f"{source}: {error}") from error
    with writing(out) as stream:
        stream.write(onnx_bytes)
    if as_json:
        emit_json({"output": str(out), "bytes": len(onnx_bytes), "artifact_bytes": len(data)})
    else:
        click.echo(f"Wrote {out}: {size(len(onnx_bytes))} of ONNX from {size(len(data))} of artifact.")


@artifact.command()
@click.argument("source")
@server_options
def verify(source: str, url: str, token: str | None, as_json: bool) -> None:
    """Check every section of SOURCE, decode it, run it on its probe and compare the answers."""
    from edgepress_compression.errors import ArtifactError, GraphError
    from edgepress_compression.verify import verify_artifact

    data, _ = _resolve(source, url, token)
    try:
        said = verify_artifact(data)
    except (ArtifactError, GraphError) as error:
        raise click.ClickException(f"{source}: {error}") from error
    if as_json:
        emit_json({"ok": said is None, "reason": said})
    elif said is None:
        click.echo("All sections are whole, and the decoded model answers its probe as recorded.")
    if said is not None:
        raise click.ClickException(f"the decoded model does not answer its probe as recorded: {said}")


@artifact.command()
@click.argument("digest")
@click.option(
    "-o",
    "--output",
    "out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write.",
)
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
