"""The body of an upstream's answer as it arrives, to events."""

import math

import anyio

from antiphon.domain.chat import ChatRequest
from antiphon.domain.errors import AntiphonError, EngineFailed
from antiphon.domain.events import Accepted, Batch, ChoiceFinished, Event
from antiphon.engines.upstream.answer import AnswerReader
from antiphon.engines.upstream.connection import Connection
from antiphon.engines.upstream.frames import DONE, Frames
from antiphon.engines.upstream.schema import read_answer
from antiphon.engines.upstream.usage import guessed_prompt_tokens

ANSWER_BYTES = 1 << 26
"""The largest whole answer."""
CUT_S = 0.5
"""How long a server that goes on when all is said is listened to for its usage."""
END = b"\n\n"
"""What ends a last event that its server did not end."""


class EventReader:
    """Reads the events of one answer; also of a whole one where a stream was asked for."""

    def __init__(self, request: ChatRequest, connection: Connection) -> None:
        self._request, self._connection = request, connection
        is_whole = not request.stream or connection.headers.get(b"content-type", b"").startswith(b"application/json")
        self._stream = None if is_whole else _Stream(request)
        self._cut_at = math.inf
        self._error: AntiphonError | None = None
        self._is_over = False

    async def more(self) -> Batch | None:
        """Give its next events; None at its end.

        Raises:
            EngineFailed: it is no answer, or ends before its end.
            ContextTooLong, Unsupported, EngineUnavailable: it says that it refuses.
            BrokeOff, Silent: the connection broke.
        """
        if self._error:
            raise self._error
        if self._is_over:
            return None
        if self._stream is None:
            self._is_over = True
            return _whole(self._request, await _read(self._connection))
        more = await (self._connection.more() if self._cut_at == math.inf else self._last())
        return self._read(self._stream, more)

    def _read(self, stream: "_Stream", more: bytes) -> Batch:
        said: list[Event] = []
        try:
            stream.feed(more or END, said)
        except AntiphonError as error:
            self._error = error  # behind what came before it
            return said
        self._is_over = stream.is_done
        if not more and not stream.is_done:
            self._error = EngineFailed("The model's server broke off in the middle of its answer.")
        elif stream.is_over and self._cut_at == math.inf:
            self._cut_at = anyio.current_time() + CUT_S
        return said

    async def _last(self) -> bytes:
        """Wait for what comes when all is said: nothing when there is no more, its end when it is to be cut."""
        with anyio.move_on_at(self._cut_at):
            return await self._connection.more()
        return b"data: " + DONE + b"\n"


class _Stream:
    """An answer in server-sent events."""

    def __init__(self, request: ChatRequest) -> None:
        self._request, self._reader, self._frames = request, AnswerReader(request), Frames()
        self._held: list[Event] = []
        self._is_accepted = self.is_done = False

    @property
    def is_over(self) -> bool:
        """Whether all is said, and only the end is to come."""
        return self._reader.is_over

    def feed(self, more: bytes, said: list[Event]) -> None:
        """Take bytes; put down what they say, up to where they are no answer."""
        for data in self._frames.feed(more):
            if data != DONE:
                self._chunk(data, said)
            elif not self.is_done:
                self.is_done = True
                end = self._reader.finish()
                said += (*self._held, end)

    def _chunk(self, data: bytes, said: list[Event]) -> None:
        events: list[Event] = []
        self._reader.feed(read_answer(data), events)
        if not self._is_accepted:
            self._is_accepted = True
            said.append(Accepted(guessed_prompt_tokens(self._request), cached_tokens=0))
        # That all is said is told once it is sure: behind it, an answer that breaks off would look whole.
        if self._reader.is_over:
            self._held += [event for event in events if isinstance(event, ChoiceFinished)]
            events = [event for event in events if not isinstance(event, ChoiceFinished)]
        said += events


def _whole(request: ChatRequest, body: bytes) -> Batch:
    reader = AnswerReader(request)
    events: list[Event] = []
    reader.feed(read_answer(body), events)
    end = reader.finish()
    prompt_tokens = end.usage.prompt_tokens if end.usage else guessed_prompt_tokens(request)
    return [Accepted(prompt_tokens, cached_tokens=0), *events, end]


async def _read(connection: Connection) -> bytes:
    parts, size = [], 0
    while part := await connection.more():
        parts.append(part)
        size += len(part)
        if size > ANSWER_BYTES:
            raise EngineFailed("The model's server sent too much at once.")
    return b"".join(parts)
