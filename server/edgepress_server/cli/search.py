"""``edgepress search``: which recipe meets a budget, searched on the server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from . import output
from .client import Api
from .compress import follow
from .output import ago, api, emit_json, facts, micros, server_options, size, table

if TYPE_CHECKING:
    from edgepress_compression.search.budget import Budget

LIVE = {"queued", "running"}
POLL_SECONDS = 1.0
ROWS_MOST = 12  # of a live table


@click.group()
def search() -> None:
    """Searches on the server for the recipe that meets a budget."""


@search.command()
@click.argument("model")
@click.option("--profile", required=True, help="Device profile.")
@click.option("--data", help="Data set on the server; the model's own if left out.")
@click.option("--latency", help="Budget: latency of one sample on the profile, such as 20ms.")
@click.option("--size", "size_", help="Budget: the artifact's size, such as 2MB.")
@click.option("--memory", help="Budget: memory to load and run it, such as 64MB.")
@click.option("--energy", help="Budget: energy of one inference, such as 5mJ.")
@click.option("--max-drop", help="Budget: points of accuracy that may be lost, such as 1.0.")
@click.option(
    "--seconds", type=click.IntRange(10, 604_800), default=900, show_default=True, help="Of work on it."
)
@click.option("--trials", type=click.IntRange(1, 10_000), help="At most so many recipes are tried.")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes side by side."
)
@click.option("--device", help="Roll the best candidates out to this device and measure them there.")
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
@click.option("--reason", default="", help="Why, for those who look at it later.")
@click.option("--detach", is_flag=True, help="Do not wait for its end.")
@server_options
def start(
    model: str,
    profile: str,
    data: str | None,
    latency: str | None,
    size_: str | None,
    memory: str | None,
    energy: str | None,
    max_drop: str | None,
    seconds: int,
    trials: int | None,
    workers: int,
    device: str | None,
    seed: int,
    reason: str,
    detach: bool,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """Search for the recipe with which MODEL meets a budget on a profile."""
    from .search_here import parse_budget

    budget = parse_budget(latency, size_, memory, energy, max_drop)
    if budget is None:
        raise click.UsageError(
            "say what is needed: --latency 20ms, --size 2MB, --memory 64MB, --energy 5mJ or --max-drop 1.0"
        )
    search_on_server(
        api(url, token),
        model,
        (profile,),
        data,
        budget,
        seconds=seconds,
        seed=seed,
        detach=detach,
        as_json=as_json,
        workers=workers,
        trials=trials,
        device=device,
        reason=reason,
    )


def search_on_server(
    client: Api,
    model: str,
    profiles: Sequence[str],
    data: str | None,
    budget: Budget,
    *,
    seconds: float,
    seed: int,
    detach: bool,
    as_json: bool,
    workers: int = 1,
    trials: int | None = None,
    device: str | None = None,
    reason: str = "",
) -> None:
    """A search for each profile; their fronts are shown as they grow, one after the other.

    Exits with 1 where one failed, or found nothing within the budget.
    """
    options: dict[str, Any] = {"seconds": round(seconds), "seed": seed, "workers": workers}
    options |= {} if trials is None else {"trials": trials}
    options |= {} if device is None else {"device": device}
    limits = {
        name: limit for name in budget.__struct_fields__ if (limit := getattr(budget, name)) is not None
    }
    body: dict[str, Any] = {"model": model, "budget": limits, "options": options, "reason": reason}
    if data is not None:
        body["dataset"] = data
    made = [client.post("/searches", {**body, "profile": profile}) for profile in profiles]
    if not detach:
        try:
            made = [_follow(client, one["id"], quiet=as_json) for one in made]
        except KeyboardInterrupt:
            raise click.ClickException(_goes_on(made)) from None
    if as_json:
        emit_json(made[0] if len(made) == 1 else made)
    elif detach:
        for one in made:
            click.echo(
                f"Search {one['id']} for {one['profile']}. "
                f"Watch it: edgepress search show {one['id']} --watch"
            )
    else:
        for one in made:
            _tell(client, one)
    if not detach and any(one["chosen"] is None for one in made):
        raise click.exceptions.Exit(1)


@search.command("list")
@click.option("--model", help="Only of this model.")
@click.option("--profile", help="Only for this profile.")
@server_options
def list_(model: str | None, profile: str | None, url: str, token: str | None, as_json: bool) -> None:
    """List the searches, newest first."""
    found = api(url, token).get("/searches", model=model, profile=profile)
    if as_json:
        emit_json(found)
        return
    table(
        ("SEARCH", "MODEL", "PROFILE", "BUDGET", "STATE", ">TRIALS", "CHOSEN", "STARTED"),
        [
            (
                one["id"],
                one["model"],
                one["profile"],
                one["budget_words"],
                one["state"],
                one["trials"]["done"],
                (one["chosen"] or "-")[:12],
                ago(one["created_at"]),
            )
            for one in found
        ],
        empty="No searches yet. Start one: edgepress search start MODEL --profile P --latency 20ms",
    )


@search.command()
@click.argument("name", metavar="SEARCH")
@click.option("--watch", is_flag=True, help="Stay and show the front as it grows, until it ends.")
@server_options
def show(name: str, watch: bool, url: str, token: str | None, as_json: bool) -> None:
    """Show SEARCH: its front, what was chosen or what blocks, and what every figure rests on."""
    client = api(url, token)
    found = _follow(client, name, quiet=as_json) if watch else client.get(f"/searches/{name}")
    if as_json:
        emit_json({**found, "trials_done": client.get(f"/searches/{name}/trials")})
    else:
        _tell(client, found)


@search.command()
@click.argument("name", metavar="SEARCH")
@server_options
def front(name: str, url: str, token: str | None, as_json: bool) -> None:
    """List the front of SEARCH: the trials that no other beats in everything."""
    client = api(url, token)
    found = client.get(f"/searches/{name}")
    trials = _front(client, found)
    if as_json:
        emit_json(trials)
    else:
        output.show(_table(trials, found))


@search.command()
@click.argument("name", metavar="SEARCH")
@server_options
def cancel(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Cancel SEARCH; what it has found stays."""
    found = api(url, token).post(f"/searches/{name}/cancel")
    if as_json:
        emit_json(found)
    else:
        click.echo(
            "It ends within seconds." if found["cancelling"] else f"Search {name} is {found['state']}."
        )


@search.command()
@click.argument("name", metavar="SEARCH")
@click.argument("number", metavar="TRIAL", type=click.IntRange(min=0))
@server_options
def recipe(name: str, number: int, url: str, token: str | None, as_json: bool) -> None:
    """Print the recipe of a TRIAL as TOML, for `edgepress compress --recipe FILE`."""
    found = api(url, token).get(f"/searches/{name}/trials/{number}")
    if as_json:
        emit_json(found)
    else:
        click.echo(found["toml"], nl=False)


@search.command()
@click.argument("name", metavar="SEARCH")
@click.argument("number", metavar="TRIAL", type=click.IntRange(min=0))
@server_options
def artifact(name: str, number: int, url: str, token: str | None, as_json: bool) -> None:
    """Make the artifact of a TRIAL one that can be released, from its recipe where its file was dropped."""
    client = api(url, token)
    found = client.post(f"/searches/{name}/trials/{number}/artifact")
    if found["job"] is not None:
        ended = follow(client, [found["job"]], quiet=as_json)[0]
        if ended["state"] != "done":
            raise click.ClickException(ended["message"] or f"job {ended['id']} is {ended['state']}")
        found = {"digest": ended["artifact"], "job": ended}
    if as_json:
        emit_json(found)
    else:
        model = client.get(f"/searches/{name}")["model"]
        click.echo(
            f"Artifact {found['digest']}. "
            f"Release it: edgepress release create {model} --artifact {found['digest'][:12]}"
        )


# --- showing --------------------------------------------------------------------------------------------


def _front(client: Api, found: dict[str, Any]) -> list[dict[str, Any]]:
    """The front's trials in its order, the original first."""
    trials = {one["number"]: one for one in client.get(f"/searches/{found['id']}/trials")}
    numbers = dict.fromkeys(
        [0, *found["front"], *([found["nearest"]] if found["nearest"] is not None else [])]
    )
    return [
        trials[number] for number in numbers if number in trials and trials[number]["figures"] is not None
    ]


def _goes_on(made: Sequence[dict[str, Any]]) -> str:
    """What Ctrl-C leaves: this command ends, the searches do not."""
    names = [one["id"] for one in made]
    return (
        f"not waiting any more; on the server {', '.join(names)} {'goes' if len(names) == 1 else 'go'} on. "
        f"`edgepress search show {names[0]} --watch` comes back to it, "
        f"`edgepress search cancel {names[0]}` ends it."
    )


def _follow(client: Api, name: str, *, quiet: bool) -> dict[str, Any]:
    """Until the search ends: the front as a live table on a terminal."""
    live_here = output.errors.is_terminal and not quiet
    with (
        Live(console=output.errors, refresh_per_second=2, transient=True)
        if live_here
        else nullcontext() as live
    ):
        while True:
            found: dict[str, Any] = client.get(f"/searches/{name}")
            if live is not None:
                shown = _table(_front(client, found)[:ROWS_MOST], found)
                live.update(Group(Text(_line(found), no_wrap=True, overflow="ellipsis"), shown))
            if found["state"] not in LIVE:
                return found
            time.sleep(POLL_SECONDS)


def _line(found: dict[str, Any]) -> str:
    at = f"{found['spent_s']:.0f} of {found['options']['seconds']} s, {found['trials']['done']} trials"
    return f"{found['profile']}: {at}; {found['step'] or found['state']}: {found['message']}"


def _table(trials: Sequence[dict[str, Any]], found: dict[str, Any]) -> Table:
    """ "~" stands before what was not measured."""
    budget = found["budget"]
    grid = Table(box=None, pad_edge=False)
    names = ["LATENCY", "SIZE"]
    names += ["MEMORY"] if budget["memory_bytes"] is not None else []
    names += ["ENERGY"] if budget["energy_mj"] is not None else []
    grid.add_column("TRIAL", justify="right")
    for name in (*names, "POINTS LOST"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("BUDGET")
    grid.add_column("RECIPE", overflow="ellipsis", no_wrap=True)
    for one in trials:
        known = one["figures"]
        energy = None if known["energy_mj"] is None else f"{known['energy_mj']:.3g} mJ"
        cells = {
            "LATENCY": ("latency_us", micros(known["latency_us"])),
            "SIZE": ("artifact_bytes", size(known["artifact_bytes"])),
            "MEMORY": ("memory_bytes", size(known["memory_bytes"])),
            "ENERGY": ("energy_mj", energy),
        }
        marked = [
            "-" if text is None else f"{'~' if field in known['predicted'] else ''}{text}"
            for field, text in (cells[name] for name in names)
        ]
        met = {True: "met", False: "missed", None: "-"}[one["within"]]
        style = "bold" if one["number"] == found["best"] else None
        grid.add_row(str(one["number"]), *marked, _points(known), met, one["title"], style=style)
    return grid


def _points(known: dict[str, Any]) -> str:
    if known["loss"] is None:
        return "-"
    # 95 %: 1.96 standard errors to either side, as the web shows it
    error = "" if known["loss_error"] is None else f" ±{196 * known['loss_error']:.1f}"
    return f"{round(100 * known['loss'], 1) + 0.0:.1f}{error}"  # + 0.0: never "-0.0"


def _tell(client: Api, found: dict[str, Any]) -> None:
    trials = _front(client, found)
    facts(
        [
            ("search", found["id"]),
            ("model", found["model"]),
            ("profile", found["profile"]),
            ("budget", found["budget_words"]),
            ("why", found["reason"] or None),
            ("state", found["state"]),
            ("now", found["message"] if found["state"] in LIVE else None),
            ("trials", found["trials"]["done"]),
            ("time", f"{found['spent_s']:.0f} s of work; asked for {found['options']['seconds']} s"),
            ("artifact", found["chosen"]),
        ]
    )
    if trials:
        click.echo()
        output.show(_table(trials, found))
        click.echo()
    if found["state"] == "failed":
        click.echo(found["message"])
    if found["best"] is not None:
        best = next(one for one in trials if one["number"] == found["best"])
        chosen = {"done": "Chosen", "queued": "Best so far:", "running": "Best so far:"}
        click.echo(
            f"{chosen.get(found['state'], 'Best until then:')} trial {best['number']}, {best['title']}."
        )
        for line in _bases(best["figures"]):
            click.echo(line)
    elif found["blocked"]:
        click.echo(f"Nothing is within {found['budget_words']}.")
        for sentence in found["blocked"]:
            click.echo(sentence)
        if found["nearest"] is not None:
            near = next(one for one in trials if one["number"] == found["nearest"])
            click.echo(f"The nearest is trial {near['number']}: {near['title']}.")
    measured = [one["message"] for one in found["measurements"] if one["message"]]
    for note in dict.fromkeys([*found["notes"], *measured]):
        click.echo(note)


def _bases(known: dict[str, Any]) -> list[str]:
    """What each figure rests on."""
    named = (
        ("latency", "latency_basis"),
        ("size", "bytes_basis"),
        ("memory", "memory_basis"),
        ("energy", "energy_basis"),
        ("accuracy", "accuracy_basis"),
    )
    return [f"{name}: {known[field]}" for name, field in named if known[field] is not None]
