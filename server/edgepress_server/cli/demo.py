"""``edgepress demo``: the whole job on this machine."""

import json

import click

from .output import errors


@click.command()
@click.option("--check", is_flag=True, help="Run to the end, print one JSON line last, and stop.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Web port.  [default: a free one]")
def demo(check: bool, port: int) -> None:
    """Server, three devices, a real model, compressed, released, rolled out and watched."""
    from edgepress_server.demo.processes import DemoFailure
    from edgepress_server.demo.run import run_demo

    try:
        summary = run_demo(check=check, port=port, console=errors)
    except DemoFailure as error:
        raise click.ClickException(str(error)) from error
    if check:
        click.echo(json.dumps(summary))
