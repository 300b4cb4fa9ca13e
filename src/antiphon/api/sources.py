"""Where a reply's events come from: a prediction of its own, one that runs for others already, or one that was kept."""

from contextlib import aclosing
from typing import Protocol

import anyio

from antiphon.core.fold import Fold
from antiphon.core.follow import FoldReader, follow
from antiphon.core.predict import Predictor, Take
from antiphon.core.running import Running
from antiphon.domain.errors import PredictionCancelled
from antiphon.domain.events import Completion, Usage
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

    async def play(self, take: Take) -> None:
        """Give its events, as they come; return when it is over. That nobody is there any more is an error."""

    def leave(self) -> None:
        """Its client is gone."""


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

    async def play(self, take: Take) -> None:
        """Run it; raises as `Predictor.run` does."""
        await self._predictor.run(self.running, take)

    def leave(self) -> None:
        """End it, unless others wait for it; it is written down before its reading stops."""
        self.running.leave()


class Joined(_Runs):
    """A prediction that another client began."""

    def __init__(self, running: Running) -> None:
        super().__init__(running)
        running.waiting += 1
        self._scope = anyio.CancelScope()

    async def play(self, take: Take) -> None:
        """Follow it; raises what its own client is told, and that nobody is there any more."""
        with self._scope:
            async with aclosing(follow(self.running, FoldReader(self.running.fold))) as events:
                async for event in events:
                    await take([event])
        if self._scope.cancelled_caught:
            raise PredictionCancelled("The client has left.")

    def leave(self) -> None:
        """Wait for it no more."""
        self.running.leave()
        self._scope.cancel()


class Kept:
    """A prediction that has succeeded before."""

    def __init__(self, record: Record, output: bytes) -> None:
        self.completion_id, self.created = completion_id(record), record.created_us // 1_000_000
        kept = read_kept(output)
        self.completion, self.fingerprint, self.body = kept.completion, kept.fingerprint, output
        self.usage, self.is_whole = kept.completion.usage, kept.is_whole

    async def play(self, take: Take) -> None:
        """Give it as if it were said now."""
        await take(list(FoldReader(Fold.of(self.completion)).more()))

    def leave(self) -> None:
        """Have nobody to tell."""
