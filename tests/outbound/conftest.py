"""Receivers on real sockets: one that answers as it is told, and a canary that must never be dialled."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request):
    return "asyncio", {"use_uvloop": request.param}


@dataclass
class Heard:
    """A request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes
    at: float


@dataclass
class Receiver:
    """Answers with the statuses it is given, one after the other, the last for ever."""

    port: int
    statuses: list[int]
    head: str = ""
    body: bytes = b""
    answer_s: float = 0.0
    reads: bool = True
    lingers_s: float = 0.0
    dials: int = 0
    at_once: int = 0
    most_at_once: int = 0
    heard: list[Heard] = field(default_factory=list)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def bodies(self):
        return [heard.body for heard in self.heard]

    async def serve(self, stream: SocketStream) -> None:
        self.dials += 1
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            async with stream:
                await self._answer(stream)
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
            pass
        finally:
            self.at_once -= 1

    async def _answer(self, stream):
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive()
        head, _, body = data.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while self.reads and len(body) < int(headers.get("content-length", "0")):
            body += await stream.receive()
        self.heard.append(Heard(line, headers, body, anyio.current_time()))
        await anyio.sleep(self.answer_s)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        length = "" if "content-length" in self.head else f"content-length: {len(self.body)}\r\n"
        await stream.send(f"HTTP/1.1 {status} X\r\n{self.head}{length}\r\n".encode() + self.body)
        await anyio.sleep(self.lingers_s)


@asynccontextmanager
async def receiving(*statuses: int, host: str = "127.0.0.1", **how) -> AsyncIterator[Receiver]:
    """Run a receiver for the body."""
    listener = await anyio.create_tcp_listener(local_host=host)
    receiver = Receiver(listener.extra(SocketAttribute.local_port), list(statuses) or [204], **how)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, receiver.serve)
        yield receiver
        group.cancel_scope.cancel()


@asynccontextmanager
async def canary() -> AsyncIterator[Receiver]:
    """Listen for the body on every address of this machine; count who dials."""
    async with receiving(200, host=None) as receiver:
        yield receiver


async def until(condition, wait_s=5.0):
    """Wait for a state, not for a time."""
    with anyio.fail_after(wait_s):
        while not condition():
            await anyio.sleep(0.005)
