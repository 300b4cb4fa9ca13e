"""One call while an upstream answers it."""

from collections.abc import Awaitable, Callable
from typing import Self

from antiphon.domain.chat import ChatRequest
from antiphon.domain.errors import EngineFailed
from antiphon.domain.events import Batch
from antiphon.engines.upstream.calling import Answer
from antiphon.engines.upstream.connection import BrokeOff, Silent
from antiphon.engines.upstream.reading import EventReader


class Answering:
    """Entering sends the call, iterating gives its events, leaving stops it: see core.ports.Engine.

    It is a class because every request passes it: the loop keeps a register of generators that run, where each costs
    more than the steps it saves.
    """

    def __init__(self, request: ChatRequest, send: Callable[[], Awaitable[Answer]]) -> None:
        """Have nothing sent yet.

        Args:
            request: what is asked.
            send: asks it.
        """
        self._request, self._send = request, send

    async def __aenter__(self) -> Self:
        """Send it; raises as `send` does."""
        self._answer = await self._send()
        self._endpoint = self._answer.endpoint
        self._reader = EventReader(self._request, self._answer.connection)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Want no more of it; what ended well is heard out."""
        try:
            if kind is None:
                await self._answer.hear_out()
        finally:
            self._answer.leave()

    def __aiter__(self) -> Self:
        """Give its events, once."""
        return self

    async def __anext__(self) -> Batch:
        """Give the next ones, and tell the endpoint how it goes.

        Raises:
            EngineFailed: it broke off, fell silent, or said what is no answer.
            ContextTooLong, Unsupported, EngineUnavailable: it says that it refuses.
        """
        try:
            batch = await self._reader.more()
        except Silent:
            self._endpoint.failed()
            raise EngineFailed("The model's server fell silent.") from None
        except BrokeOff:
            self._endpoint.failed()
            raise EngineFailed("The model's server broke off in the middle of its answer.") from None
        except EngineFailed:
            self._endpoint.failed()
            raise
        if batch is None:
            raise StopAsyncIteration
        if batch:
            self._endpoint.worked()
        return batch
