"""One request on a connection and its answer: uvicorn's, which any ASGI application can use, and a shorter way of ours.

An application sends an answer by two awaits, and uvicorn looks at each header with two regular expressions. What
answers chat requests knows what it sends: it writes an answer, or the next part of one, with one call that never waits.
"""

import asyncio  # noqa: TID251 - uvicorn's are of asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from uvicorn._types import ASGISendEvent, HTTPScope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from antiphon.api.heads import Header
from antiphon.domain.errors import AntiphonError
from antiphon.domain.ids import new_id
from antiphon.wire.openai import error_body

KEY = "exchange"
"""Under this name it stands in a scope's state."""
_NO_LOG = logging.getLogger(__name__)
"""uvicorn's own, which says nothing that our log does not."""
_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_BAD_REQUEST = HTTPStatus.BAD_REQUEST.value
_CHUNKED = b"transfer-encoding: chunked\r\n"
_CLOSE = b"connection: close\r\n"
_END = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Connection:
    """What an exchange has of the connection that it is on."""

    transport: asyncio.Transport
    flow: FlowControl
    server: ServerState
    answered: Callable[[], None]
    """Called when an answer is complete."""


class Exchange(RequestResponseCycle):
    """One request and its answer."""

    status: int | None = None
    """Of its answer, once that has begun."""
    own_headers: Sequence[Header] = ()
    """What a success says beside its own: how much of a limit is left."""
    _when_left: Callable[[], None] | None = None

    def __init__(
        self, scope: HTTPScope, headers: Mapping[bytes, bytes], connection: Connection, *, keep_alive: bool
    ) -> None:
        """Take a request whose head has come.

        Args:
            scope: it, as ASGI has it.
            headers: its headers, the first of each name.
            connection: where it came from.
            keep_alive: whether the connection may be used again.
        """
        super().__init__(
            scope=scope,
            transport=connection.transport,
            flow=connection.flow,
            logger=_NO_LOG,
            access_logger=_NO_LOG,
            access_log=False,
            default_headers=connection.server.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=headers.get(b"expect", b"").lower() == b"100-continue",
            keep_alive=keep_alive,
            on_response=connection.answered,
        )
        self.headers = headers
        scope["state"][KEY] = self

    def begin(self) -> None:
        """Give it an id, and see the time: its turn has come."""
        self.request_id = new_id()
        self.id_text = str(self.request_id)
        self.begun = time.perf_counter()
        """In seconds."""

    def settle(self) -> None:
        """Let it go; whatever was not answered to its end cannot be any more."""
        if not self.response_complete and not self.disconnected:
            self.transport.close()
        self.scope["state"].clear()  # It holds this, as this does it.
        self.body.clear()  # A connection that waits for the next request holds this, and so what nobody read.

    # -- the body

    def take(self, data: bytes) -> int:
        """Take a piece of its body; give how many bytes wait to be read."""
        if self.response_complete:
            return 0  # Nobody reads any more: were it waited for, its sender would hang until it is cut.
        self.body += data
        self.message_event.set()
        return len(self.body)

    def take_end(self) -> None:
        """Take note that the body has come to its end."""
        if not self.response_complete:
            self.more_body = False
            self.message_event.set()

    def whole_body(self) -> bytes | None:
        """Give its body, if all of it has come and nothing was read of it: what `receive` gives in pieces else."""
        if self.more_body or self.disconnected or not self.message_event.is_set():
            return None
        self.message_event.clear()
        body, self.body = bytes(self.body), bytearray()
        return body

    # -- the answer

    async def send(self, message: ASGISendEvent) -> None:
        """Send a part of an answer, as ASGI has it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._common()]
        await super().send(message)

    def whole(self, status: int, headers: Sequence[Header], data: bytes) -> None:
        """Send an answer. Headers are trusted: no byte of theirs is a client's that was not looked at."""
        if self._begins(status):
            head = self._head(status, [*headers, (b"content-length", b"%d" % len(data))])
            self.transport.write(head + b"\r\n" + data)
            self._complete()

    def start(self, status: int, headers: Sequence[Header], data: bytes) -> None:
        """Send an answer's status and headers and the first part of its body; the length of all is not known yet."""
        if self._begins(status):
            # RFC 9112, 6.1: HTTP/1.0 knows no chunks; there the connection's end is the answer's.
            self.chunked_encoding = self.scope["http_version"] != "1.0"
            framing = _CHUNKED if self.chunked_encoding else b""
            self.transport.write(b"".join((self._head(status, headers), framing, b"\r\n", self._part(data))))

    def write(self, data: bytes) -> None:
        """Send more of its body."""
        if not self.disconnected:
            self.transport.write(self._part(data))

    def end(self, data: bytes) -> None:
        """Send the rest of its body."""
        if not self.disconnected:
            self.transport.write(self._part(data) + (_END if self.chunked_encoding else b""))
            self._complete()

    async def drained(self) -> None:
        """Wait until the client has read so much that more may be sent."""
        if not self.disconnected:
            await self.flow.drain()

    def _begins(self, status: int) -> bool:
        """Begin an answer; False when nobody is there to hear it."""
        if self.status is not None:
            raise RuntimeError("an answer begins once")
        self.status = status
        self.response_started = not self.disconnected
        self.waiting_for_100_continue = False
        return self.response_started

    def _common(self) -> list[Header]:
        """What every answer says."""
        took = b"%d" % ((time.perf_counter() - self.begun) * 1000)
        said = [(b"x-request-id", self.id_text.encode()), (b"openai-processing-ms", took)]
        # Refusals say by themselves what is left.
        return [*said, *self.own_headers] if self.status and self.status < _BAD_REQUEST else said

    def _head(self, status: int, headers: Sequence[Header]) -> bytes:
        lines = [b"%b: %b\r\n" % header for header in (*headers, *self._common())]
        if not self.keep_alive:
            lines.append(_CLOSE)
        return _LINES[status] + b"".join(lines)

    def _part(self, data: bytes) -> bytes:
        """A part of a body whose length is not known, as it stands on the wire."""
        return b"%x\r\n%b\r\n" % (len(data), data) if data and self.chunked_encoding else data

    def _complete(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    # -- the client

    def disconnect(self) -> None:
        """The client has gone; told by whoever holds the connection."""
        if self.disconnected:
            return
        self.disconnected = True
        self.message_event.set()
        if self._when_left:
            self._when_left()

    def watch(self, action: Callable[[], None]) -> None:
        """Do something when the client goes; at once if it has."""
        self._when_left = action
        if self.disconnected:
            action()

    def forget(self) -> None:
        """Do nothing then."""
        self._when_left = None


def refused(error: AntiphonError) -> bytes:
    """Give the whole answer to what is no request: an error, after which the connection is closed."""
    body, status = error_body(error), HTTPStatus(error.status)
    about = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    about += f"x-request-id: {new_id()}\r\nopenai-processing-ms: 0\r\n"
    return b"%b%b%b\r\n%b" % (_LINES[status], about.encode(), _CLOSE, body)


def exchange_of(scope: HTTPScope) -> Exchange:
    """Give the exchange of a request."""
    found: Exchange = scope["state"][KEY]
    return found


Endpoint = Callable[[Exchange], Coroutine[Any, Any, None]]
"""Answers requests."""
