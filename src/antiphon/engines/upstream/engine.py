"""The engine that asks another server: the port, over one HTTP session."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import anyio

from antiphon import __version__
from antiphon.core.groups import companions
from antiphon.core.ports import EngineState, Work
from antiphon.domain.errors import EngineFailed, EngineUnavailable
from antiphon.domain.events import Accepted, Event
from antiphon.engines.upstream.body import chat_body
from antiphon.engines.upstream.calling import Caller
from antiphon.engines.upstream.dialects import features_of
from antiphon.engines.upstream.endpoints import Endpoint, Endpoints
from antiphon.engines.upstream.options import Options
from antiphon.engines.upstream.probing import Prober
from antiphon.engines.upstream.reading import read_events

KEPT_S = 4.0
"""How long a connection is kept: less than the 5 s after which uvicorn, which most servers run on, closes one."""
KIND_S = 1.0
"""How long the start waits to hear of what kind a server is; one that is slower is of kind `other` until it says so."""


class UpstreamEngine:
    """Asks one of a version's endpoints for every call."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._endpoints = Endpoints(options.endpoints)
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
        """Hold a session for the body. A server that is not there yet is waited for by nobody but its requests."""
        async with _session(self._options) as http, companions() as group:
            self._caller = Caller(http, self._endpoints, self._options)
            prober = Prober(http, self._endpoints, self._options, self._learned)
            if self._options.kind is None or self._options.probe_s:
                group.start_soon(prober.run)
            if self._options.kind is None:
                with anyio.move_on_after(KIND_S):
                    await prober.has_looked.wait()
            yield

    def _learned(self, kind: str) -> None:
        if self._options.kind is None:
            self._be(kind)

    @asynccontextmanager
    async def stream(self, work: Work) -> AsyncGenerator[AsyncIterator[Event]]:
        """Answer a call; see core.ports.Engine."""
        if self._caller is None:
            raise EngineUnavailable("The model's server is not asked yet. Try again later.")
        request, model, features = work.request, self._options.model, self._features
        if any(message.sensed for message in request.messages):
            body = await anyio.to_thread.run_sync(chat_body, request, model, features)
        else:
            body = chat_body(request, model, features)
        async with self._caller.ask(body) as (endpoint, response):
            yield _watched(read_events(request, response), endpoint)


@asynccontextmanager
async def _session(options: Options) -> AsyncGenerator[aiohttp.ClientSession]:
    """Open the session; the operator named where it goes, so any address may be dialled."""
    headers = {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"antiphon/{__version__}",
        **options.headers,
    }
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_S),
        # No clock for the whole: the deadline is the prediction's.
        timeout=aiohttp.ClientTimeout(sock_connect=options.connect_s, sock_read=options.silence_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        trust_env=False,
        auto_decompress=False,
    ) as http:
        yield http


async def _watched(events: AsyncIterator[Event], endpoint: Endpoint) -> AsyncIterator[Event]:
    """The events, with the endpoint told how it goes.

    Raises:
        EngineFailed: it broke off, fell silent, or said what is no answer.
    """
    try:
        async for event in events:
            if isinstance(event, Accepted):
                endpoint.worked()
            yield event
    except TimeoutError:
        endpoint.failed()
        raise EngineFailed("The model's server fell silent.") from None
    except (aiohttp.ClientError, OSError):
        endpoint.failed()
        raise EngineFailed("The model's server broke off in the middle of its answer.") from None
    except EngineFailed:
        endpoint.failed()
        raise
