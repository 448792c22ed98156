"""What a person can set about one server: flags before environment before DIR/settings.json before defaults.

settings.json holds only what must stay the same from one start to the next: the ports that were drawn when
0 was asked for (devices and browsers come back to them), the choice of broker with its address, and TLS. The
password of an external broker is kept there too, so the file is private (mode 0600).

TLS is on where anything listens beyond this machine, unless --insecure-http says otherwise; on loopback it is
off unless --tls asks for it. Once on it stays on for this folder: devices know the server by https://.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from edgepress_server.addresses import is_loopback, is_wildcard, reached_at
from edgepress_server.errors import InvalidInputError
from edgepress_server.files import replace_file

__all__ = [
    "BROKERS",
    "REMEMBERED",
    "SERVER_USER",
    "BrokerKind",
    "DeviceAuth",
    "Settings",
    "check",
    "from_json",
    "is_loopback",
    "load_settings",
    "remember",
    "to_json",
]

BrokerKind = Literal["embedded", "mosquitto", "external"]
DeviceAuth = Literal["secret", "certificate"]
"""What a device shows to the broker: a password drawn for it, or a certificate for a key that it made."""

MetricsAccess = Literal["loopback", "token"]
"""Who reads /metrics without a token: programs on this machine, or nobody."""

DEFAULT_DATA_DIR: Final = Path("~/.local/share/edgepress")
SERVER_USER: Final = "edgepress_server"  # the server's own user at a broker; "_" is in no device's name
ENVIRONMENT_PREFIX: Final = "EDGEPRESS_"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One server's settings, checked by `load_settings`. A port of 0 means: draw a free one at the start."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str | None = None  # what people and devices use; None: http(s)://host:port
    reached_at: str | None = None  # host that others use when `host` is a wildcard; found out at each start
    insecure_http: bool = False  # allow plain HTTP and MQTT beyond this machine
    tls: bool = False  # HTTPS, and TLS on a broker that this server runs itself
    tls_names: tuple[str, ...] = ()  # further names and addresses for the server's own certificate
    tls_cert: Path | None = None  # PEM, brought along, with its chain; None: this server's own CA signs one
    tls_key: Path | None = None
    tls_ca: Path | None = None  # PEM: the authority of a certificate brought along, which devices pin
    device_auth: DeviceAuth = "secret"
    broker: BrokerKind = "embedded"
    mqtt_host: str = "127.0.0.1"  # where the broker listens; for an external one its address
    mqtt_port: int = 1883
    mqtt_username: str | None = None  # external broker: the server's own credentials there
    mqtt_password: str | None = None
    mqtt_ca: Path | None = None  # external broker: CA certificate (PEM); turns TLS on
    backups: Annotated[int, msgspec.Meta(ge=0, le=100)] = 2  # daily copies of the store that stay; 0: none
    metrics_access: MetricsAccess = "loopback"
    metrics_devices: int = 1000  # devices that /metrics shows one by one; 0: none
    otlp_endpoint: str | None = None  # of an OpenTelemetry collector; None: nothing is pushed
    otlp_headers: str | None = None  # "name=value,name=value", percent-encoded; may hold a token
    otlp_ca: Path | None = None  # PEM: the authority of the collector's certificate; None: the system's
    otlp_interval_s: int = 60
    otlp_devices: int = 10_000  # at most so many are pushed
    home_assistant: bool = False  # MQTT discovery for Home Assistant
    home_assistant_prefix: str = "homeassistant"  # its discovery prefix
    home_assistant_interval_s: int = 10  # a device's figures are published at most so often
    home_assistant_devices: int = 500  # at most so many are announced

    @property
    def url(self) -> str:
        """Where people and devices reach the web server."""
        if self.public_url is not None:
            return self.public_url
        host = self.reached_at or self.host
        host = f"[{host}]" if ":" in host else host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def device_mqtt_host(self) -> str:
        """The broker's host as devices know it: the public host, unless a broker has its own address."""
        if self.broker == "external" or is_loopback(self.mqtt_host):
            return self.mqtt_host
        return urlsplit(self.url).hostname or self.mqtt_host

    @property
    def mqtt_tls(self) -> bool:
        """Whether devices speak TLS to the broker. The embedded broker cannot, and is on loopback only."""
        if self.broker == "external":
            return self.mqtt_ca is not None
        return self.tls and self.broker == "mosquitto"

    @property
    def pki_dir(self) -> Path:
        return self.data_dir / "pki"

    @property
    def keys_dir(self) -> Path:
        return self.data_dir / "keys"

    @property
    def broker_dir(self) -> Path:
        return self.data_dir / "broker"

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "log"

    @property
    def file(self) -> Path:
        return self.data_dir / "settings.json"


REMEMBERED: Final = (
    "port",
    "public_url",
    "broker",
    "mqtt_host",
    "mqtt_port",
    "mqtt_username",
    "mqtt_password",
    "mqtt_ca",
    "tls",
    "tls_names",
    "tls_cert",
    "tls_key",
    "tls_ca",
    "device_auth",
    "backups",
)
_PORTS: Final = ("port", "mqtt_port")
_RANGES: Final = {
    "metrics_devices": (0, 100_000),
    "otlp_interval_s": (60, 3600),
    "otlp_devices": (1, 100_000),
    "home_assistant_interval_s": (1, 3600),
    "home_assistant_devices": (1, 10_000),
}
_TOPIC_LEVEL: Final = re.compile(r"(?!ep\Z)[A-Za-z0-9_-]{1,60}")


def load_settings(
    flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """The settings in force. ``flags``: field name -> value or None (not given). Raises InvalidInputError.

    A port given as 0 keeps the one drawn at an earlier start with this folder.
    """
    environment = os.environ if environment is None else environment
    given: dict[str, Any] = {}
    for field in Settings.__struct_fields__:
        text = environment.get(ENVIRONMENT_PREFIX + field.upper(), "")
        if text:
            given[field] = text
    given |= {name: value for name, value in (flags or {}).items() if value is not None}
    data_dir = Path(given.get("data_dir", DEFAULT_DATA_DIR)).expanduser().absolute()
    remembered = _read_remembered(data_dir / "settings.json")
    for name in _PORTS:
        if name in given and str(given[name]) == "0":
            del given[name]
            remembered.setdefault(name, 0)
    if isinstance(given.get("tls_names"), str):  # from the environment
        given["tls_names"] = given["tls_names"].replace(",", " ").split()
    try:
        settings = msgspec.convert(
            remembered | given | {"data_dir": str(data_dir)}, Settings, strict=False, dec_hook=_decode
        )
    except msgspec.ValidationError as error:
        raise InvalidInputError("bad_setting", _unusable(str(error), given, data_dir)) from error
    settings = _follow_host(settings, is_broker_named="mqtt_host" in given)
    return check(_choose_tls(settings, is_asked="tls" in given))


def _follow_host(settings: Settings, *, is_broker_named: bool) -> Settings:
    """Where others reach a server on all addresses; a mosquitto of its own listens where the server does."""
    if settings.broker == "mosquitto" and is_loopback(settings.mqtt_host) and not is_broker_named:
        settings = msgspec.structs.replace(settings, mqtt_host=settings.host)
    if is_wildcard(settings.host):
        settings = msgspec.structs.replace(settings, reached_at=reached_at(settings.host))
    return settings


def _choose_tls(settings: Settings, *, is_asked: bool) -> Settings:
    """On beyond this machine, off when plain was asked for, else as asked or as it was."""
    if is_asked:
        return settings
    if settings.insecure_http:
        return msgspec.structs.replace(settings, tls=False)
    wanted = settings.tls or settings.tls_cert is not None or _is_beyond(settings)
    return msgspec.structs.replace(settings, tls=wanted)


def _is_beyond(settings: Settings) -> bool:
    """Whether anything that this server runs itself listens beyond this machine."""
    broker = settings.broker == "mosquitto" and not is_loopback(settings.mqtt_host)
    return broker or not is_loopback(settings.host)


def _unusable(said: str, given: Mapping[str, Any], data_dir: Path) -> str:
    """msgspec's finding ("Expected `int`, got `str` - at `$.port`") with where the value came from."""
    what, _, where = said.partition(" - at `$.")
    what = what.replace("Expected `int`, got `str`", "it must be a whole number")
    name = where.rstrip("`")
    if name not in Settings.__struct_fields__:
        return f"A setting is not usable: {said}."
    if name not in given:
        return f"{name} in {data_dir / 'settings.json'} is not usable: {what}. Correct it or delete the file."
    variable = ENVIRONMENT_PREFIX + name.upper()
    return (
        f"{name} ({variable}={str(given[name])[:80]!r}) is not usable: {what}. See `edgepress serve --help`."
    )


def check(settings: Settings) -> Settings:
    """The settings themselves, where they make sense together. Raises InvalidInputError."""
    for name in _PORTS:
        if not 0 <= getattr(settings, name) <= 65535:
            raise InvalidInputError("bad_port", f"{name} must be 0 (any free port) to 65535.")
    if _is_beyond(settings) and not settings.tls and not settings.insecure_http:
        raise InvalidInputError(
            "insecure_http",
            f"Without TLS, {settings.host} would serve passwords in clear text beyond this machine. Leave "
            "--no-tls out: the server then makes a certificate of its own. Or keep 127.0.0.1 and put a TLS "
            "proxy (nginx, Caddy) in front with --public-url https://..., or, on a network that you trust, "
            "add --insecure-http.",
        )
    _check_tls(settings)
    _check_broker(settings)
    _check_ecosystem(settings)
    if settings.public_url is not None:
        parts = urlsplit(settings.public_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInputError(
                "bad_public_url",
                f"{settings.public_url!r} is no web address; give one such as https://edge.example.org.",
            )
        return msgspec.structs.replace(settings, public_url=settings.public_url.rstrip("/"))
    return settings


def _check_broker(settings: Settings) -> None:
    if settings.broker == "embedded" and not is_loopback(settings.mqtt_host):
        raise InvalidInputError(
            "embedded_broker_is_local",
            "The embedded broker knows no users, so it listens on this machine only. For devices elsewhere "
            "use --broker mosquitto (a managed child of this server) or --broker external.",
        )
    if settings.broker == "external" and settings.mqtt_port == 0:
        raise InvalidInputError("bad_port", "An external broker has a port: give --mqtt-port.")
    if settings.mqtt_ca is not None and not settings.mqtt_ca.is_file():
        raise InvalidInputError("no_ca", f"The broker's CA certificate {settings.mqtt_ca} is no file.")


def _check_ecosystem(settings: Settings) -> None:
    for name, (least, most) in _RANGES.items():
        if not least <= getattr(settings, name) <= most:
            raise InvalidInputError("bad_setting", f"{name} must be {least} to {most}.")
    if settings.otlp_endpoint is not None:
        parts = urlsplit(settings.otlp_endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInputError(
                "bad_otlp_endpoint",
                f"{settings.otlp_endpoint!r} is no web address; give the collector's OTLP/HTTP one, such as "
                "http://127.0.0.1:4318.",
            )
    if settings.otlp_ca is not None and not settings.otlp_ca.is_file():
        raise InvalidInputError("no_ca", f"The collector's CA certificate {settings.otlp_ca} is no file.")
    if not _TOPIC_LEVEL.fullmatch(settings.home_assistant_prefix):
        raise InvalidInputError(
            "bad_setting",
            "home_assistant_prefix must be 1 to 60 of letters, digits, '-' and '_', as Home Assistant's "
            'discovery prefix is; "ep" is taken.',
        )


def _check_tls(settings: Settings) -> None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise InvalidInputError(
            "tls_pair", "A certificate comes with its key: give both --tls-cert and --tls-key, or neither."
        )
    for name in ("tls_cert", "tls_key", "tls_ca"):
        path: Path | None = getattr(settings, name)
        if path is not None and not path.is_file():
            option = name.replace("_", "-")
            raise InvalidInputError("no_tls_file", f"--{option} {path} is no file.")
    if settings.device_auth == "certificate" and not (settings.mqtt_tls or settings.broker == "external"):
        raise InvalidInputError(
            "certificates_need_tls",
            "Devices show certificates over TLS only: use --device-auth certificate with --broker mosquitto "
            "--tls, or with an external broker that trusts pki/ca.pem of the data folder.",
        )


def remember(settings: Settings) -> None:
    """Write settings.json: aside, fsync, replace."""
    kept = {name: getattr(settings, name) for name in REMEMBERED}
    kept = {name: str(v) if isinstance(v, Path) else v for name, v in kept.items() if v not in (None, ())}
    text = msgspec.json.format(msgspec.json.encode(kept), indent=2)
    replace_file(settings.file, text + b"\n")


def to_json(settings: Settings) -> bytes:
    """For a role process, which reads it with `from_json`."""
    return msgspec.json.encode(settings, enc_hook=str)


def from_json(text: bytes) -> Settings:
    return msgspec.json.decode(text, type=Settings, dec_hook=_decode)


def _decode(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value).expanduser()
    raise TypeError(f"{kind.__name__} has no JSON form")


def _read_remembered(file: Path) -> dict[str, Any]:
    try:
        data = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):  # the first start, which will say if the folder cannot be
        return {}
    except OSError as error:
        raise InvalidInputError("settings_unreadable", f"{file} cannot be read: {error}.") from error
    try:
        read = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InvalidInputError(
            "settings_damaged", f"{file} is damaged ({error}). Correct it or delete it; defaults then apply."
        ) from error
    return {name: read[name] for name in REMEMBERED if name in read}


BROKERS: Final[tuple[BrokerKind, ...]] = get_args(BrokerKind)
