"""``edgepress model cost`` for what lies on the server: asks for the prediction and prints it."""

import re
import time
from typing import Any, Final

import click

from .client import Api
from .output import emit_json, facts, micros, size, table

GIVE_UP_S: Final = 240.0  # longer than the server takes to give up itself
ASK_AGAIN_S: Final = 0.5  # the server holds each question for a few seconds
_DIGEST = re.compile(r"[0-9a-f]{6,64}")


def cost_on_server(client: Api, name: str, profile: str, *, layers: int | None, as_json: bool) -> None:
    """Print what the server predicts for its model NAME, or for the artifact whose digest begins so.

    ``layers``: how many to list, the slowest first; None: all, in their order. Raises ClickException.
    """
    found = ask(client, subject(client, name), profile)
    if as_json:
        emit_json(found)
        return
    facts(_totals(found))
    click.echo()
    rows = found["layers"]
    if layers is not None and layers < len(rows):
        rows = sorted(rows, key=lambda layer: -float(layer["latency_us"]))[:layers]
    table(
        ("LAYER", "KIND", ">TIME", ">SHARE", "BOUND", ">OP/BYTE", ">GOP/S"),
        [_row(layer) for layer in rows],
        empty="The model executes no operator.",
    )
    if len(rows) < len(found["layers"]):
        click.echo(f"The {len(rows)} slowest of {len(found['layers'])} layers.")
    click.echo(f"Times are predicted: {found['words']}.")


def subject(client: Api, name: str) -> str:
    """The address of a model, or of the one artifact whose digest begins so."""
    if _DIGEST.fullmatch(name):
        digests = [each["digest"] for each in client.get("/artifacts") if each["digest"].startswith(name)]
        if len(digests) > 1:
            raise click.ClickException(f"{len(digests)} artifacts begin with {name}; give more of the digest")
        if digests:
            return f"/artifacts/{digests[0]}"
    return f"/models/{name}"


def ask(client: Api, address: str, profile: str) -> dict[str, Any]:
    """The prediction, once the server has worked out what a runtime executes."""
    give_up_s = time.monotonic() + GIVE_UP_S
    while True:
        found: dict[str, Any] = client.get(f"{address}/prediction", profile=profile)
        if found["state"] == "ready":
            return found
        if time.monotonic() > give_up_s:
            raise click.ClickException("the server is still working it out; ask again in a minute")
        time.sleep(ASK_AGAIN_S)


def _totals(found: dict[str, Any]) -> list[tuple[str, Any]]:
    measured = found["measured"]
    latency = f"about {micros(found['latency_us'])} ({micros(found['low_us'])} to {micros(found['high_us'])})"
    rows: list[tuple[str, Any]] = [
        ("profile", f"{found['profile']}, {found['threads']} threads"),
        ("latency", f"{latency}, {found['words']}"),
    ]
    if measured is not None:
        rows.append(
            (
                "measured",
                f"p50 {micros(measured['p50_us'])}, p95 {micros(measured['p95_us'])}, {measured['words']}; "
                f"predicted / measured = {measured['latency_ratio']:.2f}",
            )
        )
    rows.append(("memory", f"about {size(found['memory_bytes'])}, {_basis(found['memory_basis'])}"))
    if measured is not None and measured["rss_bytes"] is not None:
        rows.append(("", f"{size(measured['rss_bytes'])} {measured['words']}, the whole agent"))
    if found["energy_mj"] is not None:
        rows.append(("energy", f"about {found['energy_mj']:.3g} mJ, {_basis(found['energy_basis'])}"))
    if measured is not None and measured["energy_mj"] is not None:
        rows.append(("", f"{measured['energy_mj']:.3g} mJ told by devices, {measured['energy_method']}"))
    rows.append(("operations", f"{found['operations']:,}"))
    if found["overhead_us"] > 0:
        rows.append(("of the calls", f"{micros(found['overhead_us'])} beyond the layers"))
    return rows


def _basis(basis: str) -> str:
    return {"datasheet": "datasheet", "calibration": "calibrated", "measurement": "measured"}.get(
        basis, basis
    )


def _row(layer: dict[str, Any]) -> tuple[str | None, ...]:
    computes = layer["operations"] > 0
    return (
        layer["name"],
        layer["kind"] if layer["known"] else f"{layer['kind']} (not timed)",
        micros(layer["latency_us"]),
        f"{100 * layer['share']:.1f} %",
        layer["bound"],
        f"{layer['operations_per_byte']:.3g}" if computes else None,
        f"{layer['operations_per_us'] / 1000:.3g}" if computes else None,
    )
