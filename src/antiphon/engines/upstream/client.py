"""HTTP/1.1 to the servers behind a version: connections that are kept, and an answer that is read as it comes.

It is our own because every request passes it: docs/decisions/0009-upstreams.md has what aiohttp cost in its place. What
it leaves out are redirects, cookies, proxies and packed answers: nobody wants an upstream's.
"""

import asyncio  # noqa: TID251 - dialling is asyncio's
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from urllib.parse import urlsplit

import anyio

from antiphon.engines.upstream.connection import BrokeOff, Connection

KEPT_S = 4.0
"""How long a connection is kept: less than the 5 s after which uvicorn, which most servers run on, closes one."""
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Unreachable(Exception):
    """No connection could be made."""


class Stale(BrokeOff):
    """A connection that was kept had been closed meanwhile: nothing of the request was looked at."""


class Resource:
    """A URL, taken apart once."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """Take a URL, http or https, and what each request to it carries."""
        parts = urlsplit(url)
        self.host = (parts.hostname or "").encode("idna").decode()
        self.is_tls = parts.scheme == "https"
        self.port = parts.port or (443 if self.is_tls else 80)
        named = f"[{self.host}]" if ":" in self.host else self.host
        self.place = named if parts.port is None else f"{named}:{parts.port}"
        self._head = f" {parts.path} HTTP/1.1\r\nhost: {self.place}\r\n".encode("latin-1") + _lines(headers)

    def get(self) -> bytes:
        """Give a request for it."""
        return b"GET%b\r\n" % self._head

    def post(self, body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> bytes:
        """Give a request that sends it JSON, with headers of its own."""
        about = b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
        own = _lines(headers) if headers else b""
        return b"POST%b%b%b\r\n%b" % (self._head, own, about, body)


def _lines(headers: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")


class Client:
    """Asks servers, and keeps the connections to them."""

    def __init__(self, connect_s: float, silence_s: float | None) -> None:
        """Dial nobody yet.

        Args:
            connect_s: how long connecting may take.
            silence_s: how long a server may say nothing; None: for ever.
        """
        self._connect_s, self._silence_s = connect_s, silence_s
        self._idle: dict[tuple[str, int, bool], list[Connection]] = {}
        """Of each server, that which was used last at the end."""
        self._open: set[Connection] = set()
        self._tls: ssl.SSLContext | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def ask(self, resource: Resource, request: bytes) -> Connection:
        """Send a request; give its connection once the answer's head is there. Whoever has it gives it back.

        Raises:
            Unreachable: it could not be sent.
            BrokeOff, Silent: it was, and there is no answer.
        """
        connection = self._kept(resource) or await self._dial(resource)
        try:
            connection.send(request)
            await connection.head()
        except BaseException as error:
            connection.close()
            if isinstance(error, BrokeOff) and connection.uses > 1 and not connection.has_heard:
                self._forget(resource)
                raise Stale from None
            raise
        return connection

    def give_back(self, resource: Resource, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end; close another."""
        if not connection.is_free:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.setdefault((resource.host, resource.port, resource.is_tls), []).append(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(KEPT_S, self._sweep)

    def close(self) -> None:
        """Close every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._open):
            connection.close()

    def _kept(self, resource: Resource) -> Connection | None:
        idle = self._idle.get((resource.host, resource.port, resource.is_tls))
        while idle:
            connection = idle.pop()
            if connection.is_free and asyncio.get_running_loop().time() - connection.idle_since < KEPT_S:
                return connection
            connection.close()
        return None

    def _forget(self, resource: Resource) -> None:
        """Close what is kept of a server that has closed one of them: the others are as old."""
        for connection in self._idle.pop((resource.host, resource.port, resource.is_tls), ()):
            connection.close()

    async def _dial(self, resource: Resource) -> Connection:
        loop = asyncio.get_running_loop()
        if resource.is_tls and self._tls is None:
            self._tls = await anyio.to_thread.run_sync(ssl.create_default_context)
        try:
            with anyio.fail_after(self._connect_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._silence_s, self._open.discard),
                    resource.host,
                    resource.port,
                    ssl=self._tls if resource.is_tls else None,
                )
        except (OSError, ValueError):  # OSError includes TimeoutError and those of TLS
            raise Unreachable from None
        self._open.add(connection)
        return connection

    def _sweep(self) -> None:
        """Close what nobody used for a while."""
        loop = asyncio.get_running_loop()
        now, self._sweeper = loop.time(), None
        for idle in self._idle.values():
            for connection in [one for one in idle if not one.is_free or now - one.idle_since >= KEPT_S]:
                idle.remove(connection)
                connection.close()
        if any(self._idle.values()):
            self._sweeper = loop.call_later(KEPT_S / 4, self._sweep)


@asynccontextmanager
async def open_client(connect_s: float, silence_s: float | None) -> AsyncGenerator[Client]:
    """Have a client for the body."""
    client = Client(connect_s, silence_s)
    try:
        yield client
    finally:
        client.close()
