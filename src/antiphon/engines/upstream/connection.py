"""One HTTP/1.1 connection to an upstream: a request goes out, its answer is read as it comes. httptools parses it."""

import asyncio  # noqa: TID251 - a connection is an asyncio protocol
from collections.abc import Callable

import httptools

HEAD_BYTES = 65_536
"""The largest head of an answer."""
AHEAD_BYTES = 262_144
"""How much may have come that nobody has read yet, before no more is taken from the socket."""


class BrokeOff(Exception):
    """The connection ended before its answer did, or what came is no HTTP."""


class Silent(Exception):
    """Nothing came for longer than is waited."""


class Connection(asyncio.Protocol):
    """One connection, and the answer that is being read from it."""

    def __init__(self, silence_s: float | None, on_lost: Callable[["Connection"], None]) -> None:
        """Be made by a loop's `create_connection`.

        Args:
            silence_s: how long it is waited for anything; None: for ever.
            on_lost: is told when it is closed.
        """
        self._silence_s, self._on_lost = silence_s, on_lost
        self._loop = asyncio.get_running_loop()
        self._chunks: list[bytes] = []
        self.on_body = self._chunks.append
        """Takes a part of the body, for the parser: a stream has one for each of its events."""
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._waits_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        """Looks at how long it is waited. It outlives a wait: a timer for each costs more than all else of an event."""
        self._error: Exception | None = None
        self._keeps_alive = self._is_lost = False
        self.uses = 0
        """How many requests were sent on it."""
        self.idle_since = 0.0
        self._begin()

    def _begin(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        """By their names in lower case; of several with one name, the last."""
        self._chunks.clear()
        self._unread = self._head_bytes = 0
        self._has_head = self._is_whole = self._is_paused = False
        self.has_heard = False
        """Whether anything of an answer came."""

    # -- for whoever asks

    def send(self, request: bytes) -> None:
        """Send a request, head and body; the one before it must have been answered to its end."""
        self._begin()
        self.uses += 1
        self._transport.write(request)

    async def head(self) -> int:
        """Wait for the head of the answer, and give its status.

        Raises:
            BrokeOff, Silent: there is none.
        """
        while not self._has_head:
            await self._wait()
        return self.status

    async def more(self) -> bytes:
        """Give what has come of the body, once anything has; nothing at its end.

        Raises:
            BrokeOff, Silent: it has no end.
        """
        while not self._chunks:
            if self._is_whole:
                return b""
            await self._wait()
        chunks = b"".join(self._chunks)
        self._chunks.clear()
        self._unread = 0
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        return chunks

    @property
    def is_at_end(self) -> bool:
        """Whether all of the answer came and was read."""
        return self._is_whole and not self._chunks

    @property
    def is_free(self) -> bool:
        """Whether another request can be sent on it."""
        return self.is_at_end and self._keeps_alive and not self._is_lost and not self._transport.is_closing()

    def close(self) -> None:
        """Close it at once: that is how its server learns that nobody waits any more."""
        self._transport.abort()

    # -- waiting

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        self._waits_since = self._loop.time()
        if self._silence_s is not None and self._timer is None:
            self._timer = self._loop.call_later(self._silence_s, self._look, self._silence_s)
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._error is not None and not self._chunks:
            raise self._error

    def _look(self, silence_s: float) -> None:
        """Give up a wait that is as long as it may be; look at a younger one again when it is."""
        self._timer = None
        if self._waiter is None:
            return
        left_s = self._waits_since + silence_s - self._loop.time()
        if left_s <= 0:
            self._fail(Silent())
        else:
            self._timer = self._loop.call_later(left_s, self._look, silence_s)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._wake()

    # -- from the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Have a transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self.has_heard = True
        self._unread += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):  # the second is not one of the first
            self._spoil()
        if not self._has_head and self._unread > HEAD_BYTES:
            self._spoil()  # one header without an end
        # Whoever reads what is there resumes it: without any, as in a long trailer, nobody would.
        if self._chunks and self._unread > AHEAD_BYTES and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        if self._has_head or self._error:
            self._wake()

    def eof_received(self) -> None:
        """Take the end: of an answer that says no length it is its own."""
        is_measured = b"content-length" in self.headers or b"transfer-encoding" in self.headers
        if self._has_head and not is_measured:
            self._is_whole = True
            self._wake()

    def connection_lost(self, _: Exception | None) -> None:
        """Be closed."""
        self._is_lost = True
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_whole:
            self._fail(BrokeOff())
        self._on_lost(self)

    def _spoil(self) -> None:
        """Believe nothing more of it; what was an answer to its end stays one."""
        self._keeps_alive = False
        if not self._is_whole:
            self._fail(BrokeOff())
        self._transport.abort()

    # -- from the parser

    def on_message_begin(self) -> None:
        """Begin an answer; one that nobody asked for spoils the connection."""
        if self._is_whole or not self.uses:
            raise BrokeOff

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; what comes behind the body is not read."""
        if not self._has_head:
            self._head_bytes += len(name) + len(value) + len(": \r\n")
            if self._head_bytes > HEAD_BYTES:
                raise BrokeOff
            self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Have the head, unless it is one that only announces another."""
        status = self._parser.get_status_code()
        if status < 200:  # noqa: PLR2004 - 1xx: an interim response
            self.headers.clear()
        else:
            self.status, self._has_head = status, True

    def on_message_complete(self) -> None:
        """Have it all."""
        if self._has_head:
            self._is_whole = True
            self._keeps_alive = self._parser.should_keep_alive()
