"""What every request passes first: an id, a key, and a net for whatever goes wrong behind."""

import re
import time
from collections.abc import Mapping

import structlog
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from antiphon.api import answer
from antiphon.api.exchange import exchange_of
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

    def __init__(self, app: ASGI3Application, keys: Keys, direct: Mapping[tuple[str, str], ASGI3Application]) -> None:
        """Stand before an application.

        Args:
            app: whatever serves the other paths.
            keys: who may ask.
            direct: what serves a method and a path without a way through a framework.
        """
        self._app, self._keys, self._direct = app, keys, direct

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        exchange = exchange_of(scope)
        exchange.begin()
        try:
            if scope["path"] not in PUBLIC:
                holder = scope["state"]["holder"] = await self._holder(scope)
                scope["state"]["account"] = holder.account
            app = self._direct.get((scope["method"], scope["path"]), self._app)
            await app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the net: nothing of it may reach a client but its kind
            if not isinstance(error, AntiphonError):
                _log.exception("request failed", request_id=str(exchange.request_id), path=_safe(scope["path"]))
            if exchange.status is None:
                await answer.error(send, tell(error))
        trace = scope["state"].get("trace")
        _log.info(
            "request",
            request_id=str(exchange.request_id),
            method=scope["method"],
            path=_safe(scope["path"]),
            status=exchange.status,
            ms=round((time.perf_counter() - exchange.begun) * 1000, 1),
            **({"trace_id": trace.id} if trace else {}),
        )

    async def _holder(self, scope: HTTPScope) -> Holder:
        """Find whose request this is.

        Raises:
            InvalidKey: no key, a malformed, an unknown or a revoked one: one answer for all.
        """
        sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        match = _BEARER.fullmatch(sent) if len(sent) <= KEY_BYTES else None
        holder = await self._keys.holder_of(match.group(1)) if match else None
        if holder is None:
            raise InvalidKey("A valid key is needed: send it as 'Authorization: Bearer <key>'.")
        return holder


def _safe(text: str) -> str:
    """A client's text for a log line: short, and printable in one line."""
    return text[:200].encode("unicode_escape").decode()
