"""One connection: TLS with client certificates, and peers that are not brokers."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal, NoReturn

import pytest

from tests.support.broker.mosquitto import running
from tests.support.network.rude_server import serving
from vedette.config.models import MqttConfig, TlsConfig
from vedette.errors import BrokerAway, BrokerBusy, BrokerRefused, BrokerTakenOver
from vedette.mqtt.connection import Connection
from vedette.mqtt.terms import Start, Terms

pytestmark = pytest.mark.slow


def certify(folder: Path) -> None:
    """Make an authority, and certificates of a server at 127.0.0.1 and of a client, signed by it."""
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test authority")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-days", "2", "-extfile", "names")


def wait_connected(connection: Connection) -> None:
    while not connection.connected:
        connection.poll(1)


def poll_until_it_ends(connection: Connection) -> NoReturn:
    while True:
        connection.poll(1)


def test_client_certificate(tmp_path: Path) -> None:
    """With the authority and a client certificate the connection works, and many messages arrive."""
    certify(tmp_path)
    settings = (f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key\n"
                "require_certificate true\nuse_identity_as_username true")
    tls = TlsConfig(ca_file=tmp_path / "ca.pem", cert_file=tmp_path / "client.pem", key_file=tmp_path / "client.key")
    with running(tmp_path, settings) as broker:
        connection = Connection(broker.client(tls=tls), "gate", filters=["t"])
        wait_connected(connection)
        received = []
        for number in range(100):
            while not connection.has_room:
                received += connection.poll(1)
            connection.publish("t", f"{number} ".encode() * 500, qos=1)
        while len(received) < 100:
            received += connection.poll(1)
        assert [int(message.payload.split()[0]) for message in received] == list(range(100))
        connection.close(send_disconnect=True)


def test_untrusted_broker(tmp_path: Path) -> None:
    """A broker with a certificate of an unknown authority is refused with OpenSSL's reason."""
    certify(tmp_path)
    settings = f"certfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key\nallow_anonymous true"
    with running(tmp_path, settings) as broker, pytest.raises(BrokerAway, match="certificate verify failed"):
        Connection(broker.client(tls=TlsConfig()), "gate")


def test_tls_to_a_port_that_speaks_none(tmp_path: Path) -> None:
    """A peer that hangs up at the TLS handshake, or does not answer in TLS: the message says it may be a wrong port."""
    with running(tmp_path) as broker, pytest.raises(BrokerAway, match=r"may speak no TLS: expected .* 8883"):
        Connection(broker.client(tls=TlsConfig()), "gate")
    for answer in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"):
        with peer(answer) as port, pytest.raises(BrokerAway, match="may speak no TLS"):
            Connection(MqttConfig(port=port, tls=TlsConfig()), "gate")


def test_a_hang_up_within_tls_is_that_of_a_busy_broker() -> None:
    """So the pauses grow. An answer that is no TLS is none."""
    for answer, is_busy in ((b"", True), (b"HTTP/1.1 400 Bad Request\r\n\r\n", False)):
        with peer(answer) as port, pytest.raises(BrokerAway) as end:
            Connection(MqttConfig(port=port, tls=TlsConfig()), "gate")
        assert isinstance(end.value, BrokerBusy) is is_busy


def test_a_late_answer_may_take_longer_than_the_keep_alive() -> None:
    """paho would give up the connection then, and whoever gives up joins the end of the queue again."""
    def answer_late(client: socket.socket, stopping: threading.Event) -> None:
        client.recv(1000)
        stopping.wait(1.6)
        client.sendall(b"\x20\x03\x00\x00\x00")
        stopping.wait(60)

    with serving(answer_late) as port:
        hurried = MqttConfig(port=port).model_copy(update={"keepalive_s": 1})
        with closing(Connection(hurried, "gate", Start(Terms(is_v5=True), within_s=60))) as connection:
            while not connection.connected:
                connection.poll(0.1)


def test_certificate_that_is_not_there(tmp_path: Path) -> None:
    """If a certificate file cannot be read, no connection is made."""
    with pytest.raises(BrokerAway, match="No such file"):
        Connection(MqttConfig(port=1, tls=TlsConfig(ca_file=tmp_path / "none.pem")), "gate")


@contextmanager
def peer(answer: bytes) -> Iterator[int]:
    """Listen, send these bytes to the first client, and close."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(1000)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(60)


def test_plain_mqtt_to_a_port_that_expects_tls(tmp_path: Path) -> None:
    """A port that hangs up at a plain CONNECT, or sends a TLS alert: the message says that it expects TLS."""
    certify(tmp_path)
    settings = f"certfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key\nallow_anonymous true"
    with running(tmp_path, settings) as broker, pytest.raises(BrokerAway, match=r"the port expects TLS: set mqtt\.tls"):
        wait_connected(Connection(broker.client(), "gate"))
    with peer(b"\x15\x03\x01\x00\x02\x02\x46") as port, pytest.raises(BrokerAway, match="the port expects TLS"):
        wait_connected(Connection(MqttConfig(port=port), "gate"))


@pytest.mark.parametrize("answer", [b"\x20\x03\x00\x00\x00", b"\x20\x03\x00\x87\x00"])
def test_no_guess_about_tls_once_the_broker_has_answered(answer: bytes) -> None:
    """A broker that refuses, or hangs up after it accepted, speaks plain MQTT: the message does not mention TLS."""
    with peer(answer) as port, pytest.raises((BrokerAway, BrokerRefused)) as end:
        poll_until_it_ends(Connection(MqttConfig(port=port), "gate"))
    assert "TLS" not in str(end.value)


@pytest.mark.parametrize("protocol", [5, "3.1.1"])
@pytest.mark.parametrize("answer", [
    b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\x00", b"\x20\x02\x00", b"\x20\x03\x00\x00\xff", b"\xff" * 64,
    b"\x20\xff\xff\xff\xff\xff", b"\x30\x03\x00\x05a", b"\x32\x04\x00\x01\xff\x00", bytes(range(256))])
def test_peer_that_is_not_a_broker(answer: bytes, protocol: Literal[5, "3.1.1"]) -> None:
    """Any bytes from such a peer end the connection as BrokerAway and nothing else."""
    with peer(answer) as port, pytest.raises(BrokerAway):
        wait_connected(Connection(MqttConfig(port=port, protocol=protocol), "gate"))


@pytest.mark.parametrize(("answer", "end"), [
    (b"\x20\x03\x00\x00\x00\xe0\x01\x8e", BrokerTakenOver),
    (b"\x20\x03\x00\x00\x00\xe0\x01\x8b", BrokerAway),
    (b"\x20\x03\x00\x87\x00", BrokerRefused),
])
def test_reasons_of_the_broker(answer: bytes, end: type[Exception]) -> None:
    """MQTT 5's "session taken over", "server shutting down" and "not authorized" give different errors."""
    with peer(answer) as port:
        connection = Connection(MqttConfig(port=port), "gate")
        with pytest.raises(end):
            poll_until_it_ends(connection)
        assert not connection.connected


@pytest.mark.parametrize(("protocol", "answer"), [
    (5, b"\x20\x03\x00\x00\x00\x90\x05\x00\x01\x00\x87\x01"), ("3.1.1", b"\x20\x02\x00\x00\x90\x04\x00\x01\x80\x01")])
def test_refused_subscription_is_remembered(protocol: Literal[5, "3.1.1"], answer: bytes) -> None:
    """A connection knows which of its filters the broker has refused."""
    with peer(answer) as port:
        connection = Connection(MqttConfig(port=port, protocol=protocol), "gate", filters=("a/+", "b"))
        with pytest.raises(BrokerAway):
            poll_until_it_ends(connection)
        assert connection.refused_filters == ("a/+",)


@pytest.mark.parametrize(("change", "message"), [
    ({"ca_file": "gone"}, "ca_file .*gone"),
    ({"ca_file": "names"}, "ca_file .*names"),
    ({"key_file": "gone"}, "client.pem with key_file .*gone.*No such file"),
    ({"key_file": "server.key"}, "server.key.*mismatch"),
    ({"key_file": "locked.key"}, "locked.key.*pass phrase"),
])
def test_unusable_tls_files_are_named(tmp_path: Path, change: dict[str, str], message: str) -> None:
    """The message names the path of an unusable certificate or key; a locked key does not wait for a pass phrase."""
    certify(tmp_path)
    subprocess.run(["openssl", "ec", "-in", "client.key", "-aes128", "-passout", "pass:locked", "-out", "locked.key"],
                   cwd=tmp_path, check=True, capture_output=True)
    files = {"ca_file": "ca.pem", "cert_file": "client.pem", "key_file": "client.key", **change}
    tls = TlsConfig(**{key: tmp_path / name for key, name in files.items()})
    with pytest.raises(BrokerAway, match=message):
        Connection(MqttConfig(host="127.0.0.1", port=1, tls=tls), "gate")


def test_broker_that_wants_a_client_certificate_says_so(tmp_path: Path) -> None:
    """TLS 1.3 delivers the refusal only after the handshake; it still becomes BrokerRefused with the reason."""
    certify(tmp_path)
    settings = (f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key\n"
                "require_certificate true\nuse_identity_as_username true")
    with running(tmp_path, settings) as broker, pytest.raises(BrokerRefused, match="certificate required"):
        poll_until_it_ends(Connection(broker.client(tls=TlsConfig(ca_file=tmp_path / "ca.pem")), "gate"))


@pytest.mark.parametrize("content", [b"\xffsecret", b"x" * 65_536])
def test_password_that_mqtt_cannot_carry_is_named(tmp_path: Path, content: bytes) -> None:
    """The message names the path of a password file that is not text or too long, and contains no byte of it."""
    secret = tmp_path / "password"
    secret.write_bytes(content)
    with running(tmp_path) as broker, pytest.raises(BrokerAway, match=str(secret)) as refusal:
        Connection(broker.client(username="gate", password_file=secret), "gate")
    assert "0xff" not in str(refusal.value)


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def device(path: Path) -> Path:
    path.symlink_to("/dev/null")
    return path


@pytest.mark.parametrize("kind", [pipe, folder, device])
def test_secret_that_is_not_a_file_is_named_and_never_waited_for(kind: Callable[[Path], Path], tmp_path: Path) -> None:
    """The message names a pipe, folder or device in the place of a password or certificate; nothing waits for it."""
    wrong = kind(tmp_path / "wrong")
    ends: list[str] = []

    def connect() -> None:
        for changes in ({"username": "gate", "password_file": wrong}, {"tls": TlsConfig(ca_file=wrong)},
                        {"tls": TlsConfig(cert_file=wrong)}):
            with pytest.raises(BrokerAway) as end:
                Connection(MqttConfig(port=1, **changes), "gate")
            ends.append(str(end.value))

    thread = threading.Thread(target=connect, daemon=True)      # daemonic, in case it waits after all
    thread.start()
    thread.join(60)
    assert [f"{wrong} cannot be used: " in end for end in ends] == [True] * 3, ends


def test_user_name_that_mqtt_cannot_carry_is_named(tmp_path: Path) -> None:
    """A user name that is too long for MQTT is an error of the connection and does not end its thread."""
    with running(tmp_path) as broker, pytest.raises(BrokerAway, match=r"mqtt\.username"):
        Connection(broker.client(username="u" * 65_536), "gate")


@pytest.mark.parametrize("largest", [100, 600, 20_000])
def test_message_above_the_brokers_limit_is_not_sent(largest: int, tmp_path: Path,
                                                              caplog: pytest.LogCaptureFixture) -> None:
    """To the byte: a message of the CONNACK limit arrives, one byte more is never sent, and the log says so once."""
    with running(tmp_path, f"allow_anonymous true\nmax_packet_size {largest}") as broker:
        connection = Connection(broker.client(), "gate")
        wait_connected(connection)
        head = 1 + 2 + len("gate/long") + 2 + 1 + (1 + (largest >= 128) + (largest >= 16_384))
        most = largest - head
        numbers = [connection.publish("gate/long", b"x" * length, qos=1) for length in (most + 1, most, most + 2, 1)]
        while not connection.is_idle:
            connection.poll(1)
        accepted = {receipt.number: receipt.accepted for receipt in connection.receipts()}
        assert [accepted[number] for number in numbers] == [False, True, False, True]
        assert connection.connected
        connection.close(send_disconnect=True)
    assert [record.getMessage() for record in caplog.records if "gate/long" in record.getMessage()] == [
        (f"a message for gate/long is not sent: it has {largest + 1} bytes, "
         f"and the broker at 127.0.0.1:{broker.port} accepts at most {largest}")]
