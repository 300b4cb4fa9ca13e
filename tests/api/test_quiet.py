"""What a connection hears while nothing happens on it."""

import itertools
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import serving

PAUSE_S = 24
LATE_S = 4
"""What a busy machine may add."""
CONFIG = f"""
[models."test/pauses"]
slots = 4
[[models."test/pauses".versions]]
number = 1
engine = "scripted"
script = {{ tokens = ["Hello", " again"], token_s = {PAUSE_S}.0 }}
"""
HELLO = {"messages": [{"role": "user", "content": "Hi"}]}

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]


def heard(server, request):
    """Everything that comes after a request until the server closes, and after how many seconds each piece came."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as link:
        link.sendall(request)
        begun = time.monotonic()
        pieces = []
        while data := link.recv(65_536):
            pieces.append((time.monotonic() - begun, data))
        return [*pieces, (time.monotonic() - begun, b"")]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """What three connections heard at the same time: a chat's stream, a prediction's, and one that was left open."""
    with serving(tmp_path_factory.mktemp("quiet"), CONFIG) as server, ThreadPoolExecutor() as pool:
        chat = {"model": "test/pauses", "stream": True} | HELLO
        made = {"model": "test/pauses", "input": HELLO, "stream": True}
        requests = {
            "chat": server.request_bytes(chat, "Connection: close"),
            "prediction": server.request_bytes(made, "Prefer: wait", "Connection: close", path="/v1/predictions"),
            "open": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        }
        listening = {name: pool.submit(heard, server, request) for name, request in requests.items()}
        yield {name: each.result() for name, each in listening.items()}


@pytest.mark.parametrize("stream", ["chat", "prediction"])
def test_a_stream_that_has_nothing_to_say_for_fifteen_seconds_says_a_comment(quiet, stream):
    times = [at for at, _ in quiet[stream]]
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 16 + LATE_S
    assert any(re.search(rb"(^|\n):", data) for _, data in quiet[stream])


@pytest.mark.parametrize("stream", ["chat", "prediction"])
def test_a_silent_stream_ends_as_any_other(quiet, stream):
    text = b"".join(data for _, data in quiet[stream])
    assert text.index(b"Hello") < text.index(b" again") < text.rindex(b"[DONE]" if stream == "chat" else b"event: done")


def test_a_connection_on_which_nothing_is_asked_is_closed_after_75_seconds_and_not_before(quiet):
    *_, (at, _) = quiet["open"]
    assert 74 < at < 75 + LATE_S
