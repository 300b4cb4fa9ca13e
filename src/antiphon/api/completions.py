"""Stored completions: OpenAI's five routes over the predictions that asked to be stored."""

import re
from typing import Annotated, Literal, NoReturn
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from antiphon.api.incoming import read_body
from antiphon.api.services import Services
from antiphon.core.ports import StoredQuery
from antiphon.domain.errors import InvalidRequest, UnknownCompletion
from antiphon.domain.faults import FieldFault
from antiphon.domain.record import Record
from antiphon.wire.chat_request import read_metadata
from antiphon.wire.stored import deleted_body, messages_page, stored_body, stored_messages, stored_page

PATH = "/v1/chat/completions"
_ONE = PATH + "/{key}"
MOST = 100
"""How many items a page may have; 20 unless asked."""

_PAIRS = 16
_ID = re.compile(r"chatcmpl-([0-9a-f]{32})")
_KEY_CHARS = 64
_FILTER = re.compile(r"metadata\[(.*)\]", re.DOTALL)
Limit = Annotated[int, Query(ge=1, le=MOST)]
Order = Annotated[Literal["asc", "desc"], Query()]


def router(services: Services) -> APIRouter:
    """Give the routes, bound to what they need."""
    rooms = _Stored(services)
    routes = APIRouter(tags=["stored completions"])
    routes.get(PATH, summary="List your stored completions")(rooms.list)
    routes.get(_ONE, summary="Read one stored completion")(rooms.get)
    routes.post(_ONE, summary="Give a stored completion other metadata")(rooms.update)
    routes.delete(_ONE, summary="Take a completion out of the stored ones")(rooms.delete)
    routes.get(_ONE + "/messages", summary="List the messages of a stored completion")(rooms.messages)
    return routes


class _Stored:
    def __init__(self, services: Services) -> None:
        self._kept, self._limits = services.completions, services.limits

    async def list(
        self,
        request: Request,
        model: str | None = None,
        after: str | None = None,
        limit: Limit = 20,
        order: Order = "asc",
    ) -> Response:
        last = _read_id(after, "after") if after else None
        query = StoredQuery(model or None, _filters(request), last, order == "desc", limit)
        records, has_more = await self._kept.list(request.state.account, query)
        return _json(stored_page(records, has_more=has_more))

    async def get(self, request: Request, key: str) -> Response:
        return _json(stored_body(await self._find(request, key)))

    async def update(self, request: Request, key: str) -> Response:
        # starlette's scope is a plain mapping
        body = await read_body(request.scope, request.receive, self._limits.body_bytes)  # type: ignore[arg-type]
        metadata = read_metadata(body, self._limits)
        record = await self._kept.relabel(request.state.account, _read_id(key), metadata)
        return _json(stored_body(record or _unknown()))

    async def delete(self, request: Request, key: str) -> Response:
        if not await self._kept.unstore(request.state.account, _read_id(key)):
            _unknown()
        return _json(deleted_body(key))

    async def messages(
        self, request: Request, key: str, after: str | None = None, limit: Limit = 20, order: Order = "asc"
    ) -> Response:
        messages = stored_messages(await self._find(request, key))
        if order == "desc":
            messages.reverse()
        start = 0
        if after:
            start = next((place + 1 for place, one in enumerate(messages) if one["id"] == after), -1)
            if start < 0:
                raise UnknownCompletion("'after' is not a message of this completion.", param="after")
        return _json(messages_page(messages[start : start + limit], has_more=start + limit < len(messages)))

    async def _find(self, request: Request, key: str) -> Record:
        return await self._kept.find(request.state.account, _read_id(key)) or _unknown()


def _filters(request: Request) -> dict[str, str]:
    """Read `metadata[key]=value`.

    Raises:
        InvalidRequest: a key twice, or what no completion can have: more pairs, or a longer key.
    """
    pairs = [
        (match[1], value) for name, value in request.query_params.multi_items() if (match := _FILTER.fullmatch(name))
    ]
    found = dict(pairs)
    if len(found) < len(pairs) or len(found) > _PAIRS or any(len(key) > _KEY_CHARS for key in found):
        msg = "At most 16 pairs, each key once, and of at most 64 characters."
        raise InvalidRequest((FieldFault(("query", "metadata"), msg, "value_error", "invalid_value"),))
    return found


def _read_id(text: str, param: str | None = None) -> UUID:
    match = _ID.fullmatch(text)
    return UUID(match[1]) if match else _unknown(param)


def _unknown(param: str | None = None) -> NoReturn:
    raise UnknownCompletion("There is no such stored completion.", param=param)


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
