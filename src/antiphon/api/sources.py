"""Where a reply's events come from: a prediction of its own, one that runs for others already, or one that was kept."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Protocol

from antiphon.core.fold import Fold
from antiphon.core.follow import FoldReader, follow
from antiphon.core.predict import Predictor
from antiphon.core.running import Running
from antiphon.domain.events import Completion, Event, Usage
from antiphon.domain.record import Record
from antiphon.wire.stored import completion_id, read_kept


class Source(Protocol):
    """An answer that can be read once."""

    @property
    def completion_id(self) -> str:
        """The id of the answer."""

    @property
    def created(self) -> int:
        """When its prediction began, in epoch seconds."""

    @property
    def fingerprint(self) -> str:
        """Which version of the model it is of."""

    @property
    def completion(self) -> Completion:
        """The answer, whole after the last event."""

    @property
    def usage(self) -> Usage:
        """What it cost, likewise."""

    @property
    def body(self) -> bytes | None:
        """The answer as JSON, where it has been rendered before."""

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Give its events, for the body."""

    def leave(self) -> bool:
        """Its client is gone; give whether reading should stop at once."""


class _Runs:
    """What a running prediction says of itself."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.completion_id, self.created = running.completion_id, running.created
        self.fingerprint = running.call.resolved.fingerprint

    @property
    def completion(self) -> Completion:
        return self.running.fold.completion

    @property
    def usage(self) -> Usage:
        return self.running.fold.usage

    @property
    def body(self) -> bytes | None:
        return self.running.answer


class Own(_Runs):
    """A prediction that runs for this client."""

    def __init__(self, predictor: Predictor, running: Running) -> None:
        super().__init__(running)
        self._predictor = predictor

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[AsyncIterator[Event]]:
        """Run it; raises as `Predictor.run` does."""
        async with self._predictor.run(self.running) as running:
            yield aiter(running)

    def leave(self) -> bool:
        """End it, unless others wait for it; it is written down before its reading stops."""
        self.running.leave()
        return False


class Joined(_Runs):
    """A prediction that another client began."""

    def __init__(self, running: Running) -> None:
        super().__init__(running)
        running.waiting += 1

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[AsyncIterator[Event]]:
        """Follow it; raises what its own client is told."""
        async with aclosing(follow(self.running, FoldReader(self.running.fold))) as events:
            yield events

    def leave(self) -> bool:
        """Wait for it no more."""
        self.running.leave()
        return True


class Kept:
    """A prediction that has succeeded before."""

    def __init__(self, record: Record, output: bytes) -> None:
        self.completion_id, self.created = completion_id(record), record.created_us // 1_000_000
        kept = read_kept(output)
        self.completion, self.fingerprint, self.body = kept.completion, kept.fingerprint, output
        self.usage, self.is_whole = kept.completion.usage, kept.is_whole

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[AsyncIterator[Event]]:
        """Give it as if it were said now."""
        yield _each(FoldReader(Fold.of(self.completion)))

    def leave(self) -> bool:
        """Have nobody to tell."""
        return True


async def _each(reader: FoldReader) -> AsyncIterator[Event]:
    for event in reader.more():
        yield event
