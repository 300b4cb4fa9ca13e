"""A prediction's events as the prediction API sends them: each with an id from which a client can go on.

The id of an event says how much of the answer was told with it, so a stream that is resumed with `after_id` goes on at
that very character: while the prediction runs, after it has ended, and from another process than before.
"""

from collections.abc import AsyncIterator

import anyio
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable

from antiphon.api import answer
from antiphon.api.incoming import while_there
from antiphon.api.replies import STREAM_HEADERS
from antiphon.core.fold import Fold
from antiphon.core.follow import FoldReader, Place, follow
from antiphon.core.ports import Archive
from antiphon.core.running import Running
from antiphon.domain.errors import AntiphonError, tell
from antiphon.domain.events import Event, Finished
from antiphon.domain.prediction import Status
from antiphon.domain.record import Record
from antiphon.domain.tools import NO_TOOLS, Tools
from antiphon.wire import sse
from antiphon.wire.openai import ChunkWriter, ReplyHead
from antiphon.wire.stored import asked_choices, completion_id, names_of, read_completion
from antiphon.wire.wriftai import (
    DONE_ID,
    INIT_ID,
    done_data,
    error_data,
    event_frame,
    failure_data,
    init_data,
    place_id,
    read_place_id,
)

KEEP_ALIVE_S = 15.0
POLL_S = 0.5
"""How often a prediction that runs in another process is looked at."""


class _Stream:
    """One client's."""

    def __init__(self, send: ASGISendCallable, prediction_id: str, after: str | None) -> None:
        self._send, self._prediction_id, self._after = send, prediction_id, after

    async def begin(self) -> None:
        """Commit, and say which prediction it is, unless the client knows."""
        await answer.start(self._send, 200, STREAM_HEADERS)
        first = b"" if self._after else event_frame(INIT_ID, "init", init_data(self._prediction_id))
        await answer.body(self._send, first or sse.comment("resumed"), more=True)

    async def events(self, events: AsyncIterator[Event], reader: FoldReader, chunks: ChunkWriter) -> None:
        """Send what is said, as chunks of a completion."""
        async for event in events:
            if isinstance(event, Finished):
                continue
            at = place_id([(p.reasoning, p.text, p.calls, p.call, p.is_finished) for p in reader.places])
            frames = [frame.removeprefix(b"data: ") for frame in chunks.event(event).split(b"\n\n") if frame]
            await answer.body(self._send, b"".join(event_frame(at, "output", frame) for frame in frames), more=True)

    async def end(self, kind: str, data: bytes) -> None:
        """Send the last event."""
        await answer.body(self._send, event_frame(DONE_ID, kind, data))

    async def close(self) -> None:
        """End without a last event: the client comes back for the rest."""
        await answer.body(self._send, b"")

    async def beat(self) -> None:
        """Keep the connection open."""
        while True:
            await anyio.sleep(KEEP_ALIVE_S)
            await answer.body(self._send, sse.comment("keep-alive"), more=True)


def _places(after: str | None, choices: int) -> tuple[Place, ...]:
    """Where to go on.

    Raises:
        InvalidRequest: `after` is no event of this prediction.
    """
    if after is None or after == DONE_ID:
        return ()
    return tuple(Place(*numbers) for numbers in read_place_id(after, choices))


async def follow_live(
    running: Running, after: str | None, idle_s: float | None, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    """Send a running prediction's events until its end, or until nothing was said for `idle_s` seconds.

    Raises:
        InvalidRequest: `after` is no event of this prediction; nothing was sent.
    """
    request = running.call.work.request
    reader = FoldReader(running.fold, _places(after, request.sampling.n))
    head = ReplyHead(running.completion_id, running.created, request.model_text, running.call.resolved.fingerprint)
    chunks = _chunks(head, reader, logprobs=request.sampling.logprobs, tools=request.tools)
    stream = _Stream(send, str(running.prediction.id), after)

    async def tell_all() -> None:
        await stream.begin()
        try:
            await stream.events(_impatient(follow(running, reader), idle_s), reader, chunks)
        except TimeoutError:
            await stream.close()
        except AntiphonError as error:
            await stream.end("error", error_data(error))
        else:
            await stream.end("done", done_data(str(running.prediction.id), running.fold.usage))

    await while_there(receive, tell_all, stream.beat)


async def follow_record(
    archive: Archive, record: Record, after: str | None, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    """Send the events of a prediction that has ended, or that runs in another process: then, when it has ended.

    Raises:
        InvalidRequest: `after` is no event of this prediction; nothing was sent.
    """
    places = _places(after, asked_choices(record))
    stream = _Stream(send, str(record.id), after)

    async def tell_all() -> None:
        nonlocal record
        await stream.begin()
        while not record.status.is_terminal:
            await anyio.sleep(POLL_S)
            try:
                record = await archive.get(record.account, record.id) or record
            except AntiphonError as error:
                await stream.end("error", error_data(tell(error)))
                return
        if record.output:
            completion = read_completion(record.output)
            reader = FoldReader(Fold.of(completion), places)
            head = ReplyHead(completion_id(record), record.created_us // 1_000_000, *names_of(record.output))
            has_logprobs = any(choice.logprobs for choice in completion.choices)
            chunks = _chunks(head, reader, logprobs=has_logprobs, tools=NO_TOOLS)
            await stream.events(_each(reader), reader, chunks)
        if record.status is Status.SUCCEEDED:
            await stream.end("done", done_data(str(record.id), record.usage))
        else:
            await stream.end("error", failure_data(record))

    await while_there(receive, tell_all, stream.beat)


def _chunks(head: ReplyHead, reader: FoldReader, *, logprobs: bool, tools: Tools) -> ChunkWriter:
    """Give what writes the chunks of an answer, the calls known that were begun before."""
    chunks = ChunkWriter(
        head,
        choices=len(reader.places),
        logprobs=logprobs,
        include_usage=False,
        include_obfuscation=False,
        tools=tools,
    )
    for choice, index, kind in reader.begun_calls:
        chunks.begun(choice, index, kind)
    return chunks


async def _impatient(events: AsyncIterator[Event], idle_s: float | None) -> AsyncIterator[Event]:
    """Give events as long as each comes within `idle_s` seconds.

    Raises:
        TimeoutError: one did not.
    """
    while True:
        try:
            with anyio.fail_after(idle_s):
                event = await anext(events)
        except StopAsyncIteration:
            return
        yield event


async def _each(reader: FoldReader) -> AsyncIterator[Event]:
    for event in reader.more():
        yield event
