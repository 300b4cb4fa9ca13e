"""A prediction's events as the prediction API sends them: each with an id from which a client can go on.

The id of an event says how much of the answer was told with it, so a stream that is resumed with `after_id` goes on at
that very character: while the prediction runs, after it has ended, and from another process than before.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import astuple, replace

import anyio
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable

from antiphon.api import answer
from antiphon.api.heads import Header
from antiphon.api.incoming import while_there
from antiphon.api.pulse import KEEP_ALIVE_S
from antiphon.api.replies import STREAM_HEADERS
from antiphon.core.fold import Fold
from antiphon.core.follow import FoldReader, Place, ends, follow, is_within
from antiphon.core.ports import Archive
from antiphon.core.running import Running
from antiphon.domain.errors import AntiphonError
from antiphon.domain.events import Accepted, ChoiceFinished, Event, Finished
from antiphon.domain.prediction import Status
from antiphon.domain.record import Record
from antiphon.wire import sse
from antiphon.wire.chunks import ChunkWriter
from antiphon.wire.openai import Form, ReplyHead
from antiphon.wire.places import bad_event_id, place_id, read_place_id
from antiphon.wire.stored import asked_choices, completion_id, is_spoken, read_kept
from antiphon.wire.wriftai import DONE_ID, INIT_ID, done_data, error_data, event_frame, failure_data, init_data

POLL_S = 0.5
"""How often a prediction that runs in another process is looked at."""


class _Stream:
    """One client's."""

    def __init__(
        self, send: ASGISendCallable, prediction_id: str, after: str | None, headers: Sequence[Header] = ()
    ) -> None:
        self._send, self._prediction_id, self._after, self._headers = send, prediction_id, after, headers

    async def begin(self) -> None:
        """Commit, and say which prediction it is, unless the client knows."""
        await answer.start(self._send, 200, [*STREAM_HEADERS, *self._headers])
        first = b"" if self._after else event_frame(INIT_ID, "init", init_data(self._prediction_id))
        await answer.body(self._send, first or sse.comment("resumed"), more=True)

    async def events(self, events: AsyncIterator[Event], reader: FoldReader, chunks: ChunkWriter) -> None:
        """Send what is said, as chunks of a completion."""
        async for event in events:
            if isinstance(event, Finished):
                continue
            at = place_id([astuple(place) for place in reader.places])
            data = _one_frame(chunks, event)
            await answer.body(self._send, event_frame(at, "output", data), more=True)

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


def _places(after: str | None, fold: Fold, *, is_over: bool) -> Sequence[Place]:
    """Where in an answer to go on; nowhere to begin at the beginning.

    Raises:
        InvalidRequest: `after` is no event of this prediction.
    """
    if after is None or after == INIT_ID:
        return ()
    if after == DONE_ID and is_over:
        return ends(fold)
    places = [Place(*numbers) for numbers in read_place_id(after, len(fold.choices))]
    if fold.accepted is None or not is_within(places, fold):
        raise bad_event_id()
    return places


async def follow_live(
    running: Running,
    after: str | None,
    idle_s: float | None,
    receive: ASGIReceiveCallable,
    send: ASGISendCallable,
    *,
    headers: Sequence[Header] = (),
) -> None:
    """Send a running prediction's events until its end, or until nothing was said for `idle_s` seconds.

    Raises:
        InvalidRequest: `after` is no event of this prediction; nothing was sent.
    """
    request = running.call.work.request
    reader = FoldReader(running.fold, _places(after, running.fold, is_over=running.is_over))
    head = ReplyHead(running.completion_id, running.created, request.model_text, running.call.resolved.fingerprint)
    chunks = _chunks(head, reader, replace(Form.of(request), include_usage=False, include_obfuscation=False))
    stream = _Stream(send, str(running.prediction.id), after, headers)

    async def tell_all() -> None:
        await stream.begin()
        try:
            await stream.events(_impatient(follow(running, reader), idle_s), reader, chunks)
        except TimeoutError:
            await stream.close()
        except AntiphonError as error:
            await stream.end("error", error_data(error, running.prediction.reason))
        else:
            await stream.end("done", done_data(str(running.prediction.id), running.fold.usage))

    await while_there(receive, tell_all, stream.beat)


async def follow_record(
    archive: Archive,
    record: Record,
    after: str | None,
    receive: ASGIReceiveCallable,
    send: ASGISendCallable,
    *,
    is_draining: Callable[[], bool],
) -> None:
    """Send the events of a prediction that has ended, or that runs in another process: then, when it has ended.

    While this process drains it waits no longer: the stream is closed, and its client goes on elsewhere.

    Raises:
        InvalidRequest: `after` is no event of this prediction; nothing was sent.
    """
    stream = _Stream(send, str(record.id), after)
    _replay(record, after)

    async def tell_all() -> None:
        nonlocal record
        await stream.begin()
        try:
            while not record.status.is_terminal:
                if is_draining():
                    await stream.close()
                    return
                await anyio.sleep(POLL_S)
                record = await archive.get(record.account, record.id) or record
            replay = _replay(record, after)
        except AntiphonError as error:
            await stream.end("error", error_data(error))
            return
        if replay:
            await stream.events(_each(replay[0]), *replay)
        if record.status is Status.SUCCEEDED:
            await stream.end("done", done_data(str(record.id), record.usage))
        else:
            await stream.end("error", failure_data(record))

    await while_there(receive, tell_all, stream.beat)


def _replay(record: Record, after: str | None) -> tuple[FoldReader, ChunkWriter] | None:
    """Give what reads and what writes a kept answer; None where none is kept, or not yet.

    Raises:
        InvalidRequest: `after` is no event of this prediction.
    """
    if not record.output:
        # Nobody knows how far it came: every well-formed id may be one of its own.
        if after not in {None, INIT_ID} and not (after == DONE_ID and record.status.is_terminal):
            read_place_id(after or "", asked_choices(record))
        return None
    kept = read_kept(record.output)
    fold = Fold.of(kept.completion)
    reader = FoldReader(fold, _places(after, fold, is_over=True))
    head = ReplyHead(completion_id(record), record.created_us // 1_000_000, kept.model, kept.fingerprint)
    return reader, _chunks(head, reader, replace(kept.form, is_spoken=is_spoken(record)))


def _chunks(head: ReplyHead, reader: FoldReader, form: Form) -> ChunkWriter:
    """Give what writes the chunks of an answer, knowing what was begun before."""
    chunks = ChunkWriter(head, form, len(reader.places))
    for choice, index, kind in reader.begun_calls:
        chunks.begun(choice, index, kind)
    for choice, place in enumerate(reader.places):
        if place.text:
            chunks.spoke(choice)
    return chunks


def _one_frame(chunks: ChunkWriter, event: Event) -> bytes:
    """What an event makes, as one piece of JSON: a client goes on behind it or before it, never within."""
    match event:
        case Accepted():
            frame = chunks.opening()
        case ChoiceFinished():
            frame = chunks.closing(event)
        case _:
            frame = chunks.event(event)
    return frame.removeprefix(b"data: ").removesuffix(b"\n\n")


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
