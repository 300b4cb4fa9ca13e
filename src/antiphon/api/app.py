"""The HTTP application: its routes, what it says of itself, and every framework's error in our shape."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope

from antiphon import __version__
from antiphon.api import completions, files, health, models, predictions
from antiphon.api.answer import error_headers
from antiphon.api.chat import ChatCompletions
from antiphon.api.exchange import Endpoint, exchange_of
from antiphon.api.front import Front
from antiphon.api.incoming import ClientLeft
from antiphon.api.openapi import chat_components, chat_operation
from antiphon.api.predictions import Creation, Following
from antiphon.api.services import Services
from antiphon.domain.errors import AntiphonError, InvalidRequest, MethodNotAllowed, NotFound, tell
from antiphon.domain.faults import FieldFault
from antiphon.wire.openai import error_body

CHAT_PATH = "/v1/chat/completions"


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Describe the API; the chat endpoint, which is no FastAPI route, included."""
        described = super().openapi()
        if "post" not in described["paths"].setdefault(CHAT_PATH, {}):
            described["paths"][CHAT_PATH] |= chat_operation()
            described.setdefault("components", {}).setdefault("schemas", {}).update(chat_components())
        return described


class _Routed:
    """An endpoint that needs no framework, for the framework, which tells of each path which methods it takes."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await self._endpoint(exchange_of(scope))


def create_app(services: Services) -> Front:
    """Give the application over the services."""
    app = _App(title="Antiphon", version=__version__, redoc_url=None, redirect_slashes=False)
    for rooms in (health, models, predictions, completions, files):
        app.router.routes += rooms.router(services).routes  # Included, they would be one route that tells no methods.
    chat = ChatCompletions(services)
    endpoints: dict[str, Any] = {
        CHAT_PATH: _Routed(chat),
        "/v1/predictions": Creation(services),
        "/v1/models/{owner}/{name}/predictions": Creation(services),
        "/v1/models/{owner}/{name}/versions/{number}/predictions": Creation(services),
    }
    app.router.routes += [Route(path, endpoint, methods=["POST"]) for path, endpoint in endpoints.items()]
    app.router.routes.append(Route("/v1/predictions/{prediction_id}/stream", Following(services), methods=["GET"]))
    app.add_exception_handler(AntiphonError, _ours)
    app.add_exception_handler(ClientLeft, _left)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _ours)
    return Front(app, services.keys, {("POST", CHAT_PATH): chat})  # type: ignore[arg-type]  # starlette's scope is a plain mapping


def _methods(request: Request) -> list[str]:
    """Every method that the path takes: the framework names those of the first route only."""
    matching = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
    return sorted({method for route in matching for method in getattr(route, "methods", None) or ()})


async def _ours(_: Request, error: Exception) -> Response:
    told = tell(error)
    headers = {name.decode(): value.decode() for name, value in error_headers(told)}
    return Response(error_body(told), told.status, headers, "application/json")


async def _left(_: Request, __: Exception) -> Response:
    """Have nobody to answer."""
    return Response()


async def _invalid(request: Request, error: Exception) -> Response:
    """Answer what the framework finds wrong in a query or a path."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    faults = [FieldFault(tuple(one["loc"]), one["msg"], one["type"], "invalid_value") for one in found[:20]]
    return await _ours(request, InvalidRequest(tuple(faults)))


async def _http(request: Request, error: Exception) -> Response:
    """Answer what the framework refuses: a path or a method that is not there."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == MethodNotAllowed.status:
        response = await _ours(request, MethodNotAllowed("This path does not take this method."))
        response.headers["allow"] = ", ".join(_methods(request))
        return response
    return await _ours(request, NotFound("There is nothing at this path.") if status == NotFound.status else error)
