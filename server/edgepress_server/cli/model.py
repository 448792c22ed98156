"""``edgepress model`` and ``dataset``: what there is to compress, and with which samples."""

from pathlib import Path
from typing import Any

import click

from .model_cost import cost
from .output import ago, api, emit_json, facts, json_option, percent, server_options, size, table
from .transfer import upload_file


@click.group()
def model() -> None:
    """Add models and look at them."""


model.add_command(cost)


@model.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="Name on the server; the file's name without its ending by default.")
@click.option("--dataset", help="Data set (already added) that measures this model.")
@server_options
def add(
    file: Path, name: str | None, dataset: str | None, url: str, token: str | None, as_json: bool
) -> None:
    """Upload FILE (.onnx or .pt2)."""
    answer = upload_file(
        api(url, token), "/models", file, quiet=as_json, name=name or file.stem, dataset=dataset
    )
    if as_json:
        emit_json(answer)
        return
    click.echo(
        f"Added {answer['name']}: {size(answer['bytes'])}, {answer['parameters']:,} parameters. "
        f"Next: edgepress compress {answer['name']} --recipe deep-compression --profile raspberry-pi-4"
    )


@model.command("list")
@server_options
def list_(url: str, token: str | None, as_json: bool) -> None:
    """List the models."""
    found = api(url, token).get("/models")
    if as_json:
        emit_json(found)
        return
    table(
        ("NAME", ">BYTES", ">PARAMETERS", "DATA SET", ">ARTIFACTS", "ADDED"),
        [
            (
                m["name"],
                size(m["bytes"]),
                f"{m['parameters']:,}",
                m["dataset"],
                len(m["artifacts"]),
                ago(m["created_at"]),
            )
            for m in found
        ],
        empty="No models yet. Add one: edgepress model add MODEL.onnx",
    )


@model.command()
@click.argument("name")
@server_options
def show(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Show one model and its artifacts."""
    m = api(url, token).get(f"/models/{name}")
    if as_json:
        emit_json(m)
        return
    facts(
        [
            ("name", m["name"]),
            ("bytes", size(m["bytes"])),
            ("weights", size(m["weight_bytes"])),
            ("parameters", f"{m['parameters']:,}"),
            ("multiply-adds", f"{m['macs']:,}" if m["macs"] else None),
            ("inputs", _tensors(m["inputs"])),
            ("outputs", _tensors(m["outputs"])),
            ("data set", m["dataset"]),
            ("note", m["note"] or None),
        ]
    )
    click.echo()
    artifact_table(m["artifacts"])


@model.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture there, too.")
@json_option
def groups(file: Path, svg: Path | None, as_json: bool) -> None:
    """Say which channels of FILE (.onnx or .pt2) can only be cut together, why, and which cannot be cut."""
    import msgspec

    from edgepress_compression.errors import GraphError
    from edgepress_compression.graph import load_model
    from edgepress_compression.graph.channels import channel_groups, describe, picture, table_text

    try:
        found = channel_groups(load_model(file))
    except GraphError as error:
        raise click.ClickException(str(error)) from error
    if svg is not None:
        try:
            svg.write_text(picture(found), encoding="utf-8")
        except OSError as error:
            raise click.ClickException(f"cannot write {svg}: {error.strerror}") from error
    if as_json:
        emit_json(msgspec.to_builtins(describe(found)))
    else:
        click.echo(table_text(found))


def _tensors(tensors: list[dict[str, Any]]) -> str:
    return ", ".join(f"{t['name']} {t['dtype']}[{', '.join(map(str, t['shape']))}]" for t in tensors)


def artifact_table(artifacts: list[dict[str, Any]], fitting: str = "") -> None:
    """``fitting``: in words what the list was narrowed to, for when nothing is left of it."""
    rows = []
    for a in artifacts:
        report = a.get("report") or {}
        accuracy, size_of = report.get("accuracy") or {}, report.get("bytes") or {}
        before, after = accuracy.get("before"), accuracy.get("after")
        rows.append(
            (
                a["digest"][:12],
                a["model"],
                a["profile"],
                a["recipe"],
                size(a["bytes"]),
                f"{size_of['ratio']:.1f}x" if size_of.get("ratio") else None,
                f"{percent(before)} -> {percent(after)}" if after is not None else None,
                ago(a["created_at"]),
            )
        )
    table(
        ("DIGEST", "MODEL", "PROFILE", "RECIPE", ">BYTES", ">SMALLER", "ACCURACY", "MADE"),
        rows,
        empty=f"No artifacts of {fitting}; `edgepress artifact list` shows all."
        if fitting
        else "No artifacts yet. Make one: edgepress compress MODEL --recipe int8 --profile raspberry-pi-4",
    )


@click.group()
def dataset() -> None:
    """Add labelled data sets: they calibrate, fine-tune and measure."""


@dataset.command("add")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="Name on the server; the file's name without its ending by default.")
@server_options
def add_dataset(file: Path, name: str | None, url: str, token: str | None, as_json: bool) -> None:
    """Upload FILE (.npz), or name a TOML description that lies on the server's own disk."""
    client = api(url, token)
    if file.suffix == ".toml":
        answer = client.post("/datasets", {"name": name or file.stem, "path": str(file.resolve())})
    else:
        answer = upload_file(client, "/datasets", file, quiet=as_json, name=name or file.stem)
    if as_json:
        emit_json(answer)
    else:
        click.echo(f"Added data set {answer['name']} ({answer['task']}).")


@dataset.command("list")
@server_options
def list_datasets(url: str, token: str | None, as_json: bool) -> None:
    """List the data sets."""
    found = api(url, token).get("/datasets")
    if as_json:
        emit_json(found)
        return
    table(
        ("NAME", "TASK", "SPLITS", "ADDED"),
        [
            (
                d["name"],
                d["task"],
                ", ".join(f"{split} {count}" for split, count in d["summary"]["splits"].items()),
                ago(d["created_at"]),
            )
            for d in found
        ],
        empty="No data sets yet. Add one: edgepress dataset add DATA.npz",
    )
