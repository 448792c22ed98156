"""``edgepress release``: what may run at all, signed."""

from typing import Any

import click

from .output import ago, api, emit_json, facts, server_options, table


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
            + (
                f"Next: edgepress rollout create {made['id']} --all"
                if made["state"] == "signed"
                else f"It waits for {made['signatures_needed']} signatures: "
                f"edgepress keys export {made['id']} -o release.bundle"
            )
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
        ("RELEASE", ">NUMBER", "MODEL", "PROFILES", "STATE", "NOTE", "MADE"),
        [
            (
                r["id"],
                r["counter"],
                r["model"],
                ", ".join(r["artifacts"]),
                _state(r),
                r["note"],
                ago(r["created_at"]),
            )
            for r in found
        ],
        empty="No releases yet. Make one: edgepress release create MODEL",
    )


@release.command()
@click.argument("release_id", metavar="RELEASE")
@server_options
def show(release_id: str, url: str, token: str | None, as_json: bool) -> None:
    """One release: its artifacts, and the signatures it has and needs."""
    found = api(url, token).get(f"/releases/{release_id}")
    if as_json:
        emit_json(found)
        return
    facts(
        [
            ("release", f"{found['id']} (number {found['counter']}) of {found['model']}"),
            ("state", _state(found)),
            ("signatures", f"{found['signatures']} of {found['signatures_needed']} needed"),
            ("rollback", "goes back to artifacts of before" if found["rollback"] else None),
            ("stands by for", found["standby_for"]),
            ("why withdrawn", found["withdrawn_reason"] or None),
            ("note", found["note"] or None),
            ("made", f"{ago(found['created_at'])} by {found['actor'] or 'the server'}"),
        ]
    )
    table(("PROFILE", "ARTIFACT"), sorted(found["artifacts"].items()), empty="")


@release.command()
@click.argument("release_id", metavar="RELEASE")
@click.option("--reason", default="", help="Why, for people.")
@server_options
def withdraw(release_id: str, reason: str, url: str, token: str | None, as_json: bool) -> None:
    """Have nobody get RELEASE any more. Devices that run it keep running it."""
    done = api(url, token).post(f"/releases/{release_id}/withdraw", {"reason": reason})
    if as_json:
        emit_json(done)
        return
    click.echo(
        f"Release {done['id']} is withdrawn: no device is told to install it any more. Devices that "
        "run it keep "
        "running it; to take them back: edgepress rollout rollback, or roll out another release."
    )


def _state(release: dict[str, Any]) -> str:
    if release["state"] == "awaiting_signature":
        return f"waits for signatures ({release['signatures']} of {release['signatures_needed']})"
    return "stands by" if release["standby_for"] and release["state"] == "signed" else str(release["state"])
