"""The HTTP client against servers that drip, hang, lie or never end: each request ends in time, with a message."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.network.rude_server import Behave, answering, certify, dripping, head_of, serving, within
from tests.support.waiting.until import wait_until
from vedette.errors import HttpError, HttpStatus, HttpTooLong, HttpTooSlow, HttpUnreachable
from vedette.net.http_client import RETRY_AFTER_MOST_S, HttpClient
from vedette.net.timed_socket import Deadline

pytestmark = pytest.mark.slow

DEADLINE_S = 1.0
OK = b"HTTP/1.1 200 OK\r\n"


def fetch(port: int, *, scheme: str = "http", most_bytes: int = 1000, client: HttpClient | None = None,
        headers: dict[str, str] | None = None, host: str = "127.0.0.1", deadline_s: float = 60,
        body: bytes | Iterator[bytes] | None = None) -> bytes:
    with (client or HttpClient()).request(f"{scheme}://{host}:{port}/a%20b?token=secret",
                                          deadline=Deadline(deadline_s), most_bytes=most_bytes,
                                          headers=headers, body=body) as response:
        return b"".join(response.chunks())


def hang(connection: socket.socket, stopping: threading.Event) -> None:
    stopping.wait(60)


@pytest.mark.parametrize("sent", [
    OK + b"Content-Length: 5\r\n\r\nhello",
    OK + b"\r\nhello",
    OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: x\r\n\r\n",
    b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3 + OK + b"Content-Length: 5\r\n\r\nhello",
])
def test_a_body_arrives(sent: bytes) -> None:
    """By length, by the end of the connection, in chunks, as a part, after an interim response."""
    with serving(answering(sent)) as port:
        assert fetch(port) == b"hello"


def test_a_body_in_pieces_ends_with_the_error_of_a_piece() -> None:
    """What came before it was sent. The connection ends, and the error is the caller's own."""
    got: list[bytes] = []

    def pieces() -> Iterator[bytes]:
        yield b"first "
        yield b"second "
        raise LookupError("no third")

    def read_all(connection: socket.socket, _: threading.Event) -> None:
        got.append(b"".join(iter(partial(connection.recv, 4096), b"")))
    with serving(read_all) as port:
        with pytest.raises(LookupError, match="no third"):
            fetch(port, headers={"Content-Length": "18"}, body=pieces())
        assert wait_until(lambda: len(got) == 1)
    assert got[0].endswith(b"\r\n\r\nfirst second ")


@pytest.mark.parametrize("sent", [OK + b"\r\nhello", OK + b"Content-Length: 5\r\n\r\nhello",
                                  OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"])
def test_the_limit_of_a_body_is_exact(sent: bytes) -> None:
    """A body of `most_bytes` arrives, one byte more is too long."""
    with serving(answering(sent)) as port:
        assert fetch(port, most_bytes=5) == b"hello"
        with pytest.raises(HttpTooLong):
            fetch(port, most_bytes=4)


def test_request_line_and_headers() -> None:
    """Path and query as given, no compression, one request for each connection, and the caller's headers."""
    requests: list[bytes] = []

    def behave(connection: socket.socket, _: threading.Event) -> None:
        requests.append(head_of(connection))
        connection.sendall(OK + b"Content-Length: 0\r\n\r\n")

    with serving(behave) as port:
        assert fetch(port, headers={"Range": "bytes=5-"}) == b""
    lines = requests[0].decode().split("\r\n")
    assert lines[0] == "GET /a%20b?token=secret HTTP/1.1"
    assert {f"Host: 127.0.0.1:{port}", "Accept-Encoding: identity", "Connection: close", "Range: bytes=5-"} < set(lines)


def test_a_body_is_sent() -> None:
    """It arrives whole, however slowly the server reads it."""
    sent = bytes(range(256)) * 4096
    got: list[bytes] = []

    def behave(connection: socket.socket, _over: threading.Event) -> None:
        head, _, body = head_of(connection).partition(b"\r\n\r\n")
        assert b"Content-Length: 1048576" in head
        while len(body) < len(sent) and (more := connection.recv(4096)):
            body += more
        got.append(body)
        connection.sendall(OK + b"Content-Length: 2\r\n\r\nok")

    with (serving(behave) as port,
          HttpClient().request(f"http://127.0.0.1:{port}/", deadline=Deadline(60), most_bytes=10, method="POST",
                               body=sent) as response):
        assert b"".join(response.chunks()) == b"ok"
    assert got == [sent]


@pytest.mark.parametrize("behave", [
    hang,
    dripping(b"", b"H"),
    dripping(OK, b"X-Drip: y\r\n"),
    dripping(OK + b"X-Endless: ", b"y"),
    dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    dripping(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    dripping(OK + b"Content-Length: 1000\r\n\r\n", b"y"),
    dripping(OK + b"\r\n", b"y"),
    dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\ny\r\n"),
    dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"T: y\r\n"),
    answering(OK + b"Content-Length: 1000\r\n\r\nhel", then_wait=True),
], ids=["silent", "status", "headers", "one-header", "continue", "hints", "body", "body-without-length", "chunks",
        "trailers", "stalled"])
def test_slow_retrieval_ends_in_time(behave: Behave) -> None:
    """A few bytes now and then keep no connection beyond the deadline."""
    with serving(behave) as port, within(DEADLINE_S), pytest.raises(HttpTooSlow, match=r"^http://127\.0\.0\.1.*/a%20b:"):
        fetch(port, deadline_s=DEADLINE_S)


def test_a_server_that_reads_nothing_ends_in_time() -> None:
    """A server that does not read the body is a slow server too."""
    with (serving(hang) as port, within(DEADLINE_S), pytest.raises(HttpTooSlow),
          HttpClient().request(f"http://127.0.0.1:{port}/", deadline=Deadline(DEADLINE_S), most_bytes=1, method="POST",
                               body=bytes(50_000_000))):
        pytest.fail("it answered")


def test_a_silent_server_is_given_up_before_a_long_deadline() -> None:
    """`idle_s` without a byte is enough, however long the whole exchange may take."""
    with (serving(answering(OK + b"\r\nhel", then_wait=True)) as port, within(DEADLINE_S),
          pytest.raises(HttpTooSlow, match="no response in time"),
          HttpClient(idle_s=DEADLINE_S).request(f"http://127.0.0.1:{port}/", deadline=Deadline(3600),
                                                most_bytes=1000) as response):
        list(response.chunks())


def test_a_server_that_hangs_in_tls_ends_in_time() -> None:
    """It accepts the connection and sends nothing."""
    with serving(hang) as port, within(DEADLINE_S), pytest.raises(HttpTooSlow, match=r"handshake|not done"):
        fetch(port, scheme="https", deadline_s=DEADLINE_S)


def test_a_server_that_drips_its_tls_ends_in_time() -> None:
    """It sends a record that never becomes complete."""
    def behave(connection: socket.socket, stopping: threading.Event) -> None:
        connection.recv(4096)
        connection.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")      # 16 KiB of handshake are to follow
        while not stopping.wait(0.05):
            connection.sendall(b"\x03")

    with serving(behave) as port, within(DEADLINE_S), pytest.raises(HttpTooSlow):
        fetch(port, scheme="https", deadline_s=DEADLINE_S)


def test_a_name_that_is_not_found_in_time() -> None:
    """The resolver has its own time limits and cannot be ended; its thread is left behind."""
    done = threading.Event()

    def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        done.wait(60)
        return []

    client = HttpClient(resolve=resolve)
    try:
        with within(DEADLINE_S), pytest.raises(HttpTooSlow, match=r"example\.invalid was not resolved|not done"):
            fetch(1, client=client, host="example.invalid", deadline_s=DEADLINE_S)
    finally:
        done.set()


def test_a_name_that_nobody_knows() -> None:
    """The message has the resolver's reason and the name."""
    def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(HttpUnreachable, match=r"^http://example\.invalid:1/.*Name or service not known"):
        fetch(1, client=HttpClient(resolve=resolve), host="example.invalid")


def test_an_address_that_does_not_answer_leaves_time_for_the_next() -> None:
    """With two addresses, the first may use half of the deadline."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, serving(answering(OK + b"\r\nhello")) as port:
        fillers = []
        for _ in range(3):                       # the kernel does not answer once its backlog is full
            fillers.append(socket.socket())
            fillers[-1].setblocking(False)
            fillers[-1].connect_ex(full.getsockname())
        here = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
        client = HttpClient(resolve=lambda *_, **__: [(*here, full.getsockname()), (*here, ("127.0.0.1", port))])
        try:
            with within(3):
                assert fetch(port, client=client, deadline_s=3) == b"hello"
        finally:
            for filler in fillers:
                filler.close()


def test_an_address_of_a_kind_this_machine_lacks_is_skipped() -> None:
    """For example IPv6 where it is off. For a name without any address, the message says so."""
    with serving(answering(OK + b"\r\nhello")) as port:
        here = (socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))
        client = HttpClient(resolve=lambda *_, **__: [(999, *here), (socket.AF_INET, *here)])
        assert fetch(port, client=client) == b"hello"
    with pytest.raises(HttpUnreachable, match="no address"):
        fetch(port, client=HttpClient(resolve=lambda *_, **__: []))


def test_nothing_starts_after_the_deadline() -> None:
    """An earlier step may have used the whole time."""
    with (pytest.raises(HttpTooSlow, match="not done within 0 s"),
          HttpClient().request("http://127.0.0.1:1/", deadline=Deadline(0), most_bytes=1)):
        pytest.fail("it answered")


@pytest.mark.parametrize("url", ["http://%s.example/" % ("a" * 64), "https://.example:{port}/", "http://a..b/"])
def test_an_invalid_name_is_refused(url: str) -> None:
    """Neither the resolver nor TLS can use it."""
    with serving(hang) as port:
        here = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))
        client = HttpClient(resolve=lambda *_, **__: [here]) if "https" in url else HttpClient()
        with (pytest.raises(HttpUnreachable, match="invalid address: "),
              client.request(url.format(port=port), deadline=Deadline(60), most_bytes=1)):
            pytest.fail("it answered")


@pytest.mark.parametrize(("sent", "message"), [
    (b"", "no usable response"),
    (b"220 mail.example ESMTP\r\n\r\n", "no usable response"),
    (OK, "ended within the headers"),
    (OK + b"Content-Length: 5\r\nX-Cut: y", "ended within the headers"),
    (OK + b"Content-Length: 1000\r\n\r\nhel", "ended after 3 of 1000 bytes"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", "no usable response"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\nhello\r\n", "no usable response"),
    (OK + b"X: " + b"y" * 70_000 + b"\r\n\r\n", "no usable response"),
    (OK + b"X: y\r\n" * 200 + b"\r\n", "no usable response"),
], ids=["nothing", "smtp", "no-headers", "cut-headers", "short", "short-chunk", "no-chunk", "long-header",
        "many-headers"])
def test_a_broken_response_is_unreachable(sent: bytes, message: str) -> None:
    """A response that ends early or is not HTTP is never used."""
    with serving(answering(sent)) as port, within(DEADLINE_S), pytest.raises(HttpUnreachable, match=message):
        fetch(port)


@pytest.mark.parametrize("sent", [
    OK + b"Content-Length: 1001\r\n\r\n" + bytes(1001),
    OK + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n",
    OK + b"\r\n" + bytes(1 << 20),
    OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"80\r\n" + bytes(128) + (b"\r\n80\r\n" + bytes(128)) * 100,
    OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n" + bytes(1 << 20),
], ids=["declared", "absurdly-declared", "endless", "endless-chunks", "absurd-chunk"])
def test_endless_data_is_cut(sent: bytes) -> None:
    """Declared or not, no more than `most_bytes` is read."""
    with serving(answering(sent, then_wait=True)) as port, within(DEADLINE_S), pytest.raises(HttpTooLong, match="1000"):
        fetch(port)


@pytest.mark.parametrize(("value", "seconds"), [
    (b"120", 120), (b"0", 0), (b"99999999999", RETRY_AFTER_MOST_S), (b"9" * 6000, RETRY_AFTER_MOST_S),
    (b"Wed, 21 Oct 2099 07:28:00 GMT", RETRY_AFTER_MOST_S), (b"Wed, 21 Oct 1999 07:28:00 GMT", 0), (b"-5", None),
    (b"soon", None), (b"1e9", None), (b"", None),
    (b"Wed, 21 Oct 99999999999 07:28:00 GMT", None), (b"Wed, 21 Oct 2099 07:28:00 +" + b"9" * 20, None),
])
@pytest.mark.parametrize("status", [500, 404, 503])
def test_a_status_is_reported_and_its_retry_after_bounded(status: int, value: bytes, seconds: float | None) -> None:
    """It is an hour at most, whatever the server requests."""
    with (serving(answering(b"HTTP/1.1 %d Sorry\r\nRetry-After: %s\r\n\r\n<html>" % (status, value))) as port,
          pytest.raises(HttpStatus, match=f": the server answered {status} Sorry$") as caught):
        fetch(port)
    assert (caught.value.status, caught.value.retry_after_s) == (status, seconds)


@pytest.mark.parametrize("year", [b"2016", b"2036"])
def test_a_retry_after_date_counts_from_the_servers_own_date(year: bytes) -> None:
    """The device's clock, or the server's, may be ten years off."""
    sent = (b"HTTP/1.1 503 Sorry\r\nDate: Fri, 21 Nov %s 10:00:00 GMT\r\n"
            b"Retry-After: Fri, 21 Nov %s 10:00:30 GMT\r\n\r\n" % (year, year))
    with serving(answering(sent)) as port, pytest.raises(HttpStatus) as caught:
        fetch(port)
    assert caught.value.retry_after_s == 30


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    """The message names the target, and no request goes there."""
    requested = threading.Event()
    with (serving(lambda *_: requested.set()) as elsewhere,
          serving(answering(b"HTTP/1.1 %d Found\r\nLocation: http://127.0.0.1:%d/\x07\r\n\r\n"
                            % (status, elsewhere))) as port,
          pytest.raises(HttpStatus, match=f"a redirect to http://127.0.0.1:{elsewhere}/.; redirects are not followed")):
        fetch(port)
    assert not requested.is_set()


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 401 Sorry, hunter2%2F%2B is bad\r\n\r\n", b"HTTP/1.1 401 Sorry, hunter2/+\r\n\r\n",
    b"hunter2/+ what?\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: https://me:hunter3@login.example/hunter2/+?back=hunter4#hunter5\r\n\r\n"])
def test_a_server_that_repeats_the_secret_is_not_quoted(answer: bytes) -> None:
    """The message has neither the sent secret nor the login and the query of the redirect's target."""
    client = HttpClient()
    with serving(answering(answer)) as port, pytest.raises(HttpError) as caught, client.request(
            f"http://127.0.0.1:{port}/", deadline=Deadline(60), most_bytes=9,
            headers={"Authorization": "Bearer hunter2/+"}):
        pytest.fail("it answered")
    assert "hunter" not in str(caught.value)


def test_nobody_listens() -> None:
    """The request fails at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with within(DEADLINE_S), pytest.raises(HttpUnreachable, match="refused"):
        fetch(port)


@pytest.mark.parametrize("url", ["ftp://a/b", "a/b", "http://", "http://a:0/", "http://a:99999/", "http://[::1/",
                                 "https://user:hunter2@host/", "http://user:hunter2@[::1/", "http://a/b c",
                                 f"http://{'a' * 64}.example/", "http://a/\N{SNOWMAN}"])
def test_an_invalid_address_is_refused(url: str) -> None:
    """The message never contains a password."""
    with (pytest.raises(HttpUnreachable) as caught,
          HttpClient(resolve=lambda *_, **__: []).request(url, deadline=Deadline(60), most_bytes=1)):
        pytest.fail("it answered")
    assert "hunter2" not in str(caught.value)


def test_the_query_is_not_shown() -> None:
    """It may hold a secret."""
    with serving(answering(b"HTTP/1.1 404 Not Found\r\n\r\n")) as port, pytest.raises(HttpStatus) as caught:
        fetch(port)
    assert str(caught.value) == f"http://127.0.0.1:{port}/a%20b: the server answered 404 Not Found"


def test_https(tmp_path: Path) -> None:
    """A server of a known authority is trusted, one of an unknown is not; the message names an unusable file."""
    certificate, key = certify(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    def behave(connection: socket.socket, stopping: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            answering(OK + b"Content-Length: 5\r\n\r\nhello")(secured, stopping)

    with serving(behave) as port:
        assert fetch(port, scheme="https", client=HttpClient(ca_file=certificate)) == b"hello"
        with pytest.raises(HttpUnreachable, match="certificate is not trusted: self-signed"):
            fetch(port, scheme="https")
        with pytest.raises(HttpUnreachable, match=r"the certificates in .*server\.key cannot be used"):
            fetch(port, scheme="https", client=HttpClient(ca_file=key))
        with pytest.raises(HttpUnreachable, match=r"the certificates in .*missing\.pem cannot be used"):
            fetch(port, scheme="https", client=HttpClient(ca_file=tmp_path / "missing.pem"))


def test_https_to_an_http_port() -> None:
    """A port that speaks no TLS fails the request."""
    def behave(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with serving(behave) as port, within(DEADLINE_S), pytest.raises(HttpUnreachable, match=r"(?i)wrong.version"):
        fetch(port, scheme="https")


def test_a_response_before_the_whole_body_was_sent() -> None:
    """If a server refuses the body early and hangs up, its response is still read."""
    def behave(connection: socket.socket, _: threading.Event) -> None:
        head_of(connection)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    with serving(behave) as port, pytest.raises(HttpStatus) as refusal:
        fetch(port, body=bytes(20_000_000))
    assert refusal.value.status == 413
