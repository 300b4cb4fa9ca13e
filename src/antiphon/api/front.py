"""What every request passes first: an id, a key, and a net for whatever goes wrong behind."""

import re
import time
from collections.abc import Mapping

import structlog
from uvicorn._types import ASGI3Application

from antiphon.api import answer
from antiphon.api.exchange import Endpoint, Exchange
from antiphon.core.ports import Keys
from antiphon.domain.errors import AntiphonError, InvalidKey, tell
from antiphon.domain.limits import Holder

PUBLIC = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})
"""Everything else needs a key, paths that do not exist included."""
KEY_BYTES = 512
"""A longer credential is not looked at."""

_BEARER = re.compile(rb"bearer +(\S+) *", re.IGNORECASE)
_log = structlog.get_logger()


class Front:
    """The outermost application."""

    def __init__(self, app: ASGI3Application, keys: Keys, direct: Mapping[tuple[str, str], Endpoint]) -> None:
        """Stand before an application.

        Args:
            app: whatever serves the other paths.
            keys: who may ask.
            direct: what serves a method and a path without a way through a framework.
        """
        self._app, self._keys, self._direct = app, keys, direct

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        exchange.begin()
        scope = exchange.scope
        method, path = scope["method"], scope["path"]
        try:
            if path not in PUBLIC:
                holder = scope["state"]["holder"] = await self._holder(exchange)
                scope["state"]["account"] = holder.account
            if endpoint := self._direct.get((method, path)):
                await endpoint(exchange)
            else:
                await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:  # noqa: BLE001 - the net: nothing of it may reach a client but its kind
            if not isinstance(error, AntiphonError):
                _log.exception("request failed", request_id=exchange.id_text, path=_safe(path))
            if exchange.status is None:
                await answer.error(exchange.send, tell(error))
        finally:
            _tell(exchange)
            exchange.settle()

    async def _holder(self, exchange: Exchange) -> Holder:
        """Find whose request this is.

        Raises:
            InvalidKey: no key, a malformed, an unknown or a revoked one: one answer for all.
        """
        sent = exchange.headers.get(b"authorization", b"")
        match = _BEARER.fullmatch(sent) if len(sent) <= KEY_BYTES else None
        holder = await self._keys.holder_of(match.group(1)) if match else None
        if holder is None:
            raise InvalidKey("A valid key is needed: send it as 'Authorization: Bearer <key>'.")
        return holder


def _tell(exchange: Exchange) -> None:
    """Write a request's line."""
    scope = exchange.scope
    trace = scope["state"].get("trace")
    _log.info(
        "request",
        request_id=exchange.id_text,
        method=scope["method"],
        path=_safe(scope["path"]),
        status=exchange.status,
        ms=round((time.perf_counter() - exchange.begun) * 1000, 1),
        **({"trace_id": trace.id} if trace else {}),
    )


def _safe(text: str) -> str:
    """A client's text for a log line: short, and printable in one line."""
    return text[:200].encode("unicode_escape").decode()
