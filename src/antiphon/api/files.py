"""OpenAI's five routes for files, which requests name by `file_id`."""

from typing import Annotated, Literal, NoReturn

from fastapi import APIRouter, Query, Request, Response
from starlette.types import Receive, Scope, Send
from uvicorn._types import ASGIReceiveCallable, ASGIReceiveEvent

from antiphon.api.incoming import refuse_body
from antiphon.api.services import Services
from antiphon.api.uploads import Uploads
from antiphon.domain.errors import AntiphonError, UnknownFile
from antiphon.domain.files import PURPOSE
from antiphon.wire.files import deleted_file, file_body, files_body

PATH = "/v1/files"
_ONE = PATH + "/{file_id}"
MOST = 10_000


def router(services: Services) -> APIRouter:
    """Give the routes, bound to what they need."""
    rooms = _Files(services)
    routes = APIRouter(tags=["files"])
    routes.post(PATH, summary="Put a file here")(rooms.create)
    routes.get(PATH, summary="List your files")(rooms.list)
    routes.get(_ONE, summary="Read what is known of a file")(rooms.get)
    routes.get(_ONE + "/content", summary="Read a file")(rooms.content)
    routes.delete(_ONE, summary="Remove a file")(rooms.delete)
    return routes


class _Files:
    def __init__(self, services: Services) -> None:
        self._files, self._uploads = services.files, Uploads(services.files, services.file_limits)

    async def create(self, request: Request) -> Response:
        body = _Body(request.receive)  # type: ignore[arg-type]  # starlette's messages are plain mappings
        try:
            file = await self._uploads.take(request.scope, body.receive, request.state.account)  # type: ignore[arg-type]
        except AntiphonError as error:
            if body.is_read:
                raise
            return _Refusal(error)
        return _json(file_body(file))

    async def list(
        self,
        request: Request,
        purpose: str | None = None,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=MOST)] = MOST,
        order: Annotated[Literal["asc", "desc"], Query()] = "desc",
    ) -> Response:
        if purpose not in {None, PURPOSE}:
            return _json(files_body([], has_more=False))
        found, has_more = await self._files.list(request.state.account, after, limit, is_descending=order == "desc")
        return _json(files_body(found, has_more=has_more))

    async def get(self, request: Request, file_id: str) -> Response:
        return _json(file_body(await self._files.get(request.state.account, file_id) or _unknown()))

    async def content(self, request: Request, file_id: str) -> Response:
        _, content = await self._files.content(request.state.account, file_id) or _unknown()
        # Never shown as what it says it is: a page of somebody's would run in the name of this server.
        return Response(content, media_type="application/octet-stream", headers={"x-content-type-options": "nosniff"})

    async def delete(self, request: Request, file_id: str) -> Response:
        if not await self._files.remove(request.state.account, file_id):
            _unknown()
        return _json(deleted_file(file_id))


class _Body:
    """A request's body; knows whether it was read to its end."""

    def __init__(self, receive: ASGIReceiveCallable) -> None:
        self._receive = receive
        self.is_read = False

    async def receive(self) -> ASGIReceiveEvent:
        message = await self._receive()
        self.is_read = message["type"] != "http.request" or not message["more_body"]
        return message


class _Refusal(Response):
    """An error for a client that is still sending: one that is not heard out does not hear the answer either."""

    def __init__(self, error: AntiphonError) -> None:
        super().__init__()
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await refuse_body(send, receive, self._error)  # type: ignore[arg-type]


def _unknown() -> NoReturn:
    raise UnknownFile("There is no such file.")


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
