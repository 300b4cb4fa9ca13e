"""One request sent to one of a version's endpoints, and to another while none has begun to answer."""

import random
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus

import anyio

from antiphon.domain.errors import AntiphonError, EngineFailed, EngineUnavailable
from antiphon.engines.upstream.client import Client, Stale, Unreachable
from antiphon.engines.upstream.connection import BrokeOff, Connection, Silent
from antiphon.engines.upstream.endpoints import Endpoint, Endpoints
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

_OK = HTTPStatus.OK  # found once: an enumeration's member is looked up in Python
_BROKE_OFF = "The model's server broke off without an answer."


class _Again(Exception):
    """Nothing was begun: another try may be made."""

    def __init__(self, error: AntiphonError, wait_s: float) -> None:
        super().__init__(error.message)
        self.error, self.wait_s = error, wait_s


class Answer:
    """Who answers, and the answer, of status 200. Whoever has it leaves it."""

    __slots__ = ("_client", "connection", "endpoint")

    def __init__(self, client: Client, endpoint: Endpoint, connection: Connection) -> None:
        self._client, self.endpoint, self.connection = client, endpoint, connection

    async def hear_out(self) -> None:
        """Give its end, behind the last event, a moment to come: then the connection can be used again."""
        if not self.connection.is_at_end:
            with anyio.move_on_after(END_S), suppress(BrokeOff, Silent):
                await self.connection.more()

    def leave(self) -> None:
        """Want no more of it, finished or not."""
        self._client.give_back(self.endpoint.chat, self.connection)
        self.endpoint.left()


class Caller:
    """Sends requests to a version's endpoints."""

    def __init__(self, client: Client, endpoints: Endpoints, tries: int) -> None:
        self._client, self._endpoints, self._tries = client, endpoints, tries

    async def ask(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a request, to one endpoint after the other while none has begun to answer.

        Args:
            body: it, as JSON.
            headers: what it carries beside what every request does.

        Raises:
            EngineUnavailable: nobody can be reached, or all are busy.
            EngineFailed: whoever was asked failed, or went without an answer.
            ContextTooLong, Unsupported: the request is refused.
        """
        tried: list[Endpoint] = []
        for turn in range(self._tries):
            endpoint = self._endpoints.pick(tried)
            try:
                return await self._try(endpoint, endpoint.chat.post(body, headers))
            except Stale:
                continue  # Nobody failed: again, and at once.
            except _Again as again:
                tried.append(endpoint)
                if turn == self._tries - 1:
                    raise again.error from None
                pause_s = PAUSE_S * 2**turn * (1 + random.random())  # noqa: S311 - not a secret
                await anyio.sleep(max(again.wait_s, pause_s))
        raise EngineFailed(_BROKE_OFF)

    async def _try(self, endpoint: Endpoint, request: bytes) -> Answer:
        """Ask once.

        Raises:
            _Again, Stale: nothing was begun.
            AntiphonError: it was, and came to nothing.
        """
        try:
            connection = await self._client.ask(endpoint.chat, request)
        except Silent:
            endpoint.failed()
            raise EngineFailed("The model's server fell silent.") from None
        except Unreachable:
            endpoint.failed()
            unreachable = EngineUnavailable("The model's server cannot be reached. Try again later.")
            raise _Again(unreachable, 0.0) from None
        except Stale:
            endpoint.left()
            raise
        except BrokeOff:
            endpoint.failed()
            raise _Again(EngineFailed(_BROKE_OFF), 0.0) from None
        except BaseException:
            endpoint.left()
            raise
        if connection.status == _OK:
            return Answer(self._client, endpoint, connection)
        raise await self._refused(endpoint, connection)

    async def _refused(self, endpoint: Endpoint, connection: Connection) -> Exception:
        """Give what a refusal means, and take note of it."""
        body = b""
        try:
            with anyio.move_on_after(ERROR_S), suppress(BrokeOff, Silent):
                while len(body) < ERROR_BYTES and (more := await connection.more()):
                    body += more
        finally:
            self._client.give_back(endpoint.chat, connection)
            if connection.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                endpoint.failed()
            else:
                endpoint.worked()
        asked = connection.headers.get(b"retry-after", b"").decode("latin-1")
        error = refusal(connection.status, body[:ERROR_BYTES], asked)
        wait_s = retry_after_s(asked)
        if connection.status not in AGAIN or (wait_s or 0) > MOST_WAIT_S:
            return error
        # A limit that does not say when it ends is not pressed.
        if wait_s is None and connection.status == HTTPStatus.TOO_MANY_REQUESTS:
            return error
        return _Again(error, float(wait_s or 0))
