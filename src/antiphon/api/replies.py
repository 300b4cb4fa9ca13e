"""The two forms an answer takes. Both read one stream of events; nothing else knows which one it is."""

import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Protocol

from antiphon.api.answer import JSON, error_headers
from antiphon.api.exchange import Exchange
from antiphon.api.heads import Header
from antiphon.api.sources import Source
from antiphon.domain.chat import ChatRequest
from antiphon.domain.errors import AntiphonError, Draining
from antiphon.domain.events import Batch
from antiphon.wire import sse
from antiphon.wire.chunks import ChunkWriter
from antiphon.wire.openai import Form, ReplyHead, completion_body, error_body, error_frame

STREAM_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)

_OK = HTTPStatus.OK.value  # read once: a member of an enum is found by a function in Python 3.11


class Reply(Protocol):
    """One answer on its way to a client."""

    async def take(self, batch: Batch) -> None:
        """Take the next events."""

    def done(self, source: Source) -> None:
        """Everything is said and recorded."""

    def fail(self, error: AntiphonError) -> None:
        """It went wrong; with its true status if nothing was sent yet."""


class WholeReply:
    """One JSON body, when all is known."""

    def __init__(self, exchange: Exchange, request: ChatRequest, head: ReplyHead, headers: Sequence[Header]) -> None:
        self._exchange, self._request, self._head, self._headers = exchange, request, head, headers

    async def take(self, batch: Batch) -> None:
        """Wait for the end."""

    def done(self, source: Source) -> None:
        """Send it all."""
        body = source.body or completion_body(self._head, source.completion, Form.of(self._request))
        self._exchange.whole(_OK, [JSON, *self._headers], body)

    def fail(self, error: AntiphonError) -> None:
        """Send the error."""
        refuse(self._exchange, error, self._headers)


class EventReply:
    """Server-sent events, as they come. The first event, `Accepted`, commits the status."""

    def __init__(self, exchange: Exchange, request: ChatRequest, head: ReplyHead, headers: Sequence[Header]) -> None:
        self._exchange, self._headers = exchange, headers
        self._has_begun = False
        self.said_at = time.monotonic()
        """When something was said last."""
        self._chunks = ChunkWriter(head, Form.of(request), request.sampling.n)

    async def take(self, batch: Batch) -> None:
        """Send their frames at once, and together; wait while the client has much to read."""
        self.said_at = time.monotonic()
        frames = self._chunks.events(batch)
        if not self._has_begun:
            self._has_begun = True
            self._exchange.start(_OK, [*STREAM_HEADERS, *self._headers], frames)
        elif frames:
            self._exchange.write(frames)
        if self._exchange.flow.write_paused:
            await self._exchange.drained()

    def done(self, source: Source) -> None:
        """Send the end of the stream."""
        self._exchange.end(self._chunks.done(source.usage))

    def fail(self, error: AntiphonError) -> None:
        """Send the error: as an answer while there is none, else as the stream's last frame, without [DONE]."""
        if self._has_begun:
            self._exchange.end(error_frame(error))
        else:
            refuse(self._exchange, error, self._headers)

    def keep_alive(self) -> None:
        """Send a comment, which every reader skips."""
        self.said_at = time.monotonic()
        if self._has_begun:
            self._exchange.write(sse.comment("keep-alive"))


def refuse(exchange: Exchange, error: AntiphonError, headers: Sequence[Header] = ()) -> None:
    """Send an error as the whole answer."""
    if isinstance(error, Draining):
        exchange.keep_alive = False
    exchange.whole(error.status, [JSON, *error_headers(error), *headers], error_body(error))
