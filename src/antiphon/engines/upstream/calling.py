"""One request sent to one of a version's endpoints, and to another while none has begun to answer."""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

import aiohttp
import anyio

from antiphon.domain.errors import AntiphonError, EngineFailed, EngineUnavailable
from antiphon.engines.upstream.endpoints import Endpoint, Endpoints
from antiphon.engines.upstream.options import Options
from antiphon.engines.upstream.refusals import AGAIN, refusal, retry_after_s

ERROR_BYTES = 16_384
ERROR_S = 2.0
"""How much of a refusal is read, and for how long."""
END_S = 0.02
"""How long the end of an answer is waited for, behind its last event, so that its connection can be used again."""
PAUSE_S = 0.1
"""Before another try: drawn out by chance, and doubled each time."""
MOST_WAIT_S = 2
"""Whoever asks for more patience than this is not tried again."""


class _Again(Exception):
    """Nothing was begun: another try may be made."""

    def __init__(self, error: AntiphonError, wait_s: float) -> None:
        super().__init__(error.message)
        self.error, self.wait_s = error, wait_s


class Caller:
    """Sends requests over one session."""

    def __init__(self, http: aiohttp.ClientSession, endpoints: Endpoints, options: Options) -> None:
        self._http, self._endpoints, self._tries = http, endpoints, options.tries

    @asynccontextmanager
    async def ask(self, body: bytes) -> AsyncGenerator[tuple[Endpoint, aiohttp.ClientResponse]]:
        """Send a request, and give who answers and the answer, of status 200; leaving closes it, finished or not.

        Raises (from entering):
            EngineUnavailable: nobody can be reached, or all are busy.
            EngineFailed: whoever was asked failed, or went without an answer.
            ContextTooLong, Unsupported: the request is refused.
        """
        endpoint, response = await self._answered(body)
        try:
            yield endpoint, response
            if not response.content.at_eof():
                with anyio.move_on_after(END_S), suppress(aiohttp.ClientError, OSError):
                    await response.content.readany()
        finally:
            # One that is not at its end is cut: that is how its server learns that nobody waits any more.
            response.release() if response.content.at_eof() else response.close()
            endpoint.left()

    async def _answered(self, body: bytes) -> tuple[Endpoint, aiohttp.ClientResponse]:
        tried: list[Endpoint] = []
        for turn in range(self._tries):
            endpoint = self._endpoints.pick(tried)
            tried.append(endpoint)
            try:
                return endpoint, await self._try(endpoint, body)
            except _Again as again:
                if turn == self._tries - 1:
                    raise again.error from None
                pause_s = PAUSE_S * 2**turn * (1 + random.random())  # noqa: S311 - not a secret
                await anyio.sleep(max(again.wait_s, pause_s))
        raise EngineUnavailable("The model's server cannot be reached. Try again later.")

    async def _try(self, endpoint: Endpoint, body: bytes) -> aiohttp.ClientResponse:
        """Ask once.

        Raises:
            _Again: nothing was begun.
            AntiphonError: it was, and came to nothing.
        """
        try:
            response = await self._http.post(endpoint.chat_url, data=body, allow_redirects=False)
        except aiohttp.SocketTimeoutError:
            endpoint.failed()
            raise EngineFailed("The model's server fell silent.") from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            endpoint.failed()
            unreachable = EngineUnavailable("The model's server cannot be reached. Try again later.")
            raise _Again(unreachable, 0.0) from None
        except (aiohttp.ClientError, OSError, ValueError):
            endpoint.failed()
            raise _Again(EngineFailed("The model's server broke off without an answer."), 0.0) from None
        except BaseException:
            endpoint.left()
            raise
        if response.status == HTTPStatus.OK:
            return response
        raise await _refused(endpoint, response)


async def _refused(endpoint: Endpoint, response: aiohttp.ClientResponse) -> Exception:
    """Give what a refusal means, and take note of it."""
    body = b""
    try:
        with anyio.move_on_after(ERROR_S), suppress(aiohttp.ClientError, OSError):
            body = await response.content.read(ERROR_BYTES)
    finally:
        response.release() if response.content.at_eof() else response.close()
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            endpoint.failed()
        else:
            endpoint.worked()
    asked = response.headers.get("retry-after")
    error = refusal(response.status, body, asked)
    wait_s = retry_after_s(asked)
    if response.status not in AGAIN or (wait_s or 0) > MOST_WAIT_S:
        return error
    # A limit that does not say when it ends is not pressed.
    if wait_s is None and response.status == HTTPStatus.TOO_MANY_REQUESTS:
        return error
    return _Again(error, float(wait_s or 0))
