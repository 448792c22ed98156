"""The policy of ``edgepress rollout create``: options, and a TOML file that they change."""

import re
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from .delivery import Rate

Command = TypeVar("Command", bound=Callable[..., Any])

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
# Name on the command line -> (field of `gates`, what a typed number is multiplied with, whole number)
_GATES: Final[dict[str, tuple[str, float, bool]]] = {
    "failures": ("max_failure_ratio", 1, False),
    "p95-ms": ("p95_us", 1000, True),
    "p95-ratio": ("p95_ratio", 1, False),
    "rss-mb": ("rss_bytes", 1e6, True),
    "energy-ratio": ("energy_ratio", 1, False),
    "agreement": ("min_agreement", 1, False),
    "confidence": ("confidence", 1, False),
    "devices": ("min_devices", 1, True),
    "inferences": ("min_inferences", 1, True),
}
_SHADOW: Final = {
    "requests": ("requests", int),
    "agreement": ("min_agreement", float),
    "min-requests": ("min_requests", int),
}


def seconds(text: str) -> int:
    """``90``, ``90s``, ``30m``, ``2h``, ``7d``. Raises BadParameter."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text.strip().lower())
    if match is None:
        raise click.BadParameter(f"{text!r} is no length of time; write 90s, 30m, 2h or 7d")
    return int(match[1]) * _UNITS[match[2]]


def unix_ms(text: str) -> int:
    """``2026-12-01T22:00+01:00`` (without a zone: UTC), or a length of time from now. Raises BadParameter."""
    if re.fullmatch(r"[0-9]{1,9}[smhd]", text.strip().lower()):
        moment = datetime.now(UTC) + timedelta(seconds=seconds(text))
    else:
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError as error:
            raise click.BadParameter(
                f"{text!r} is no time; write 2026-12-01T22:00+01:00, or 3d for three days from now"
            ) from error
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def wave(text: str) -> dict[str, Any]:
    """``10,soak=2h,approve`` -> a wave. Raises BadParameter."""
    percent, *more = text.replace(" ", "").split(",")
    try:
        found: dict[str, Any] = {"percent": float(percent.removesuffix("%"))}
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no wave; write 10, or 10,soak=2h,approve") from error
    for part in more:
        if part == "approve":
            found["approve"] = True
        elif part.startswith("soak="):
            found["soak_s"] = seconds(part.removeprefix("soak="))
        else:
            raise click.BadParameter(f"{part!r} says nothing about a wave; there are soak=TIME and approve")
    return found


def gate(text: str) -> tuple[str, float | int]:
    """``p95-ratio=1.1`` -> ("p95_ratio", 1.1). Raises BadParameter."""
    name, equals, value = text.partition("=")
    known = _GATES.get(name.strip())
    if known is None or not equals:
        raise click.BadParameter(f"{text!r} is no gate; write NAME=NUMBER with one of {', '.join(_GATES)}")
    field, factor, whole = known
    try:
        number = float(value.strip().removesuffix("%")) * factor
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no number") from error
    number = number / 100 if value.strip().endswith("%") else number
    return field, round(number) if whole else number


def shadow(text: str) -> dict[str, Any]:
    """``600s,requests=2000,agreement=0.99`` -> shadow rules. Raises BadParameter."""
    length, *more = text.replace(" ", "").split(",")
    found: dict[str, Any] = {"seconds": seconds(length)}
    for part in more:
        name, _, value = part.partition("=")
        if name not in _SHADOW:
            raise click.BadParameter(f"{part!r} is not of shadow mode; there are {', '.join(_SHADOW)}")
        field, kind = _SHADOW[name]
        try:
            found[field] = kind(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is no number") from error
    return found


def read_file(path: Path) -> dict[str, Any]:
    """A policy from TOML: the API's fields; ``start_at``, ``deadline`` are dates. Raises BadParameter."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise click.BadParameter(f"{path} cannot be read: {why}", param_hint="--policy") from error
    except tomllib.TOMLDecodeError as error:
        raise click.BadParameter(f"{path} is no TOML: {error}", param_hint="--policy") from error
    for name in ("start_at", "deadline"):
        value = found.pop(name, None)
        if isinstance(value, datetime):
            value = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
            found[f"{name}_ms"] = round(value.timestamp() * 1000)
        elif value is not None:
            raise click.BadParameter(
                f"{path}: {name} is a date and time, such as 2026-12-01T22:00:00Z", param_hint="--policy"
            )
    return found


def policy_options(command: Command) -> Command:
    """All that says how carefully; collected by `read_options`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


COUNT = click.IntRange(min=0)
_OPTIONS = (
    click.option(
        "--policy",
        "policy_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="TOML with the API's fields; options change it.",
    ),
    click.option("--canary", type=COUNT, help="Devices per profile that go first; default 1."),
    click.option(
        "--canary-for", multiple=True, metavar="PROFILE=N", help="Another number of canaries for a profile."
    ),
    click.option("--approve-canary", is_flag=True, help="The canaries wait for `edgepress rollout approve`."),
    click.option(
        "--wave",
        "waves",
        multiple=True,
        metavar="PERCENT[,soak=TIME][,approve]",
        help="A wave, up to this percent of each profile; several times, the last 100. Default: one of 100.",
    ),
    click.option("--rate", type=click.IntRange(min=1), help="Devices told a minute, at most."),
    click.option("--max-in-flight", type=click.IntRange(min=1), help="Devices at it at once, at most."),
    click.option("--max-failed", type=COUNT, help="Failures beyond which it stops; default 0."),
    click.option(
        "--gate",
        "gates",
        multiple=True,
        metavar="NAME=NUMBER",
        help=f"What has to hold on devices that committed: {', '.join(_GATES)}. Several times.",
    ),
    click.option(
        "--on-gate", type=click.Choice(["pause", "rollback"]), help="What a missed gate does; default pause."
    ),
    click.option("--soak", metavar="TIME", help="Watched so long before it is done: 90, 30m, 2h."),
    click.option("--start-at", metavar="WHEN", help="Not before: 2026-12-01T22:00+01:00, or 2h from now."),
    click.option("--hours", multiple=True, metavar="FROM-TO", help="Tell devices only then: 22:00-06:00."),
    click.option("--timezone", help="Of the hours, such as Europe/Berlin; default UTC."),
    click.option("--stage-timeout", metavar="TIME", help="A stage that has not passed by then pauses."),
    click.option("--deadline", metavar="WHEN", help="Who was not reached by then is left out, and it ends."),
    click.option("--no-late-joiners", is_flag=True, help="Devices that fit later stay out."),
    click.option(
        "--shadow",
        metavar="TIME[,requests=N][,agreement=SHARE]",
        help="In its trial the new model also answers live requests, unseen, and is compared.",
    ),
    click.option(
        "--delta",
        type=click.Choice(["prefer", "only", "never"]),
        help="Only what changes; default prefer.",
    ),
    click.option("--device-rate", type=Rate(), help="Of each download: 200KB/s, 2Mbit/s."),
    click.option("--max-p95", "max_p95_ms", type=float, help="Trial fails above this p95 latency, in ms."),
)


def read_options(said: dict[str, Any]) -> dict[str, Any]:
    """The policy for the API, from what click collected; what was not said stays with file and server."""
    policy = {} if said["policy_file"] is None else read_file(said["policy_file"])
    plain = {
        "canary_per_profile": said["canary"],
        "rate_per_minute": said["rate"],
        "max_in_flight": said["max_in_flight"],
        "max_failed": said["max_failed"],
        "on_gate": said["on_gate"],
        "timezone": said["timezone"],
        "delta": said["delta"],
        "approve_canary": said["approve_canary"] or None,
        "late_joiners": False if said["no_late_joiners"] else None,
        "hours": list(said["hours"]) or None,
        "waves": [wave(text) for text in said["waves"]] or None,
    }
    policy |= {name: value for name, value in plain.items() if value is not None}
    for name, field, read in (
        ("soak", "soak_s", seconds),
        ("stage_timeout", "stage_timeout_s", seconds),
        ("start_at", "start_at_ms", unix_ms),
        ("deadline", "deadline_ms", unix_ms),
        ("shadow", "shadow", shadow),
    ):
        if said[name] is not None:
            policy[field] = read(said[name])
    if said["canary_for"]:
        policy["canary_profiles"] = {**policy.get("canary_profiles", {}), **_sizes(said["canary_for"])}
    if said["gates"]:
        policy["gates"] = {**policy.get("gates", {}), **dict(gate(text) for text in said["gates"])}
    if said["device_rate"] is not None:
        policy["delivery"] = {**policy.get("delivery", {}), "rate_bytes_s": said["device_rate"]}
    if said["max_p95_ms"] is not None:
        policy["limits"] = {**policy.get("limits", {}), "p95_us": round(said["max_p95_ms"] * 1000)}
    return policy


def _sizes(pairs: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for pair in pairs:
        profile, equals, number = pair.partition("=")
        if not profile or not equals or not number.isdecimal():
            raise click.BadParameter(f"{pair!r} says no number of canaries; write PROFILE=3")
        found[profile] = int(number)
    return found
