"""``edgepress budget``: what a model is to keep on the devices of a profile."""

from typing import Any

import click
import msgspec

from .output import api, emit_json, server_options, table
from .search_here import parse_budget


@click.group()
def budget() -> None:
    """Say what a model is to keep on the devices of a profile; their telemetry is watched for it."""


@budget.command("set")
@click.argument("model")
@click.option("--profile", required=True, help="Id of a device profile.")
@click.option("--latency", help="p95 of one inference, with its unit: 20ms.")
@click.option("--memory", help="Of the agent's process: 64MB.")
@click.option("--energy", help="Of one inference: 5mJ.")
@click.option("--size", help="Of the artifact, for searches: 2MB.")
@click.option("--max-drop", help="Points of accuracy that a search may lose: 1.0.")
@click.option(
    "--prediction-error",
    type=click.FloatRange(min=0.05, max=100.0),
    help="How far measured latency may be from the prediction: 0.5 is 1.5 times either way.",
)
@click.option(
    "--auto/--ask",
    default=False,
    show_default=True,
    help="What follows when it is missed starts by itself, or is proposed.",
)
@click.option(
    "--minutes", type=click.IntRange(1, 1440), default=3, show_default=True, help="Missed for so long."
)
@click.option("--window", "window_s", type=click.IntRange(60, 86_400), default=600, show_default=True,
              help="Seconds after which telemetry says nothing any more.")  # fmt: skip
@click.option("--profiling", "profiling_s", type=click.IntRange(5, 600), default=60, show_default=True,
              help="Seconds that a device measures itself before a search.")  # fmt: skip
@click.option("--search-seconds", type=click.IntRange(min=10), help="Time for each search that follows.")
@click.option("--search-device", help="Searches measure their candidates on this device.")
@server_options
def set_(
    model: str,
    profile: str,
    latency: str | None,
    memory: str | None,
    energy: str | None,
    size: str | None,
    max_drop: str | None,
    prediction_error: float | None,
    auto: bool,
    minutes: int,
    window_s: int,
    profiling_s: int,
    search_seconds: int | None,
    search_device: str | None,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """Set or replace the budget of MODEL on a profile.

    \b
    edgepress budget set squeezenet --profile raspberry-pi-4 --latency 20ms --max-drop 1.0 --auto
    """
    limits = parse_budget(latency, size, memory, energy, max_drop)
    search = {"seconds": search_seconds, "device": search_device}
    found = api(url, token).post(
        "/budgets",
        {
            **({} if limits is None else msgspec.to_builtins(limits)),
            "model": model,
            "profile": profile,
            "prediction_error": prediction_error,
            "auto": auto,
            "sustained_minutes": minutes,
            "window_s": max(window_s, 60 * minutes),
            "profiling_s": profiling_s,
            "search": {name: value for name, value in search.items() if value is not None},
        },
    )
    if as_json:
        emit_json(found)
    else:
        what = "what follows starts by itself" if auto else "what follows is proposed: edgepress finding list"
        click.echo(f"{model} on {profile}: {found['words']}. When devices miss it for {minutes} min, {what}.")


@budget.command("list")
@click.option("--model", help="Only of this model.")
@server_options
def list_(model: str | None, url: str, token: str | None, as_json: bool) -> None:
    """List the budgets, and whether the devices keep them now."""
    client = api(url, token)
    found = client.get("/budgets", model=model) if model else client.get("/budgets")
    if as_json:
        emit_json(found)
        return
    table(
        ("MODEL", "PROFILE", "BUDGET", "NOW", "WHEN MISSED"),
        [
            (b["model"], b["profile"], b["words"], _now(b["now"]), "acts by itself" if b["auto"] else "asks")
            for b in found
        ],
        empty="No budgets yet. Set one: edgepress budget set MODEL --profile P --latency 20ms",
    )


def _now(now: list[dict[str, Any]]) -> str:
    from edgepress_server.watch.words import figure

    if not now:
        return "too little telemetry"
    return "; ".join(f"{one['kind']} {figure(one['kind'], one['measured'])} {one['state']}" for one in now)


@budget.command()
@click.argument("model")
@click.option("--profile", required=True, help="Id of a device profile.")
@server_options
def clear(model: str, profile: str, url: str, token: str | None, as_json: bool) -> None:
    """Take the budget of MODEL on a profile back."""
    api(url, token).delete(f"/budgets/{model}/{profile}")
    if as_json:
        emit_json({"model": model, "profile": profile})
    else:
        click.echo(f"{model} has no budget on {profile} any more.")
