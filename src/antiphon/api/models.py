"""Models and their versions, as two kinds of client read them: OpenAI's, and the prediction API's (by its name)."""

import re
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from antiphon.api.openapi import version_schemas
from antiphon.api.services import Services
from antiphon.core.registry import Resolved
from antiphon.domain.errors import InvalidRequest, UnknownModel
from antiphon.domain.faults import FieldFault
from antiphon.domain.models import Model, ModelName
from antiphon.wire import openai, wriftai

PAGE_SIZES = (5, 25, 50)
"""The least, the usual and the most models of one page of the prediction API."""

_CURSOR = re.compile("[0-9]{1,9}")


class Paging(BaseModel):
    """How the prediction API's lists of models are asked for."""

    cursor: str | None = None
    page_size: Annotated[int, Field(ge=PAGE_SIZES[0], le=PAGE_SIZES[2])] = PAGE_SIZES[1]
    sort_by: Literal["created_at", "predictions_count"] = "created_at"
    sort_direction: Literal["asc", "desc"] = "asc"
    category_slugs: list[str] = []


Asked = Annotated[Paging, Query()]


def router(services: Services) -> APIRouter:
    """Give the routes, bound to what they need."""
    rooms = _Models(services)
    routes = APIRouter(tags=["models"])
    routes.get("/v1/models", summary="List the models you may use")(rooms.every)
    routes.get("/v1/models/{owner}", summary="List one owner's models")(rooms.list_of_owner)
    routes.get("/v1/models/{owner}/{name}/versions", summary="List a model's versions, newest first")(rooms.versions)
    routes.get("/v1/models/{owner}/{name}/versions/{number}", summary="Describe one version of a model")(rooms.version)
    routes.get("/v1/models/{model:path}", summary="Describe one model, or one version of it")(rooms.get)
    return routes


class _Models:
    def __init__(self, services: Services) -> None:
        self._registry, self._archive, self._schemas = services.registry, services.archive, version_schemas()

    async def every(self, request: Request, paging: Asked) -> Response:
        models = self._registry.visible_to(request.state.account)
        return await self._page(models, paging) if _is_wriftai(request) else _json(openai.models_body(models))

    async def list_of_owner(self, request: Request, owner: str, paging: Asked) -> Response:
        models = [one for one in self._registry.visible_to(request.state.account) if one.owner == owner]
        if not models and not _is_wriftai(request):
            raise _unknown()
        return await self._page(models, paging)

    async def get(self, request: Request, model: str) -> Response:
        name = ModelName.parse(model)
        if name is None:
            raise _unknown()
        found = self._registry.resolve(name, request.state.account).model
        if not _is_wriftai(request):
            return _json(openai.model_body(found, name.number))
        counts = await self._archive.runs()
        return _json(wriftai.model_body(found, counts.get(found.id, 0), self._schemas))

    async def versions(self, request: Request, owner: str, name: str) -> Response:
        return _json(wriftai.versions_page(self._find(request, f"{owner}/{name}").model))

    async def version(self, request: Request, owner: str, name: str, number: str) -> Response:
        return _json(wriftai.version_body(self._find(request, f"{owner}/{name}:{number}").version, self._schemas))

    def _find(self, request: Request, text: str) -> Resolved:
        name = ModelName.parse(text)
        if name is None:
            raise _unknown()
        return self._registry.resolve(name, request.state.account)

    async def _page(self, models: list[Model], paging: Paging) -> Response:
        counts = await self._archive.runs()
        counted = [(model, counts.get(model.id, 0)) for model in models]
        if paging.sort_by == "predictions_count":
            counted = [(model, count) for model, count in counted if count]
        if paging.category_slugs:
            counted = []  # No model is in a category.
        counted.sort(key=lambda one: (one[0].created if paging.sort_by == "created_at" else one[1], one[0].id))
        if paging.sort_direction == "desc":
            counted.reverse()
        return _json(_cut(counted, paging.cursor, paging.page_size))


def _is_wriftai(request: Request) -> bool:
    """Whether the client is the prediction API's own: one list cannot have both forms."""
    return request.headers.get("user-agent", "").lower().startswith("wriftai")


def _cut(counted: list[tuple[Model, int]], cursor: str | None, size: int) -> bytes:
    """Give a part of a list that is whole in memory; its cursors are the places where parts begin."""
    if cursor is not None and not (_CURSOR.fullmatch(cursor) and int(cursor) < len(counted)):
        fault = FieldFault(("query", "cursor"), "This is not a cursor of this list.", "value_error", "invalid_value")
        raise InvalidRequest((fault,))
    start = int(cursor or 0)
    after = str(start + size) if start + size < len(counted) else None
    before = str(max(0, start - size)) if start else None
    return wriftai.models_page(counted[start : start + size], after, before)


def _unknown() -> UnknownModel:
    return UnknownModel("There is no such model: names are written owner/name or owner/name:N.", param="model")


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
