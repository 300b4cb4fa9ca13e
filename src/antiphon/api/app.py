"""The HTTP application: its routes, what it says of itself, and every framework's error in our shape."""

from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route
from uvicorn._types import ASGI3Application

from antiphon import __version__
from antiphon.api.answer import error_headers
from antiphon.api.chat import ChatCompletions
from antiphon.api.front import Front
from antiphon.api.openapi import chat_components, chat_operation
from antiphon.api.routes import router
from antiphon.api.services import Services
from antiphon.domain.errors import AntiphonError, MethodNotAllowed, NotFound, tell
from antiphon.wire.openai import error_body

CHAT_PATH = "/v1/chat/completions"


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Describe the API; the chat endpoint, which is no FastAPI route, included."""
        described = super().openapi()
        if CHAT_PATH not in described["paths"]:
            described["paths"][CHAT_PATH] = chat_operation()
            described.setdefault("components", {}).setdefault("schemas", {}).update(chat_components())
        return described


def create_app(services: Services) -> ASGI3Application:
    """Give the application over the services."""
    app = _App(title="Antiphon", version=__version__, redoc_url=None, redirect_slashes=False)
    app.include_router(router(services))
    app.router.routes.append(Route(CHAT_PATH, ChatCompletions(services), methods=["POST"]))
    app.add_exception_handler(AntiphonError, _ours)
    app.add_exception_handler(HTTPException, _http)
    return Front(app, services.keys)  # type: ignore[arg-type]  # starlette's scope is a plain mapping


async def _ours(_: Request, error: Exception) -> Response:
    told = tell(error)
    headers = {name.decode(): value.decode() for name, value in error_headers(told)}
    return Response(error_body(told), told.status, headers, "application/json")


async def _http(request: Request, error: Exception) -> Response:
    """Answer what the framework refuses: a path or a method that is not there."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == MethodNotAllowed.status:
        response = await _ours(request, MethodNotAllowed("This path does not take this method."))
        allow = (error.headers or {}).get("Allow") if isinstance(error, HTTPException) else None
        if allow:
            response.headers["allow"] = allow
        return response
    return await _ours(request, NotFound("There is nothing at this path.") if status == NotFound.status else error)
