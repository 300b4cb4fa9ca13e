"""Endpoints looked at while nobody asks them: whether they are there, of what kind they are, and what they run."""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import anyio
import msgspec
import structlog

from antiphon.engines.upstream.client import Client, Unreachable
from antiphon.engines.upstream.connection import BrokeOff, Silent
from antiphon.engines.upstream.dialects import OWNERS
from antiphon.engines.upstream.endpoints import Endpoint, Endpoints
from antiphon.engines.upstream.options import Options

PROBE_S = 5.0
"""How long a look may take."""
LIST_BYTES = 1 << 20
"""The longest list of models that is read."""

_log = structlog.get_logger()


class _Listed(msgspec.Struct, frozen=True):
    id: str
    owned_by: Any = None


class _List(msgspec.Struct, frozen=True):
    data: list[_Listed] | None = None


_LIST = msgspec.json.Decoder(_List)


class Prober:
    """Looks at a version's endpoints."""

    def __init__(
        self, client: Client, endpoints: Endpoints, options: Options, tell_kind: Callable[[str], None]
    ) -> None:
        self._client, self._endpoints, self._options, self._tell_kind = client, endpoints, options, tell_kind
        self._told: dict[Endpoint, str] = {}
        """What was said last to be wrong with each; empty where it was well again."""
        self._is_listed = False
        """Whether any list was read: before that nobody knows of what kind the server is."""
        self.has_looked = anyio.Event()
        """Set once every endpoint was looked at."""

    async def run(self) -> None:
        """Look at each endpoint, and then, every `probe_s`, at those given up or that nobody has asked since."""
        await self.look_at_all()
        self.has_looked.set()
        while self._options.probe_s:
            await anyio.sleep(self._options.probe_s)
            now = time.monotonic()
            for endpoint in self._endpoints.all:
                is_unused = now - endpoint.used_at > self._options.probe_s
                if endpoint.is_given_up or is_unused or not self._is_listed:
                    await self.look(endpoint)

    async def look_at_all(self) -> None:
        """Look at every endpoint, all at once."""
        async with anyio.create_task_group() as group:
            for endpoint in self._endpoints.all:
                group.start_soon(self.look, endpoint)

    async def look(self, endpoint: Endpoint) -> None:
        """Ask an endpoint for its models. That it answers is what counts; a list says more."""
        try:
            with anyio.fail_after(PROBE_S):
                status, body = await self._list(endpoint)
        except (Unreachable, BrokeOff, Silent, TimeoutError):
            endpoint.failed()
            self._tell(endpoint, "upstream cannot be reached")
            return
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            endpoint.failed()
            self._tell(endpoint, "upstream fails")
            return
        endpoint.seen()
        is_there = self._read(body)
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            self._tell(endpoint, "upstream does not accept the key")
        else:
            self._tell(endpoint, "" if is_there else "upstream lists no such model")

    async def _list(self, endpoint: Endpoint) -> tuple[int, bytes]:
        connection = await self._client.ask(endpoint.models, endpoint.models.get())
        try:
            body = bytearray()
            while len(body) < LIST_BYTES and (more := await connection.more()):
                body += more
            return connection.status, bytes(body)
        finally:
            self._client.give_back(endpoint.models, connection)

    def _read(self, body: bytes) -> bool:
        """Learn from a list of models; give whether ours may be there."""
        try:
            listed = _LIST.decode(body).data or []
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return True
        self._is_listed = True
        kinds = {kind for one in listed if isinstance(one.owned_by, str) and (kind := OWNERS.get(one.owned_by))}
        if len(kinds) == 1:
            self._tell_kind(kinds.pop())
        return not listed or self._options.model in {one.id for one in listed}

    def _tell(self, endpoint: Endpoint, wrong: str) -> None:
        """Write a line when something else is wrong with an endpoint than was before, or nothing is any more."""
        before, self._told[endpoint] = self._told.get(endpoint, ""), wrong
        if wrong and wrong != before:
            _log.warning(wrong, model=self._options.version, server=endpoint.models.place)
        elif before and not wrong:
            _log.info("upstream is well again", model=self._options.version, server=endpoint.models.place)
