"""Answers on the wire: a status, headers and a body, and every error in its one shape."""

import time
from collections.abc import Iterable

from uvicorn._types import ASGISendCallable

from antiphon.api.heads import Header
from antiphon.domain.errors import AntiphonError, InvalidKey, RateLimited, Unavailable
from antiphon.wire.openai import error_body

JSON: Header = (b"content-type", b"application/json")
CLOSE: Header = (b"connection", b"close")


async def start(send: ASGISendCallable, status: int, headers: Iterable[Header]) -> None:
    """Send a status and headers."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers), "trailers": False})


async def body(send: ASGISendCallable, data: bytes, *, more: bool = False) -> None:
    """Send a body, or a part of one."""
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def json(send: ASGISendCallable, status: int, data: bytes, headers: Iterable[Header]) -> None:
    """Send a whole JSON answer."""
    await start(send, status, [JSON, (b"content-length", b"%d" % len(data)), *headers])
    await body(send, data)


async def error(send: ASGISendCallable, told: AntiphonError, headers: Iterable[Header] = ()) -> None:
    """Send an error, with the headers its class asks for."""
    await json(send, told.status, error_body(told), [*error_headers(told), *headers])


def error_headers(told: AntiphonError) -> list[Header]:
    """Say whether to try again, since clients would otherwise repeat every 409 and 5xx, and how to get in."""
    headers: list[Header] = []
    if told.should_retry is False:
        headers.append((b"x-should-retry", b"false"))
    if isinstance(told, RateLimited):
        headers += [(b"x-ratelimit-limit", b"%d" % told.limit), (b"x-ratelimit-remaining", b"0")]
    if isinstance(told, Unavailable | RateLimited):
        headers += [
            (b"retry-after", b"%d" % told.retry_after_s),
            (b"x-ratelimit-reset", b"%d" % (time.time() + told.retry_after_s)),
        ]
    if isinstance(told, InvalidKey):
        headers.append((b"www-authenticate", b"Bearer"))
    return headers
