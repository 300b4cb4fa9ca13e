"""The two forms an answer takes. Both read one stream of events; nothing else knows which one it is."""

from collections.abc import Sequence
from typing import ClassVar, Protocol

from uvicorn._types import ASGISendCallable

from antiphon.api import answer
from antiphon.api.answer import Header
from antiphon.api.sources import Source
from antiphon.domain.chat import ChatRequest
from antiphon.domain.errors import AntiphonError
from antiphon.domain.events import Batch
from antiphon.wire import sse
from antiphon.wire.chunks import ChunkWriter
from antiphon.wire.openai import Form, ReplyHead, completion_body, error_frame

STREAM_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


class Reply(Protocol):
    """One answer on its way to a client."""

    can_beat: ClassVar[bool]
    """Whether something can be sent before all is known."""

    async def take(self, batch: Batch) -> None:
        """Take the next events."""

    async def done(self, source: Source) -> None:
        """Everything is said and recorded."""

    async def fail(self, error: AntiphonError) -> None:
        """It went wrong; with its true status if nothing was sent yet."""

    async def keep_alive(self) -> None:
        """Nothing was said for a while."""


class WholeReply:
    """One JSON body, when all is known."""

    can_beat: ClassVar[bool] = False

    def __init__(
        self, send: ASGISendCallable, request: ChatRequest, head: ReplyHead, headers: Sequence[Header]
    ) -> None:
        self._send, self._head, self._headers = send, head, headers
        self._form = Form.of(request)

    async def take(self, batch: Batch) -> None:
        """Wait for the end."""

    async def done(self, source: Source) -> None:
        """Send it all."""
        body = source.body or completion_body(self._head, source.completion, self._form)
        await answer.json(self._send, 200, body, self._headers)

    async def fail(self, error: AntiphonError) -> None:
        """Send the error."""
        await answer.error(self._send, error, self._headers)

    async def keep_alive(self) -> None:
        """Nothing may be sent before the status is known."""


class EventReply:
    """Server-sent events, as they come. The first event, `Accepted`, commits the status."""

    can_beat: ClassVar[bool] = True

    def __init__(
        self, send: ASGISendCallable, request: ChatRequest, head: ReplyHead, headers: Sequence[Header]
    ) -> None:
        self._send, self._headers = send, headers
        self._started = False
        self._chunks = ChunkWriter(head, Form.of(request), request.sampling.n)

    async def take(self, batch: Batch) -> None:
        """Send their frames at once, and together."""
        if not self._started:
            self._started = True
            await answer.start(self._send, 200, [*STREAM_HEADERS, *self._headers])
        if frames := b"".join(map(self._chunks.event, batch)):
            await answer.body(self._send, frames, more=True)

    async def done(self, source: Source) -> None:
        """Send the end of the stream."""
        await answer.body(self._send, self._chunks.done(source.usage))

    async def fail(self, error: AntiphonError) -> None:
        """Send the error: as an answer while there is none, else as the stream's last frame, without [DONE]."""
        if self._started:
            await answer.body(self._send, error_frame(error))
        else:
            await answer.error(self._send, error, self._headers)

    async def keep_alive(self) -> None:
        """Send a comment, which every reader skips."""
        if self._started:
            await answer.body(self._send, sse.comment("keep-alive"), more=True)
