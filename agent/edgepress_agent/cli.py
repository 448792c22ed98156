"""`edgepress-agent`: enrol this device, run the agent, see what it does."""

import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import click

from edgepress_agent import __version__
from edgepress_agent.errors import AgentError, StateFolderInUseError
from edgepress_agent.state_folder import ENVIRONMENT, StateFolder, default_folder

_state = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    envvar=ENVIRONMENT,
    help=f"State folder; default {ENVIRONMENT} or ~/.local/state/edgepress-agent.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Runs compressed models on this device and reports to its edgepress server."""


@cli.command()
@click.argument("code")
@click.option(
    "--server", metavar="URL", help="The server's address, when CODE is not an https:// address itself."
)
@click.option(
    "--ca",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="PEM file of the authority that signed the server's certificate; default: the system's.",
)
@click.option(
    "--insecure-http", is_flag=True, help="Allow http:// to another machine, in a network you trust."
)
@click.option("--force", is_flag=True, help="Enrol again, as a new identity.")
@_state
def enroll(
    code: str, server: str | None, ca: Path | None, insecure_http: bool, force: bool, state: Path | None
) -> None:
    """Trade the one-time CODE that `edgepress device register` printed for this device's identity."""
    from edgepress_agent import enroll as enrolling
    from edgepress_devices.sensors import describe_hardware

    folder = state or default_folder()
    enrolment = enrolling.enroll(
        folder,
        code,
        server=server,
        hardware=describe_hardware(),
        ca=ca,
        insecure_http=insecure_http,
        force=force,
    )
    where = f" --state {state}" if state else ""
    click.echo(f"Enrolled as {enrolment.device} ({enrolment.profile}) with {enrolment.server}.")
    click.echo(f"Start the agent with: edgepress-agent run{where}")


@cli.command()
@_state
def renew(state: Path | None) -> None:
    """Get new credentials for the broker now; the agent does this by itself in time."""
    from edgepress_agent.durable import Disk
    from edgepress_agent.enrolment import read_enrolment
    from edgepress_agent.renew import REQUEST_FILE
    from edgepress_agent.renew import renew as renew_now

    folder = state or default_folder()
    read_enrolment(folder)  # says what to do where there is none, and makes no folder
    try:
        with StateFolder(folder):
            enrolment = renew_now(folder, Disk())
    except StateFolderInUseError:
        (folder / REQUEST_FILE).touch(mode=0o600)
        click.echo("The running agent renews its credentials within seconds; its log says how it went.")
        return
    shown = "certificate" if enrolment.mqtt.certificate else "secret"
    click.echo(f"{enrolment.device} has a new {shown} from {enrolment.server}; the old one is worth nothing.")


@cli.command()
@click.option(
    "--http-port",
    type=click.IntRange(0, 65535),
    default=8093,
    show_default=True,
    envvar="EDGEPRESS_AGENT_HTTP_PORT",
    help="Local port for inference; 0 = any free one.",
)
@click.option(
    "--queue",
    "waiting",
    type=click.IntRange(0, 64),
    default=32,
    show_default=True,
    envvar="EDGEPRESS_AGENT_QUEUE",
    help="Requests that may wait for the model; one more is answered 503 with Retry-After.",
)
@click.option(
    "--request-timeout",
    "seconds",
    type=click.FloatRange(0.1, 120.0),
    default=120.0,
    show_default=True,
    envvar="EDGEPRESS_AGENT_REQUEST_TIMEOUT",
    help="Seconds that an answer may take, waiting included; later it is 504.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say more on the log.")
@_state
def run(http_port: int, waiting: int, seconds: float, verbose: bool, state: Path | None) -> None:
    """Run the agent until it is stopped (Ctrl-C, SIGTERM)."""
    from edgepress_agent.agent import Agent
    from edgepress_agent.enrolment import read_enrolment
    from edgepress_agent.runtime import RequestLimits
    from edgepress_agent.watchdog import notifier_from

    level = logging.DEBUG if verbose else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(message)s", stream=sys.stderr)
    folder = state or default_folder()
    if not folder.exists():
        read_enrolment(folder)  # says what to do, and makes no folder
    with StateFolder(folder):
        limits = RequestLimits(waiting=waiting, seconds=seconds)
        agent = Agent(folder, http_port=http_port, limits=limits, notifier=notifier_from(os.environ))

        def stop(_signal: int, _frame: FrameType | None) -> None:
            agent.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        failed = agent.run()
        if failed:
            click.echo(f"edgepress-agent: {failed}", err=True)
        logging.shutdown()
        sys.stdout.flush()
        # A thread may still be inside onnxruntime: its clean-up at exit is not waited for.
        os._exit(1 if failed else 0)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@_state
def status(as_json: bool, state: Path | None) -> None:
    """Show what this device runs and how far an installation is."""
    from edgepress_agent.status import describe_status, read_status

    current = read_status(state or default_folder())
    click.echo(json.dumps(current, indent=2) if as_json else describe_status(current))


@cli.command()
@click.option(
    "--rate", metavar="BYTES", help="At most so many bytes a second: 200000, 200KB, 1.5MB; none = no limit."
)
@click.option(
    "--hours", metavar="SPANS", help="Fetch only then, in UTC: 22:00-06:00,12:00-13:00; none = always."
)
@click.option(
    "--metered",
    type=click.Choice(["yes", "no", "auto"]),
    help="Whether the link costs by the byte; auto = as NetworkManager says.",
)
@click.option(
    "--inputs",
    type=click.Choice(["policy", "never"]),
    help="never: no input ever leaves this device, whatever the server's privacy policy says.",
)
@_state
def limits(
    rate: str | None, hours: str | None, metered: str | None, inputs: str | None, state: Path | None
) -> None:
    """Show or set what this device allows. The server's rules can only be made stricter."""
    from edgepress_agent import local_limits

    folder = state or default_folder()
    now = local_limits.changed_limits(folder, rate=rate, hours=hours, metered=metered, inputs=inputs)
    click.echo(local_limits.describe_local_limits(now))


@cli.command()
@click.option(
    "--seconds", type=click.IntRange(5, 600), default=60, show_default=True, help="How long it may take."
)
@click.option("--model", is_flag=True, help="Measure the model that this device runs, not the board.")
@click.option(
    "--profile",
    "profile_id",
    metavar="ID",
    help="Device profile whose integer form is timed; default: the enrolled one.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON: the report as a server would get it.")
@_state
def profile(seconds: int, model: bool, profile_id: str | None, as_json: bool, state: Path | None) -> None:
    """Measure this board (calibration nets), or the model it runs. Needs no server."""
    import msgspec

    from edgepress_agent.profile_by_hand import describe_report, measure_by_hand

    show = sys.stderr.isatty()

    def progress(percent: int) -> None:
        if show:
            click.echo(f"\r{percent:3d} % of {seconds} s", err=True, nl=False)

    try:
        report = measure_by_hand(
            state or default_folder(), seconds=seconds, model=model, profile_id=profile_id, progress=progress
        )
    finally:
        if show:
            click.echo("\r" + " " * 20 + "\r", err=True, nl=False)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(msgspec.structs.asdict(report)), indent=2))
    else:
        click.echo(describe_report(report))


@cli.command()
@click.argument("inputs", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--rate", type=click.FloatRange(0.01, 10_000), default=5.0, show_default=True, help="Per second."
)
@click.option("--count", type=click.IntRange(1), help="Stop after this many answers.")
@_state
def replay(inputs: Path, rate: float, count: int | None, state: Path | None) -> None:
    """Ask the running model about recorded INPUTS (.npz, arrays by input name), over and over."""
    from edgepress_agent import connect
    from edgepress_agent import replay as replaying

    feeds = replaying.read_recorded(inputs)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    tally = replaying.Replayed()
    began = time.monotonic()
    try:
        for now in replaying.replay(
            connect(state=state), feeds, rate_per_s=rate, stopped=ended.wait, count=count
        ):
            tally = now
    except ConnectionError as error:
        raise replaying.NoAgentError(str(error)) from error
    seconds = max(time.monotonic() - began, 1e-9)
    click.echo(
        f"{tally.answered} answers in {seconds:.1f} s ({tally.answered / seconds:.1f}/s), "
        f"{tally.failed} while no model was there, {tally.late} asked late",
        err=True,
    )


def main() -> None:
    try:
        code = cli.main(standalone_mode=False)
    except AgentError as error:
        click.echo(f"edgepress-agent: {error}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        click.echo(f"edgepress-agent: {error.strerror or error}{where}", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
