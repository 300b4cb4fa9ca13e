"""Plain HTTP requests in a loop, cheap enough to share two cores with the server they drive."""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

import uvloop

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Loaded:
    """What one run gave."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failed: int
    count: int
    """How many were answered."""


class Link:
    """One connection that is kept open: a request, then its answer, then the next."""

    def __init__(self, port: int, key: str, headers: Mapping[str, str] = NO_HEADERS) -> None:
        self._port = port
        self._head = f"Host: localhost\r\nAuthorization: Bearer {key}\r\n"
        self._head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    def request(self, path: str, body: dict | None = None) -> bytes:
        """Give the bytes of a request: a GET, or a POST of a body."""
        if body is None:
            return f"GET {path} HTTP/1.1\r\n{self._head}\r\n".encode()
        raw = json.dumps(body).encode()
        about = f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n"
        return f"POST {path} HTTP/1.1\r\n{self._head}{about}\r\n".encode() + raw

    async def send(self, request: bytes) -> tuple[int, bytes, float]:
        """Give the status, the body and the seconds it took; a body in chunks is given as it came."""
        await self._dial()
        begun = time.perf_counter()
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        _, is_whole, length = head.lower().partition(b"content-length: ")
        if is_whole:
            body = await self._reader.readexactly(int(length.split(b"\r\n")[0]))
        else:
            body = await self._reader.readuntil(b"\r\n0\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body, time.perf_counter() - begun

    async def begin(self, request: bytes) -> bytes:
        """Send a request for a stream; give its head and its first event."""
        await self._dial()
        self._writer.write(request)
        return await self._reader.readuntil(b"\n\n")

    async def rest(self) -> bytes:
        """Give the rest of a stream that was begun, as it came."""
        return await self._reader.readuntil(b"\r\n0\r\n\r\n")

    async def _dial(self) -> None:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    def close(self) -> None:
        """Hang up."""
        if self._writer:
            self._writer.close()


def drive(
    port: int, key: str, body: dict, connections: int, seconds: float, *, headers: Mapping[str, str] = NO_HEADERS
) -> Loaded:
    """Keep `connections` requests under way for `seconds`."""
    return uvloop.run(_drive([Link(port, key, headers) for _ in range(connections)], body, seconds))


async def _drive(links: list[Link], body: dict, seconds: float) -> Loaded:
    took: list[float] = []
    failed = 0
    begun = time.perf_counter()

    async def one(link: Link) -> None:
        nonlocal failed
        request = link.request("/v1/chat/completions", body)
        while time.perf_counter() < begun + seconds:
            status, _, took_s = await link.send(request)
            took.append(took_s)
            failed += status != 200
        link.close()

    await asyncio.gather(*map(one, links))
    # Until the last was answered: of a server that takes longer than `seconds` for each, all end after them.
    took_s = time.perf_counter() - begun
    return Loaded(len(took) / took_s, *quantiles_ms(took), failed, len(took))


class Steady:
    """New requests at a steady pace, whether or not earlier ones were answered, for the body of an `async with`."""

    def __init__(self, port: int, key: str, body: dict, per_s: float) -> None:
        self._port, self._key, self._body, self._per_s = port, key, body, per_s
        self.took: list[float] = []
        """Seconds from when each was due, so that one that had to wait for the sender counts as slow."""
        self.failed = 0
        self._idle: list[Link] = []
        self._sent: set[asyncio.Task] = set()

    async def __aenter__(self) -> Self:
        self._pacer = asyncio.create_task(self._pace())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pacer.cancel()
        await asyncio.gather(*self._sent)
        for link in self._idle:
            link.close()

    async def _pace(self) -> None:
        due = time.perf_counter()
        while True:
            task = asyncio.create_task(self._one(due))
            self._sent.add(task)
            task.add_done_callback(self._sent.discard)
            due += 1 / self._per_s
            await asyncio.sleep(due - time.perf_counter())

    async def _one(self, due: float) -> None:
        link = self._idle.pop() if self._idle else Link(self._port, self._key)
        status, _, _ = await link.send(link.request("/v1/chat/completions", self._body))
        self.took.append(time.perf_counter() - due)
        self.failed += status != 200
        self._idle.append(link)


def quantiles_ms(took_s: Iterable[float]) -> tuple[float, float]:
    """Give the p50 and p99 in milliseconds, by their nearest rank."""
    ordered = sorted(took_s)
    return 1000 * ordered[len(ordered) // 2], 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
