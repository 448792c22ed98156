"""``edgepress completion``: shell completion, as click makes it."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    Bash: add  eval "$(edgepress completion bash)"  to ~/.bashrc
    """
    from .main import edgepress

    made = get_completion_class(shell)
    if made is None:
        raise click.ClickException(f"click has no completion for {shell}")
    click.echo(made(edgepress, {}, "edgepress", "_EDGEPRESS_COMPLETE").source())
