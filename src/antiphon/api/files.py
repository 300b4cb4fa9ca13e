"""OpenAI's five routes for files, which requests name by `file_id`."""

import time
from typing import Annotated, Literal, NoReturn
from uuid import uuid4

import anyio
from fastapi import APIRouter, Query, Request, Response

from antiphon.api.incoming import read_bytes
from antiphon.api.services import Services
from antiphon.domain.errors import BodyTooLarge, UnknownFile
from antiphon.domain.files import PURPOSE, File
from antiphon.wire.files import deleted_file, file_body, files_body, read_upload

PATH = "/v1/files"
_ONE = PATH + "/{file_id}"
FORM_BYTES = 16_384
"""What a form may have beside its file."""
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
        self._files, self._limits = services.files, services.file_limits

    async def create(self, request: Request) -> Response:
        limits = self._limits
        # starlette's scope is a plain mapping
        body = await read_bytes(request.scope, request.receive, limits.file_bytes + FORM_BYTES)  # type: ignore[arg-type]
        content_type = request.headers.get("content-type", "").encode("latin-1", "replace")
        upload = await anyio.to_thread.run_sync(read_upload, body, content_type)
        if len(upload.content) > limits.file_bytes:
            raise BodyTooLarge(f"A file has at most {limits.file_bytes} bytes.")
        now = int(time.time())
        expires = now + min(upload.expires_after_s or limits.retain_s, limits.retain_s)
        file = File(f"file-{uuid4().hex}", request.state.account, upload.filename, len(upload.content), now, expires)
        await self._files.add(file, upload.content, limits.quota)
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


def _unknown() -> NoReturn:
    raise UnknownFile("There is no such file.")


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
