"""A request's body, read as far as it may be: the right type, no encoding, no more than the limit."""

import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

import anyio
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope

from antiphon.api import answer
from antiphon.api.exchange import exchange_of
from antiphon.domain.errors import AntiphonError, BodyTooLarge, UnsupportedMediaType
from antiphon.wire.openai import error_body

DISCARD_S = 2.0
"""How long the rest of a body that is too large is read away, so that its sender gets to see the answer."""
DISCARD_BYTES = 64 * 1024 * 1024

_JSON = re.compile(rb"application/json\s*(?:;\s*charset=\"?utf-8\"?\s*)?", re.IGNORECASE)


class ClientLeft(Exception):
    """The client went before it had sent its request; nobody is there to be answered."""


def header(scope: HTTPScope, name: bytes) -> bytes | None:
    """Give a header's value; None when it was not sent."""
    return exchange_of(scope).headers.get(name)


def path_params(scope: HTTPScope) -> Mapping[str, str]:
    """Give what the router found in the path."""
    params: Mapping[str, str] = scope.get("path_params", {})  # type: ignore[assignment]  # starlette's own key
    return params


def preference(scope: HTTPScope, name: bytes) -> bytes | None:
    """Give what a Prefer header (RFC 7240) says for a name, empty when it only names it; None when it does not.

    The first of several for one name counts.
    """
    lines = [sent for key, sent in scope["headers"] if key == b"prefer"]
    for one in (one for line in lines for one in line.split(b",")):
        key, _, said = one.partition(b";")[0].partition(b"=")
        if key.strip().lower() == name:
            return said.strip(b' \t"').lower()
    return None


async def read_body(scope: HTTPScope, receive: ASGIReceiveCallable, most_bytes: int) -> bytes:
    """Read a JSON body.

    Raises:
        UnsupportedMediaType: it is sent as something else, or compressed.
        BodyTooLarge: by its announced length, or while it is counted.
        ClientLeft: the client is gone.
    """
    kind = (header(scope, b"content-type") or b"").strip()
    if kind != b"application/json" and not _JSON.fullmatch(kind):
        raise UnsupportedMediaType("Send the request as Content-Type: application/json.")
    body = exchange_of(scope).whole_body()
    if body is None:
        return b"".join([piece async for piece in read_pieces(scope, receive, most_bytes)])
    _see_head(scope, most_bytes)
    if len(body) > most_bytes:
        raise _too_large(most_bytes)
    return body


async def read_pieces(scope: HTTPScope, receive: ASGIReceiveCallable, most_bytes: int) -> AsyncGenerator[bytes]:
    """Read a body of any type as it comes.

    Raises:
        UnsupportedMediaType: it is compressed.
        BodyTooLarge: by its announced length, or while it is counted.
        ClientLeft: the client is gone.
    """
    _see_head(scope, most_bytes)
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientLeft
        size += len(message["body"])
        more = message["more_body"]
        if size > most_bytes:
            raise _too_large(most_bytes)
        yield message["body"]


def _see_head(scope: HTTPScope, most_bytes: int) -> None:
    """See whether a body may be read.

    Raises:
        UnsupportedMediaType: it is compressed.
        BodyTooLarge: by its announced length.
    """
    if (header(scope, b"content-encoding") or b"identity").strip().lower() != b"identity":
        raise UnsupportedMediaType("Send the request body without Content-Encoding.")
    if int(header(scope, b"content-length") or 0) > most_bytes:
        raise _too_large(most_bytes)


def _too_large(most_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than {most_bytes} bytes.")


async def discard(receive: ASGIReceiveCallable) -> None:
    """Read away what a client still sends, within bounds: closing with bytes unread would destroy the answer."""
    size = 0
    with anyio.move_on_after(DISCARD_S), suppress(ClientLeft):
        while size < DISCARD_BYTES:
            message = await receive()
            if message["type"] != "http.request" or not message["more_body"]:
                return
            size += len(message["body"])


async def refuse_body(send: ASGISendCallable, receive: ASGIReceiveCallable, error: AntiphonError) -> None:
    """Answer a body that is not read to its end: the answer first, then the rest of the body, then the close.

    In that order its sender can read it.
    """
    data = error_body(error)
    error.__traceback__ = None  # Its frames hold what came of the body, and the rest may take a while.
    length = (b"content-length", b"%d" % len(data))
    await answer.start(send, error.status, [answer.JSON, length, *answer.error_headers(error), answer.CLOSE])
    await answer.body(send, data, more=True)
    await discard(receive)
    await answer.body(send, b"")


async def while_there(receive: ASGIReceiveCallable, *tasks: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the first of some tasks to its end, or until the client leaves; the others run beside it."""
    work, *others = tasks
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch)
        for other in others:
            group.start_soon(other)
        await work()
        group.cancel_scope.cancel()
