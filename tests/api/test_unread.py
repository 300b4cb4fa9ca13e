"""Clients that leave the end of an answer unread: however little it is, their connections do not stay."""

import asyncio
import socket

import pytest
from uvicorn.server import ServerState

from antiphon.api import protocol, unread
from antiphon.api.idle import Idle
from antiphon.api.protocol import Protocol

SOON_S = 0.2
WAIT_S = 3.0
FEW_BYTES = 16_384
"""At so many left a writer need not wait any more."""


def request(*headers):
    return "\r\n".join(["GET / HTTP/1.1", "Host: localhost", *headers]).encode() + b"\r\n\r\n"


class Door:
    """A server that gives a client more than the system takes."""

    def __init__(self, *, is_much):
        """`is_much`: whether so much more that a writer would have to wait."""
        self.state, self.idle, self.is_much = ServerState(), Idle(1), is_much
        self.left = None
        """Gives how much of an answer is left, once it is made."""

    def protocol(self):
        return Protocol(self.answer, self.idle, self.state, asyncio.get_running_loop())

    async def answer(self, exchange):
        exchange.begin()
        exchange.start(200, [], b"")
        # The system takes more in large steps, but for a small buffer of its own.
        exchange.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        left = exchange.transport.get_write_buffer_size
        while not (exchange.flow.write_paused if self.is_much else left()):
            exchange.write(b"x" * 20_000)
        assert exchange.flow.write_paused == self.is_much
        exchange.end(b"")
        self.left = left

    async def until(self, is_so):
        end = asyncio.get_running_loop().time() + WAIT_S
        while not is_so() and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.01)
        return is_so()


async def is_cut(sent, behind=b"", *, is_much=False, is_crowded=False):
    """Whether a client that reads nothing more loses its connection."""
    loop, door = asyncio.get_running_loop(), Door(is_much=is_much)
    server = await loop.create_server(door.protocol, "127.0.0.1", 0)
    place = server.sockets[0].getsockname()
    with socket.socket() as link, socket.socket() as other:
        link.setblocking(False)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.sock_connect(link, place)
        await loop.sock_sendall(link, sent)
        assert await door.until(lambda: door.left)
        await loop.sock_sendall(link, behind)
        while is_much and door.left() > FEW_BYTES:
            assert await loop.sock_recv(link, 4096)
        assert door.left()
        if is_crowded:
            other.setblocking(False)
            await loop.sock_connect(other, place)
            assert await door.until(lambda: len(door.state.connections) == 2)
        cut = await door.until(lambda: len(door.state.connections) == is_crowded)
    server.close()
    return cut


@pytest.mark.parametrize(
    ("sent", "more", "kept_s"),
    [
        (request("Connection: close"), {}, 60),
        (request("Connection: close"), {"is_much": True}, 60),
        (request(), {}, SOON_S),
        (request(), {"is_crowded": True}, 60),
        (request(), {"behind": b"no HTTP\r\n\r\n"}, 60),
    ],
    ids=["closed", "closed, and much of it was read", "kept", "makes room", "broken"],
)
def test_a_connection_whose_last_bytes_nobody_reads_does_not_stay(monkeypatch, sent, more, kept_s):
    monkeypatch.setattr(unread, "WRITE_S", SOON_S)
    monkeypatch.setattr(protocol, "KEEP_ALIVE_S", kept_s)
    assert asyncio.run(is_cut(sent, **more))
