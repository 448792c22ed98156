"""``edgepress release``: what may run at all, signed."""

import click

from .output import ago, api, emit_json, server_options, table


@click.group()
def release() -> None:
    """Sign artifacts as a release."""


@release.command()
@click.argument("model")
@click.option(
    "--artifact", "digests", multiple=True, help="Digest (or its start); the newest per profile by default."
)
@click.option("--note", default="", help="What changed, for people.")
@server_options
def create(
    model: str, digests: tuple[str, ...], note: str, url: str, token: str | None, as_json: bool
) -> None:
    """Release MODEL: at most one artifact per profile, signed by the release key."""
    client = api(url, token)
    client.get(f"/models/{model}")  # says so when there is none of that name
    known = client.get("/artifacts", model=model)
    if digests:
        chosen = []
        for digest in digests:
            matching = [a["digest"] for a in known if a["digest"].startswith(digest)]
            if len(matching) != 1:
                raise click.BadParameter(
                    f"{len(matching)} artifacts of {model} begin with {digest}; see `edgepress artifact list`"
                )
            chosen += matching
    else:
        newest = {a["profile"]: a["digest"] for a in sorted(known, key=lambda a: a["created_at"])}
        chosen = list(newest.values())
        if not chosen:
            raise click.ClickException(
                f"{model} has no artifacts yet. Make one: edgepress compress {model} --recipe int8 "
                "--profile raspberry-pi-4"
            )
    made = client.post("/releases", {"model": model, "artifacts": chosen, "note": note})
    if as_json:
        emit_json(made)
    else:
        click.echo(
            f"Release {made['id']} (number {made['counter']}) of {model} for {', '.join(made['artifacts'])}. "
            f"Next: edgepress rollout create {made['id']} --all"
        )


@release.command("list")
@server_options
def list_(url: str, token: str | None, as_json: bool) -> None:
    """List the releases, newest first."""
    found = api(url, token).get("/releases")
    if as_json:
        emit_json(found)
        return
    table(
        ("RELEASE", ">NUMBER", "MODEL", "PROFILES", "NOTE", "MADE"),
        [
            (r["id"], r["counter"], r["model"], ", ".join(r["artifacts"]), r["note"], ago(r["created_at"]))
            for r in found
        ],
        empty="No releases yet. Make one: edgepress release create MODEL",
    )
