"""The connections to upstreams: kept while both sides keep them, and read as HTTP/1.1 is, however it comes."""

import json
import shutil
import ssl
import subprocess
import time

import pytest

from antiphon.engines.upstream.calling import PAUSE_S
from tests import mock_upstream as mock
from tests.conftest import serving, until
from tests.engines.test_upstream import frames, text_of, version
from tests.mock_upstream import CLOSE, HOLD, MockUpstream, delta, event, head, plain, said, stream

BODY = json.dumps(said()).encode()


@pytest.fixture(scope="module")
def upstream():
    server = MockUpstream()
    yield server
    server.close()


@pytest.fixture(scope="module")
def front(tmp_path_factory, upstream):
    config = version("up/kept", upstream.url) + version("up/once", upstream.url, tries=1)
    config += "".join(version(f"up/{number}", upstream.url) for number in range(6))
    with serving(tmp_path_factory.mktemp("front"), config) as server:
        yield server


@pytest.fixture(autouse=True)
def _usual(upstream):
    upstream.asked.clear()
    upstream.cue = mock.usual


def answer_of(front, upstream, *steps, **asked):
    upstream.play(*steps)
    return front.chat("up/kept", **asked)


def content_of(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def test_requests_one_behind_the_other_share_a_connection_whole_or_streamed(front, upstream):
    before = upstream.connections
    for _ in range(3):
        assert content_of(front.chat("up/kept")) == "Hello!"
        assert text_of(frames(front.chat("up/kept", stream=True))) == "Hello!"
    assert upstream.connections - before <= 1


def test_a_connection_that_was_closed_meanwhile_is_nobodys_failure(front, upstream):
    # Each is answered once and takes one request more, which it never looks at: a race that is always lost.
    took = []
    for _ in range(5):
        begun = time.monotonic()
        assert content_of(answer_of(front, upstream, *plain(said()), HOLD)) == "Hello!"
        took.append(time.monotonic() - begun)
        assert len(upstream.asked) == 1
    assert min(took[1:]) < PAUSE_S, "it is tried again at once"


def test_where_a_request_may_be_sent_once_it_is_sent_once(front, upstream):
    upstream.play(*plain(said()), HOLD)
    assert content_of(front.chat("up/once")) == "Hello!"
    answer = front.chat("up/once")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_failed")
    assert len(upstream.asked) == 1


def test_an_answer_without_a_length_ends_with_its_connection(front, upstream):
    for kind in ("application/json", "text/plain"):
        steps = [f"{head(kind=kind)}\r\n\r\n".encode(), BODY[:20], 0.05, BODY[20:], CLOSE]
        assert content_of(answer_of(front, upstream, *steps)) == "Hello!"
    events = [event(one) for one in (delta("Hello"), delta("!", finish="stop"))]
    steps = [f"{head(kind='text/event-stream')}\r\n\r\n".encode(), *events, mock.DONE, CLOSE]
    assert text_of(frames(answer_of(front, upstream, *steps, stream=True))) == "Hello!"


def test_an_answer_that_is_shorter_than_its_length_is_none(front, upstream):
    steps = [f"{head()}\r\ncontent-length: {len(BODY) + 1}\r\n\r\n".encode(), BODY, CLOSE]
    answer = answer_of(front, upstream, *steps)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_failed")


def test_a_head_that_only_announces_another_is_skipped(front, upstream):
    for interim in (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"):
        assert content_of(answer_of(front, upstream, interim, 0.05, *plain(said()))) == "Hello!"
    events = stream(delta("Hello!", finish="stop"))
    assert text_of(frames(answer_of(front, upstream, b"HTTP/1.1 102 P\r\n\r\n", *events, stream=True))) == "Hello!"


def test_chunks_with_extensions_and_a_trailer_are_read(front, upstream):
    first, second = BODY[:30], BODY[30:]
    chunked = b"%x;a=b\r\n%s\r\n%x\r\n%s\r\n0\r\nx-trailer: 1\r\n\r\n" % (len(first), first, len(second), second)
    opening = f"{head()}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    assert content_of(answer_of(front, upstream, opening + chunked)) == "Hello!"
    assert content_of(answer_of(front, upstream, opening, *[bytes([one]) for one in chunked])) == "Hello!"


def test_framing_of_any_length_is_read_past(front, upstream):
    chunked = b"%x;a=%s\r\n%s\r\n0\r\n\r\n" % (len(BODY), b"b" * 1_000_000, BODY)
    opening = f"{head()}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    assert content_of(answer_of(front, upstream, opening, 0.05, chunked)) == "Hello!"


@pytest.mark.parametrize(
    ("number", "opening"),
    [
        (0, b"SSH-2.0-OpenSSH_9.2\r\n"),
        (1, b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        (2, b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000),
        (3, b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000 + b"\r\n"),
        (4, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
        (5, b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nPRI"),
    ],
    ids=["another protocol", "two lengths", "a long header", "many headers", "a broken chunk", "an upgrade"],
)
def test_what_is_no_http_is_no_answer(front, upstream, number, opening):
    upstream.play(opening, HOLD)
    answer = front.chat(f"up/{number}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_failed")
    until(lambda: upstream.asked[-1].was_left)
    assert "Traceback" not in front.log.read_text()


def test_an_answer_nobody_asked_for_is_not_given_to_the_next_request(front, upstream):
    stray = plain(said("Stray."))[0]
    assert content_of(answer_of(front, upstream, plain(said())[0] + stray)) == "Hello!"
    upstream.cue = mock.usual
    assert content_of(front.chat("up/kept")) == "Hello!"


def test_an_answer_that_says_it_closes_is_the_last_on_its_connection(front, upstream):
    content_of(answer_of(front, upstream, *plain(said(), connection="close")))
    before = upstream.connections
    upstream.cue = mock.usual
    content_of(front.chat("up/kept"))
    assert upstream.connections == before + 1


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes its certificate; CI has it")
def test_a_server_behind_tls_is_asked_only_where_its_certificate_is_trusted(tmp_path):
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*made.split(), *names], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    upstream = MockUpstream(context)
    try:
        config = version("up/tls", f"https://localhost:{upstream.port}/v1", tries=1)
        config += version("up/name", f"https://127.0.0.1:{upstream.port}/v1", tries=1)
        with serving(tmp_path / "trusts", config, SSL_CERT_FILE=str(tmp_path / "cert.pem")) as server:
            assert content_of(server.chat("up/tls")) == "Hello!"
            assert text_of(frames(server.chat("up/tls", stream=True))) == "Hello!"
            assert server.chat("up/name").status_code == 503
        upstream.asked.clear()
        with serving(tmp_path / "strange", config) as server:
            assert server.chat("up/tls").status_code == 503
        assert not upstream.asked
    finally:
        upstream.close()
