"""The command ``edgepress``. Groups load when they are used, so that ``--help`` is quick."""

import difflib
import importlib
import sys

import click

import edgepress_devices

COMMANDS = {  # name -> (module, attribute); in the order of the job: run, fleet, models, delivery, telemetry
    "serve": ("serve", "serve"),
    "demo": ("demo", "demo"),
    "login": ("token", "login"),
    "password": ("password", "password"),
    "token": ("token", "token"),
    "person": ("person", "person"),
    "audit": ("audit", "audit"),
    "device": ("device", "device"),
    "profile": ("profile", "profile"),
    "model": ("model", "model"),
    "dataset": ("model", "dataset"),
    "recipe": ("recipe", "recipe"),
    "compress": ("compress", "compress"),
    "search": ("search", "search"),
    "compare": ("compare", "compare"),
    "report": ("report", "report"),
    "artifact": ("artifact", "artifact"),
    "release": ("release", "release"),
    "keys": ("keys", "keys"),
    "store": ("store", "store"),
    "group": ("group", "group"),
    "rollout": ("rollout", "rollout"),
    "delivery": ("delivery", "delivery"),
    "broker": ("broker", "broker"),
    "budget": ("budget", "budget"),
    "finding": ("finding", "finding"),
    "telemetry": ("telemetry", "telemetry"),
    "drift": ("drift", "drift"),
    "sampling": ("sampling", "sampling"),
    "alert": ("alert", "alert"),
    "completion": ("completion", "completion"),
}


class LazyGroup(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        close = difflib.get_close_matches(args[0], COMMANDS)  # click itself knows only what is loaded
        if args[0] not in COMMANDS and close:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {close[0]!r}?")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        try:
            loaded = importlib.import_module(f"{__package__}.{module}")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("edgepress"):
                raise
            raise click.ClickException(
                f"`edgepress {cmd_name}` needs {error.name}, not found: pip install 'edgepress[server]'"
            ) from error
        command = getattr(loaded, attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - a typo in COMMANDS, not input
        return command


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(edgepress_devices.__version__, prog_name="edgepress")
def edgepress() -> None:
    """Compress neural networks per device, deliver them over MQTT, watch the fleet run them."""


def main() -> None:
    try:
        edgepress(prog_name="edgepress")
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
