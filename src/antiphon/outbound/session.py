"""How the server dials others: a name is resolved once, all its addresses are judged, and so is the one dialled."""

import errno
import io
import math
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

import aiohttp
import anyio
from aiohttp.abc import AbstractResolver, ResolveResult
from anyio import CapacityLimiter
from yarl import URL

from antiphon.outbound.addresses import Address, is_public

TIMEOUT_S: Final = 10.0
"""For everything until the head of the answer: resolving, dialling, TLS, sending."""
ANSWER_S: Final = 1.0
"""How long an answer's body is listened to: nobody reads it, but a receiver that is cut off may call that an error."""
ANSWER_BYTES: Final = 4_096
RESOLVING: Final = 16
"""How many names are resolved at once, a thread each."""

LookUp = Callable[[str], Awaitable[Sequence[Address]]]


class Unreachable(Exception):
    """There was no answer. Why is never said: the reason would tell what can be reached from here."""

    def __init__(self) -> None:
        super().__init__("The receiver cannot be reached.")


class Session:
    """What is sent to others goes through here."""

    def __init__(self, http: aiohttp.ClientSession, timeout_s: float, at_once: int | None = None) -> None:
        self._http, self._timeout_s = http, timeout_s
        self._gate = CapacityLimiter(math.inf if at_once is None else at_once)

    async def post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> int:
        """Post a body; give the status of the answer, whichever it is. Redirects are not followed.

        Raises:
            Unreachable: there is no answer, or the address may not be dialled.
        """
        try:
            with anyio.fail_after(self._timeout_s):
                # As a file, it is written in pieces; large bytes would hold up the loop.
                response = await self._http.post(url, data=io.BytesIO(body), headers=headers, allow_redirects=False)
        except (aiohttp.ClientError, OSError, ValueError):
            raise Unreachable from None
        try:
            await _hear_out(response)
        finally:
            response.close()
        return response.status

    async def get(self, url: URL, most_bytes: int) -> bytes:
        """Get a body. Redirects are not followed; the clock runs until the last byte.

        Raises:
            Unreachable: there is no answer, it is none of status 200, it is packed or larger than `most_bytes`, or the
                address may not be dialled.
        """
        try:
            with anyio.fail_after(self._timeout_s):
                async with self._gate, self._http.get(url, allow_redirects=False) as response:
                    return await _whole(response, most_bytes)
        except (aiohttp.ClientError, OSError, ValueError):
            raise Unreachable from None


@asynccontextmanager
async def open_session(*, allow_private: bool, at_once: int | None = None) -> AsyncGenerator[Session]:
    """Open a session for the body; it dials public addresses only, unless `allow_private`.

    Args:
        allow_private: whether any address may be dialled.
        at_once: how many answers are read at the same time; None for any number.
    """
    async with open_judged_session(_any_address if allow_private else is_public, at_once=at_once) as session:
        yield session


@asynccontextmanager
async def open_judged_session(
    is_allowed: Callable[[Address], bool],
    *,
    look_up: LookUp | None = None,
    timeout_s: float = TIMEOUT_S,
    at_once: int | None = None,
) -> AsyncGenerator[Session]:
    """Open a session for the body.

    Args:
        is_allowed: says of an address whether it may be dialled.
        look_up: gives the addresses of a name; the system's resolver by default. Raises OSError when there are none.
        timeout_s: how long a try may take until the head of the answer.
        at_once: how many answers are read at the same time; None for any number.
    """
    connector = aiohttp.TCPConnector(
        resolver=_Resolver(look_up or _SystemResolver().look_up, is_allowed),
        use_dns_cache=False,
        socket_factory=partial(_open_socket, is_allowed),
        # A kept connection that its receiver closes meanwhile loses the notice that is sent on it.
        force_close=True,
        limit=0,
    )
    http = aiohttp.ClientSession(
        connector=connector,
        # One clock, the one in `post`.
        timeout=aiohttp.ClientTimeout(),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"accept": "*/*", "accept-encoding": "identity"},
        # No proxy, and no .netrc, of the server's environment.
        trust_env=False,
        auto_decompress=False,
        read_bufsize=ANSWER_BYTES,
    )
    try:
        yield Session(http, timeout_s, at_once)
    finally:
        with anyio.CancelScope(shield=True):
            await http.close()


class _SystemResolver:
    def __init__(self) -> None:
        # Threads of their own: names that take long must not keep others from theirs.
        self._threads = CapacityLimiter(RESOLVING)

    async def look_up(self, host: str) -> Sequence[Address]:
        """Give every address the system knows for a name.

        Raises:
            OSError, UnicodeError: it knows none.
        """
        ask = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        found = await anyio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=self._threads)
        return [ip_address(address[0]) for *_, address in found]


class _Resolver(AbstractResolver):
    """Refuses a name when any of its addresses is refused: one that is not would let the next question be the trick."""

    def __init__(self, look_up: LookUp, is_allowed: Callable[[Address], bool]) -> None:
        self._look_up, self._is_allowed = look_up, is_allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Give the addresses of a name, which are then dialled as they are: nothing resolves it again.

        Raises:
            OSError: it has none, or one that may not be dialled.
        """
        addresses = await self._look_up(host)
        if not addresses or not all(self._is_allowed(address) for address in addresses):
            raise _refusal()
        return [
            ResolveResult(hostname=host, host=str(address), port=port, family=family, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _open_socket(is_allowed: Callable[[Address], bool], dialled: aiohttp.AddrInfoType) -> socket.socket:
    """Open the socket for one address that is about to be dialled, be it resolved or written in the URL.

    Raises:
        OSError: it may not be dialled.
    """
    family, kind, protocol, _, address = dialled
    if not is_allowed(ip_address(str(address[0]))):
        raise _refusal()
    return socket.socket(family, kind, protocol)


def _refusal() -> OSError:
    return OSError(errno.EACCES, "this address is not dialled")


def _any_address(_: Address) -> bool:
    return True


async def _whole(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    if response.status != HTTPStatus.OK or response.headers.get("content-encoding", "identity") != "identity":
        raise Unreachable
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > most_bytes:
            raise Unreachable
    return bytes(body)


async def _hear_out(response: aiohttp.ClientResponse) -> None:
    left = ANSWER_BYTES
    with anyio.move_on_after(ANSWER_S), suppress(aiohttp.ClientError, OSError):
        while left > 0 and (part := await response.content.read(left)):
            left -= len(part)
