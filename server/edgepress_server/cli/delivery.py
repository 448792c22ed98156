"""``edgepress delivery``: how fast, when and by what way devices fetch."""

import re
from typing import Any

import click

from .output import api, emit_json, facts, server_options, size

LEAST_BYTES_S = 1000  # as the API has it: below, an artifact would take days
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMG]?)(B|bit)?(?:/s)?")
_UNITS = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000}


class Rate(click.ParamType[int | None]):
    """200KB/s, 2Mbit/s or bytes a second, as whole bytes a second; "none" is None."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or value == "none":
            return None
        match = _RATE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no rate; write 200KB/s, 2Mbit/s or none", param, ctx)
        rate = round(float(match[1]) * _UNITS[match[2]] / (8 if match[3] == "bit" else 1))
        if rate < LEAST_BYTES_S:
            self.fail(f"{value!r} is too slow; 1KB/s is the least, and none stands for no limit", param, ctx)
        return rate


@click.group()
def delivery() -> None:
    """Say how fast, when and by what way devices fetch; the strictest of fleet, device and rollout counts."""


@delivery.command()
@click.option("--device", help="What counts for this device; default: the fleet's rules.")
@server_options
def show(device: str | None, url: str, token: str | None, as_json: bool) -> None:
    """Show the rules of the fleet, or those of a device."""
    found = api(url, token).get(_place(device))
    if as_json:
        emit_json(found)
        return
    if device is None:
        _print(found, "the fleet's devices")
        return
    _print(found["own"], f"{device}, set for it")
    click.echo()
    _print({**found["counts"], "hours": _utc(found["counts"]["hours"]), "timezone": "UTC"}, "what counts")


@delivery.command("set")
@click.option("--device", help="Only this device; default: the fleet.")
@click.option("--rate", type=Rate(), help="Of one device: 200KB/s, 2Mbit/s; none = not limited.")
@click.option("--fleet-rate", type=Rate(), help="Of all downloads together; none = not limited.")
@click.option(
    "--hours", multiple=True, metavar="FROM-TO", help="Only then: 22:00-06:00; several times; none = always."
)
@click.option("--timezone", help="Of the hours, such as Europe/Berlin.")
@click.option("--metered", type=click.Choice(["allow", "wait"]), help="wait: not over a metered link.")
@click.option("--transport", type=click.Choice(["auto", "mqtt", "https"]), help="auto: MQTT, else HTTPS.")
@click.option(
    "--start-within", type=click.IntRange(0, 7 * 86_400), help="Devices begin spread over so many seconds."
)
@server_options
@click.pass_context
def set_(
    ctx: click.Context,
    device: str | None,
    rate: int | None,
    fleet_rate: int | None,
    hours: tuple[str, ...],
    timezone: str | None,
    metered: str | None,
    transport: str | None,
    start_within: int | None,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """Change rules; what is not named stays. Downloads under way are told."""
    given = {
        "rate": ("rate_bytes_s", rate),
        "fleet_rate": ("fleet_rate_bytes_s", fleet_rate),
        "hours": ("hours", [] if hours == ("none",) else list(hours)),
        "timezone": ("timezone", timezone),
        "metered": ("metered", metered),
        "transport": ("transport", transport),
        "start_within": ("start_within_s", start_within),
    }
    said = click.core.ParameterSource.COMMANDLINE
    changes = dict(pair for name, pair in given.items() if ctx.get_parameter_source(name) == said)
    if not changes:
        raise click.UsageError("say what to change: --rate, --hours, --metered ...; see --help")
    client = api(url, token)
    found = client.get(_place(device))
    rules = {**(found if device is None else found["own"]), **changes}
    kept = client.put(_place(device), rules)
    if as_json:
        emit_json(kept)
    elif device is None:
        _print(kept, "the fleet's devices")
    else:
        _print({**kept["counts"], "hours": _utc(kept["counts"]["hours"]), "timezone": "UTC"}, device)


def _place(device: str | None) -> str:
    return "/delivery" if device is None else f"/devices/{device}/delivery"


def _print(rules: dict[str, Any], whose: str) -> None:
    click.echo(f"Delivery to {whose}:" if whose != "what counts" else "What counts:")
    hours = ", ".join(rules["hours"])
    facts(
        [
            ("rate of a device", _rate(rules["rate_bytes_s"])),
            ("rate of all", _rate(rules["fleet_rate_bytes_s"]) if "fleet_rate_bytes_s" in rules else None),
            ("hours", f"{hours} {rules['timezone']}" if hours else "always"),
            ("metered links", "used" if rules["metered"] == "allow" else "waited out"),
            ("by", {"auto": "MQTT, else HTTPS"}.get(rules["transport"], rules["transport"].upper())),
            ("begins", f"within {rules['start_within_s']} s" if rules["start_within_s"] else "at once"),
        ]
    )


def _rate(bytes_s: int | None) -> str:
    return "not limited" if bytes_s is None else f"{size(bytes_s)}/s"


def _utc(hours: list[list[int]]) -> list[str]:
    return [f"{a // 60:02}:{a % 60:02}-{b // 60:02}:{b % 60:02}" for a, b in hours]
