"""Hosts and URLs in the forms in which people type them: `check-config` says at once which part belongs where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vedette.config.load import load
from vedette.errors import ConfigError

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_text(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        (tmp_path / "root.json").touch()
        return path
    return write_text


def problem(path: Path) -> str:
    with pytest.raises(ConfigError) as raised:
        load(path, environ={})
    assert len(raised.value.problems) == 1
    return str(raised.value.problems[0])


@pytest.mark.parametrize(("host", "said"), [
    ("broker:1883", "alone: the port belongs in mqtt.port"),
    ("192.168.1.5:8883", "alone: the port belongs in mqtt.port"),
    ("broker:", "alone: the port belongs in mqtt.port"),
    ("mqtt://broker", "without a scheme: a port belongs in mqtt.port, TLS in mqtt.tls"),
    ("mqtts://broker:8883/", "without a scheme: a port belongs in mqtt.port, TLS in mqtt.tls"),
    ("tcp:/broker", "without a scheme"),
    ("[::1]", "the IPv6 address without brackets"),
    ("[fe80::1%eth0]:1883", "the IPv6 address without brackets: the port belongs in mqtt.port"),
    ("::1:x", "alone: the port belongs in mqtt.port"),
    ("1:2:3", "a whole IPv6 address"),
    ("broker/mqtt", "without a path"),
    ("gate@broker", "without a user name: it belongs in mqtt.username"),
    ("192.168.1.300", "an IPv4 address of four numbers from 0 to 255"),
    ("192.168.1", "an IPv4 address of four numbers from 0 to 255"),
    (" broker", "one host name of letters"),
    ("broker 1883", "one host name of letters"),
    ("a,b", "one host name of letters"),
    ("a..b", "one host name of letters"),
    ("-a", "one host name of letters"),
    ("x" * 64, "one host name of letters"),
])
def test_a_broker_stands_alone(write: Write, host: str, said: str) -> None:
    """A port, a scheme, brackets, a path or a user name beside the host, and what no host is called."""
    printed = problem(write(f"mqtt: {{host: '{host}'}}\n"))
    assert "config.yaml:1: mqtt.host: expected " in printed
    assert said in printed


@pytest.mark.parametrize("host", ["broker", "broker.local.", "my_broker", "bröker.example", "192.168.1.30", "::1",
                                  "fe80::1%eth0", "2001:db8::1883", "a-1.b2", "xn--brker-jua.example", "3com"])
def test_names_and_addresses_are_hosts(write: Write, host: str) -> None:
    """Every form that a resolver takes is accepted."""
    assert load(write(f"mqtt: {{host: '{host}'}}\n"), environ={}).mqtt.host == host


@pytest.mark.parametrize("key", ["cloud: {url", "update: {root: root.json, source"])
@pytest.mark.parametrize(("url", "said"), [
    ("https://host:70000/v1", "a number from 1 to 65535"),
    ("https://host:0/v1", "a number from 1 to 65535"),
    ("https://host:/v1", "a number from 1 to 65535"),
    ("https://host:https/v1", "a number from 1 to 65535"),
    ("https://host:443:443/v1", "one port at most"),
    ("https://::1/v1", "an IPv6 address in brackets"),
    ("https://[::1/v1", "IPv6 address stands in brackets"),
    ("https:///v1", "expected http"),
    ("https:/host/v1", "expected http"),
    ("https://ho st/v1", "without spaces"),
    ("https://host/v1 ", "without spaces"),
    ("https://gate@host/v1", "without a user name"),
    ("https://10.0.0.256/v1", "an IPv4 address of four numbers from 0 to 255"),
    ("https://a,b/v1", "one host name of letters"),
    ("host:8443/v1", "expected http"),
    ("host", "expected http"),
])
def test_a_url_is_in_order(write: Write, key: str, url: str, said: str) -> None:
    """What only the first request would find out is said when the configuration is read."""
    assert said in problem(write(f"{key}: '{url}'}}\n"))


@pytest.mark.parametrize("host", ["localhost.example.com", "127.0.0.1.example.com", "example.com", "10.0.0.2",
                                  "127.0.0.10.example", "[::1:2]", "localhosts"])
def test_plain_http_is_for_loopback_alone(write: Write, host: str) -> None:
    """A name that only begins like loopback is another host: the token and the picture would go there in the clear."""
    assert "http:// on loopback" in problem(write(f"cloud: {{url: 'http://{host}/v1'}}\n"))


@pytest.mark.parametrize("key", ["cloud: {url", "update: {root: root.json, source"])
@pytest.mark.parametrize("url", ["https://host", "https://host:8443/v1", "https://[2001:db8::1]:8443/v1",
                                 "https://10.0.0.2/a?b=c", "HTTPS://host/v1", "http://localhost:8801/v1"])
def test_urls_as_they_should_be(write: Write, key: str, url: str) -> None:
    """They are accepted as they are."""
    load(write(f"{key}: '{url}'}}\n"), environ={})


@pytest.mark.parametrize(("source", "said"), [
    ("rtsp://", "a host behind the scheme"), ("rtsp:///live", "a host behind the scheme"),
    ("rtsp://cam:99999/x", "port is a number from 1 to 65535"), ("http://cam:0/", "port is a number from 1 to 65535"),
    ("rtsp://cam:x/", "port is a number from 1 to 65535"), ("rtsp://cam:/", "port is a number from 1 to 65535"),
    ("rtsp://[::1/x", "IPv6 address stands in brackets"), ("rtsp://::1/x", "IPv6 address in brackets"),
    ("rtsp://999.1.1.1/x", "an IPv4 address"), ("rtsp://my cam/x", "one host name of letters"),
    ("http://cam..lan/", "one host name of letters"), ("rtsp://gate@-cam/x", "one host name of letters"),
    ("rtsp://cam\uff0flive", "only usual letters")])
def test_a_camera_has_a_host(write: Write, source: str, said: str) -> None:
    """A host or port that no camera can have is refused at once."""
    printed = problem(write(f'camera: {{source: "{source}"}}\n'))
    assert "camera.source: expected " in printed
    assert said in printed


@pytest.mark.parametrize("source", [
    "rtsp://cam/x", "RTSP://gate@cam:554/x", "rtsp://[fe80::1]:554/x", "http://b\u00fcro-cam.lan./a b.mjpg",
    "udp://@:1234", "srt://:9000?mode=listener", "rtp://239.1.1.1:5004", "http://cam_1:8080/?x=1"])
def test_hosts_of_cameras(write: Write, source: str) -> None:
    """Streams that wait for a sender need no host."""
    assert load(write(f'camera: {{source: "{source}"}}\n'), environ={}).camera.source.lower() == source.lower()


def test_the_placeholders_of_a_login_are_no_password(write: Write) -> None:
    """They stand where people have the login, before the host."""
    path = write("camera: {source: 'rtsp://{user}:{password}@cam/1', credentials_file: config.yaml}\n")
    assert load(path, environ={}).camera.source == "rtsp://{user}:{password}@cam/1"


@pytest.mark.parametrize(("source", "is_usable"), [
    ("https://models.example/r", True), ("http://127.0.0.1:8000/r", True), ("http://models.example/r", False),
    ("/media/stick", False)])
def test_an_update_token_is_sent_over_tls_only(write: Write, source: str, is_usable: bool) -> None:
    """Nobody on the way can read it."""
    path = write(f"update: {{source: '{source}', root: root.json, token_file: config.yaml}}\n")
    if is_usable:
        assert load(path, environ={}).update.token_file == path
    else:
        assert "beside token_file" in problem(path)
