"""``edgepress serve``: the server and everything it needs, in one command."""

from pathlib import Path
from typing import Any

import click

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
PORT = click.IntRange(0, 65535)


@click.command()
@click.option("--data", "data_dir", type=FOLDER, help="Folder of the database, artifacts and keys.")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=PORT, help="Web port; 0 draws a free one and keeps it.  [default: 8080]")
@click.option("--public-url", help="URL that people and devices use when a proxy stands in front.")
@click.option(
    "--tls/--no-tls",
    default=None,
    help="HTTPS, and TLS on the server's mosquitto.  [default: on beyond this machine, off on 127.0.0.1]",
)
@click.option(
    "--tls-name",
    "tls_names",
    multiple=True,
    help="Further name or address for the server's own certificate; may be given several times.",
)
@click.option(
    "--tls-cert", type=FILE, help="Bring a certificate: PEM, with its chain. Default: the own CA's."
)
@click.option("--tls-key", type=FILE, help="The key of --tls-cert (PEM, no password).")
@click.option("--tls-ca", type=FILE, help="The authority of --tls-cert, or of a proxy, which devices pin.")
@click.option(
    "--device-auth",
    type=click.Choice(["secret", "certificate"]),
    help="What devices show to the broker.  [default: secret]",
)
@click.option("--insecure-http", is_flag=True, default=None, help="Listen beyond this machine without TLS.")
@click.option(
    "--broker",
    type=click.Choice(["embedded", "mosquitto", "external"]),
    help="MQTT broker.  [default: embedded]",
)
@click.option("--mqtt-host", help="Address the broker listens on, or the external broker's.")
@click.option("--mqtt-port", type=PORT, help="Broker port; 0 draws a free one.  [default: 1883]")
@click.option("--mqtt-username", help="External broker: the server's own user.")
@click.option("--mqtt-ca", type=FILE, help="External broker: CA certificate (PEM); turns TLS on.")
@click.option(
    "--backups",
    type=click.IntRange(0, 100),
    help="Daily copies of the store that stay; 0: none.  [default: 2]",
)
@click.option(
    "--metrics-access",
    type=click.Choice(["loopback", "token"]),
    help="Who reads /metrics without a token: programs on this machine, or nobody.  [default: loopback]",
)
@click.option("--metrics-devices", type=int, help="Devices that /metrics shows one by one.  [default: 1000]")
@click.option("--otlp-endpoint", help="Push metrics to this OpenTelemetry collector (OTLP/HTTP).")
@click.option("--otlp-ca", type=FILE, help="The authority of the collector's certificate (PEM).")
@click.option("--otlp-interval-s", type=int, help="Seconds between two pushes.  [default: 60]")
@click.option(
    "--home-assistant/--no-home-assistant",
    default=None,
    help="Announce devices to Home Assistant over MQTT.  [default: no]",
)
@click.option("--home-assistant-prefix", help="Its discovery prefix.  [default: homeassistant]")
def serve(**flags: Any) -> None:
    """Run the server: web UI, API, MQTT link, compression worker and broker.

    Every option is also an environment variable: EDGEPRESS_DATA_DIR, EDGEPRESS_HOST, EDGEPRESS_TLS_NAMES ...
    (and EDGEPRESS_MQTT_PASSWORD and EDGEPRESS_OTLP_HEADERS, which are no options so that they show in no
    process list).
    """
    from edgepress_server.errors import ServerError
    from edgepress_server.serve import serve as run
    from edgepress_server.settings import load_settings

    flags["tls_names"] = flags["tls_names"] or None
    try:
        run(load_settings(flags))
    except ServerError as error:
        raise click.ClickException(str(error)) from error
