"""The engine that asks another server: the port, over HTTP."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import anyio

from antiphon import __version__
from antiphon.core.groups import companions
from antiphon.core.ports import EngineState, Work
from antiphon.domain.errors import EngineUnavailable
from antiphon.domain.events import Batch
from antiphon.engines.upstream.answering import Answering
from antiphon.engines.upstream.body import chat_body
from antiphon.engines.upstream.calling import Answer, Caller
from antiphon.engines.upstream.client import NO_HEADERS, open_client
from antiphon.engines.upstream.dialects import features_of
from antiphon.engines.upstream.endpoints import Endpoints
from antiphon.engines.upstream.options import Options
from antiphon.engines.upstream.probing import Prober

_USUAL = {"accept-encoding": "identity", "user-agent": f"antiphon/{__version__}"}
KIND_S = 1.0
"""How long the start waits to hear of what kind a server is; one that is slower is of kind `other` until it says so."""


class UpstreamEngine:
    """Asks one of a version's endpoints for every call."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._endpoints = Endpoints(options.endpoints, {**_USUAL, **options.headers})
        self._caller: Caller | None = None
        self._features: Mapping[str, str] = {}
        self._be(options.kind or "other")

    @property
    def features(self) -> Mapping[str, str]:
        """What the server can do: by its kind, and by what is declared of it."""
        return self._features

    @property
    def state(self) -> EngineState:
        """Ready while any endpoint is worth asking."""
        if all(endpoint.is_given_up for endpoint in self._endpoints.all):
            return EngineState("failed", "no endpoint can be reached")
        return EngineState("ready")

    def _be(self, kind: str) -> None:
        options = self._options
        self._features = features_of(kind, options.has, options.lacks, options.thinking)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Be ready for the body. A server that is not there yet is waited for by nobody but its requests."""
        options = self._options
        # No clock for the whole: the deadline is the prediction's.
        async with open_client(options.connect_s, options.silence_s) as client, companions() as group:
            self._caller = Caller(client, self._endpoints, options.tries)
            prober = Prober(client, self._endpoints, options, self._learned)
            if options.kind is None or options.probe_s:
                group.start_soon(prober.run)
            if options.kind is None:
                with anyio.move_on_after(KIND_S):
                    await prober.has_looked.wait()
            yield

    def _learned(self, kind: str) -> None:
        if self._options.kind is None:
            self._be(kind)

    def stream(self, work: Work) -> AbstractAsyncContextManager[AsyncIterator[Batch]]:
        """Answer a call; see core.ports.Engine."""
        return Answering(work.request, partial(self._ask, work))

    async def _ask(self, work: Work) -> Answer:
        if self._caller is None:
            raise EngineUnavailable("The model's server is not asked yet. Try again later.")
        request, model, features = work.request, self._options.model, self._features
        if any(message.sensed for message in request.messages):
            body = await anyio.to_thread.run_sync(chat_body, request, model, features)
        else:
            body = chat_body(request, model, features)
        return await self._caller.ask(body, work.trace.headers if work.trace else NO_HEADERS)
