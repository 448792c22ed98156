"""Settings: flags before environment before what was remembered before defaults; refusals in sentences."""

import stat
from pathlib import Path

import msgspec
import pytest

from edgepress_server.errors import InvalidInputError
from edgepress_server.settings import REMEMBERED, Settings, from_json, load_settings, remember, to_json

PAIR = {"tls_cert": "/nowhere/a.pem", "tls_key": "/nowhere/a.key"}


def test_defaults_listen_on_this_machine_only(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path}, {})
    assert (settings.host, settings.port, settings.mqtt_port) == ("127.0.0.1", 8080, 1883)
    assert (settings.broker, settings.mqtt_host, settings.mqtt_tls) == ("embedded", "127.0.0.1", False)
    assert settings.url == "http://127.0.0.1:8080"


def test_who_has_the_last_word(tmp_path: Path) -> None:
    remember(Settings(data_dir=tmp_path, port=1111, mqtt_port=2222, broker="mosquitto"))
    environment = {"EDGEPRESS_PORT": "3333", "EDGEPRESS_BROKER": "embedded", "EDGEPRESS_HOST": ""}
    settings = load_settings({"data_dir": tmp_path, "port": 4444, "host": None}, environment)
    assert (settings.port, settings.broker, settings.mqtt_port) == (4444, "embedded", 2222)
    assert settings.host == "127.0.0.1"
    assert load_settings({"data_dir": tmp_path}, environment).port == 3333


def test_port_0_keeps_the_port_that_devices_know(tmp_path: Path) -> None:
    flags = {"data_dir": tmp_path, "port": 0, "mqtt_port": 0}
    first = load_settings(flags, {})
    assert (first.port, first.mqtt_port) == (0, 0)
    remember(msgspec.structs.replace(first, port=5001, mqtt_port=5002))
    again = load_settings(flags, {})
    assert (again.port, again.mqtt_port) == (5001, 5002)


def test_the_folder_comes_from_the_environment_too(tmp_path: Path) -> None:
    assert load_settings({}, {"EDGEPRESS_DATA_DIR": str(tmp_path)}).data_dir == tmp_path
    assert load_settings({}, {}).data_dir == Path("~/.local/share/edgepress").expanduser()


def test_a_role_process_gets_the_same_settings(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, broker="external", mqtt_password="secret", mqtt_ca=Path("/x/ca.pem")
    )
    assert from_json(to_json(settings)) == settings


def test_what_is_remembered_is_private_and_whole(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, broker="external", mqtt_host="b", mqtt_password="s", mqtt_username="u"
    )
    remember(settings)
    assert stat.S_IMODE(settings.file.stat().st_mode) == 0o600
    assert load_settings({"data_dir": tmp_path}, {}) == settings
    assert set(REMEMBERED) < set(Settings.__struct_fields__)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


def test_devices_reach_the_broker_where_the_server_is_public(tmp_path: Path) -> None:
    own = Settings(
        data_dir=tmp_path, public_url="https://edge.example.org", mqtt_host="0.0.0.0", broker="mosquitto"
    )
    assert own.device_mqtt_host == "edge.example.org"
    external = Settings(data_dir=tmp_path, broker="external", mqtt_host="mqtt.example.org")
    assert external.device_mqtt_host == "mqtt.example.org"
    assert Settings(data_dir=tmp_path, host="::1").url == "http://[::1]:8080"


@pytest.mark.parametrize(
    ("what", "flags", "says"),
    [
        ("a host beyond this machine", {"host": "0.0.0.0", "tls": False}, "--insecure-http"),
        ("a name that may be anywhere", {"host": "edge.local", "tls": False}, "--public-url"),
        ("the embedded broker elsewhere", {"mqtt_host": "0.0.0.0"}, "--broker mosquitto"),
        (
            "mosquitto without TLS",
            {"mqtt_host": "10.0.0.1", "broker": "mosquitto", "tls": False},
            "--insecure-http",
        ),
        ("a certificate without its key", {"tls": True, "tls_cert": "/nowhere/a.pem"}, "--tls-key"),
        ("a certificate that is not there", {"tls": True, **PAIR}, "--tls-cert .* is no file"),
        ("a certificate asks for TLS by itself", PAIR, "--tls-cert .* is no file"),
        ("an authority that is not there", {"tls_ca": "/nowhere/ca.pem"}, "--tls-ca .* is no file"),
        ("device certificates without TLS", {"device_auth": "certificate"}, "--broker mosquitto --tls"),
        ("an external broker without port", {"broker": "external", "mqtt_port": 0}, "--mqtt-port"),
        ("a port that is none", {"port": 70000}, "0 .any free port. to 65535"),
        ("a port that is no number", {"port": "http"}, "port"),
        ("a broker nobody knows", {"broker": "rabbit"}, "broker"),
        ("a public URL that is none", {"public_url": "edge.example.org"}, "https://"),
        ("a CA file that is not there", {"mqtt_ca": "/nowhere/ca.pem", "broker": "external"}, "no file"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_a_way_out(
    tmp_path: Path, what: str, flags: dict[str, object], says: str
) -> None:
    with pytest.raises(InvalidInputError, match=says):
        load_settings({"data_dir": tmp_path, **flags}, {})
    assert what


TLS = [
    ("loopback is plain", {}, False),
    ("loopback, asked for", {"tls": True}, True),
    ("beyond this machine", {"host": "0.0.0.0"}, True),
    ("a broker beyond this machine", {"broker": "mosquitto", "mqtt_host": "10.0.0.1"}, True),
    ("plain beyond this machine is a choice", {"host": "0.0.0.0", "insecure_http": True}, False),
    ("TLS that is asked for wins", {"host": "0.0.0.0", "insecure_http": True, "tls": True}, True),
    ("behind a proxy on this machine", {"public_url": "https://edge.example.org"}, False),
    ("an external broker is elsewhere anyway", {"broker": "external", "mqtt_host": "10.0.0.1"}, False),
]


@pytest.mark.parametrize(("flags", "expected"), [c[1:] for c in TLS], ids=[c[0] for c in TLS])
def test_where_tls_is_on(tmp_path: Path, flags: dict[str, object], expected: bool) -> None:
    settings = load_settings({"data_dir": tmp_path, **flags}, {})
    assert settings.tls is expected
    if settings.public_url is None:
        assert settings.url.startswith("https://" if expected else "http://")


def test_once_on_tls_stays_on_until_plain_is_asked_for(tmp_path: Path) -> None:
    remember(load_settings({"data_dir": tmp_path, "tls": True, "tls_names": ("hub.lan",)}, {}))
    again = load_settings({"data_dir": tmp_path}, {})
    assert (again.tls, again.tls_names) == (True, ("hub.lan",))
    assert not load_settings({"data_dir": tmp_path, "tls": False}, {}).tls
    assert not load_settings({"data_dir": tmp_path, "insecure_http": True}, {}).tls


def test_a_server_on_all_addresses_names_one_that_others_can_use(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path, "host": "0.0.0.0", "broker": "mosquitto"}, {})
    assert settings.mqtt_host == "0.0.0.0", "mosquitto listens where the server does"
    assert settings.mqtt_tls
    assert "0.0.0.0" not in settings.url
    assert settings.device_mqtt_host == settings.reached_at
    assert from_json(to_json(settings)) == settings


def test_names_for_the_certificate_come_from_the_environment_too(tmp_path: Path) -> None:
    environment = {"EDGEPRESS_TLS_NAMES": "hub.lan, 192.0.2.7"}
    assert load_settings({"data_dir": tmp_path}, environment).tls_names == ("hub.lan", "192.0.2.7")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"port": "x"}', b"\xff\xfe"])
def test_a_damaged_settings_file_is_said_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "settings.json").write_bytes(content)
    with pytest.raises(InvalidInputError):
        load_settings({"data_dir": tmp_path}, {})


def test_a_wrong_value_is_named_by_where_it_came_from(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="EDGEPRESS_PORT='abc'"):
        load_settings({"data_dir": tmp_path}, {"EDGEPRESS_PORT": "abc"})
    (tmp_path / "settings.json").write_text('{"mqtt_port": "x"}')
    with pytest.raises(InvalidInputError, match=r"mqtt_port in .*settings\.json .* delete the file"):
        load_settings({"data_dir": tmp_path}, {})
