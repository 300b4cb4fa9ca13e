"""What the engine child makes of a message that it cannot read: no other request suffers, and nobody waits."""

import socket

import msgspec
import pytest

from antiphon.engines.llamacpp.protocol import (
    FRAME_BYTES,
    LENGTH,
    Ask,
    Ended,
    Frames,
    Said,
    Sound,
    State,
    TooLarge,
    Turn,
    frame,
)
from tests.engines.test_marks import start


@pytest.fixture
def link(house):
    (path,) = (house.home / "run").glob("*.sock")
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(10)
        link.connect(str(path))
        yield link


def framed(body):
    return LENGTH.pack(len(body)) + body


def said(link, kind):
    """The next message of a kind."""
    frames = Frames()
    while True:
        data = link.recv(65536)
        assert data, "the child has hung up"
        for body in frames.feed(data):
            for message in msgspec.msgpack.decode(body, type=Said).messages:
                if isinstance(message, kind):
                    return message


@pytest.mark.parametrize(
    "message",
    [{"type": "start", "id": b"x", "n": "many"}, {"type": "start", "id": b"x"}, {"type": "sing", "id": b"x"}],
    ids=["a wrong type", "half of it", "an unknown kind"],
)
def test_a_message_that_cannot_be_read_ends_its_own_request_only(link, message):
    link.sendall(framed(msgspec.msgpack.encode(message)))
    assert said(link, Ended) == Ended(b"x", "failed", "The engine did not understand this.")
    link.sendall(frame(Ask()))
    assert said(link, State).requests == 0


@pytest.mark.parametrize(
    "data", [framed(b"\xc1"), framed(msgspec.msgpack.encode([1])), LENGTH.pack(FRAME_BYTES + 1)], ids=range(3)
)
def test_who_says_what_is_no_message_at_all_is_hung_up_on(house, link, data):
    link.sendall(data)
    while link.recv(65536):
        pass
    assert house.engine_state().requests == 0


def test_a_message_the_child_would_not_read_is_not_sent():
    sounds = Turn("user", "", media=(Sound(0, bytes(FRAME_BYTES)),))
    with pytest.raises(TooLarge):
        frame(start(sounds, tools=""))
