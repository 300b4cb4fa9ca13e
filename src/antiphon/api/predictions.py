"""Predictions as things of their own: created, waited for, looked at, listed, cancelled and followed."""

import re
from functools import partial
from typing import Annotated
from uuid import UUID

import anyio
from fastapi import APIRouter, Query, Request, Response
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope

from antiphon.api import answer
from antiphon.api.calls import bad_header, call_of, let_in, need_records, receipt_headers
from antiphon.api.following import follow_live, follow_record
from antiphon.api.incoming import ClientLeft, header, path_params, preference, read_body, refuse_body, while_there
from antiphon.api.services import Services
from antiphon.core.running import Running
from antiphon.domain.errors import (
    AntiphonError,
    BodyTooLarge,
    Draining,
    InvalidRequest,
    PredictionEnded,
    Unavailable,
    UnknownModel,
    UnknownPrediction,
)
from antiphon.domain.faults import FieldFault
from antiphon.domain.models import ModelName
from antiphon.domain.prediction import CancelReason, Prediction, Status
from antiphon.domain.record import Record
from antiphon.wire.wriftai import Create, in_input, page_body, prediction_body, read_create

WAIT_S = 60.0
"""How long `Prefer: wait` waits, and the most that `Prefer: wait=N` may ask for."""
PAGE_SIZES = (5, 25, 50)
"""The least, the usual and the most predictions of one page."""

_SECONDS = re.compile(rb"[0-9]{1,20}(?:\.[0-9]{1,40})?(?:e[+-]?[0-9]{1,3})?")
"""As a client's language writes a float."""


class Creation:
    """POST /v1/predictions, and the older forms that name the model in the path; an ASGI application."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one request."""
        try:
            async with await let_in(self._services, scope):
                create = await self._read(scope, receive)
                wait_s = asked_wait_s(scope)
                running = await self._start(scope, create)
        except ClientLeft:
            return
        except BodyTooLarge as error:
            await refuse_body(send, receive, error)
            return
        except AntiphonError as error:
            await answer.error(send, error, [answer.CLOSE] if isinstance(error, Draining) else [])
            return
        if create.is_streamed and wait_s is not None:
            await follow_live(running, None, _idle_s(scope), receive, send, headers=receipt_headers(running.call))
        else:
            await self._answer(scope, running, wait_s, receive, send)

    async def _read(self, scope: HTTPScope, receive: ASGIReceiveCallable) -> Create:
        services, params = self._services, path_params(scope)
        need_records(services)
        if services.predictor.is_draining:
            raise Draining("The server is shutting down.")
        # Always checked, so nothing is left to ask for; but what is not understood is not taken.
        if (header(scope, b"validate-input") or b"true").lower() not in {b"true", b"false"}:
            raise bad_header(b"validate-input", "Should be true or false.")
        body = await read_body(scope, receive, services.limits.body_bytes)
        model = None
        if "owner" in params:
            number = f":{params['number']}" if "number" in params else ""
            model = f"{params['owner']}/{params['name']}{number}"
            if ModelName.parse(model) is None:
                raise UnknownModel("There is no such model.", param="model")
        create = read_create(body, services.limits, model)
        if create.webhook:
            try:
                services.check_webhook(create.webhook.url)
            except ValueError as error:
                fault = FieldFault(("body", "webhook", "url"), str(error), "value_error", "url_not_allowed")
                raise InvalidRequest((fault,)) from None
        return create

    async def _start(self, scope: HTTPScope, create: Create) -> Running:
        try:
            call = call_of(
                self._services,
                scope,
                create.request,
                create.input,
                webhook=create.webhook,
                is_streamed=create.is_streamed,
            )
        except InvalidRequest as error:
            raise in_input(error) from None
        running = self._services.background.start(call)
        await running.beginning.wait()  # Nobody hears of a prediction that a crash could make unknown.
        if isinstance(running.error, Unavailable):
            raise running.error  # It was turned away at once: as with chat completions, its client may try again.
        return running

    async def _answer(
        self,
        scope: HTTPScope,
        running: Running,
        wait_s: float | None,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
    ) -> None:
        prediction = running.prediction
        if wait_s is not None:
            await while_there(receive, partial(_ended, running, wait_s))
        try:
            record = await self._services.archive.get(prediction.account, prediction.id)
            if record is None:
                raise UnknownPrediction("There is no such prediction.")
        except AntiphonError as error:
            await answer.error(send, error)
            return
        host = header(scope, b"host") or b"localhost"
        location = b"%s://%s/v1/predictions/%s" % (scope["scheme"].encode(), host, str(prediction.id).encode())
        headers = [(b"location", location), *receipt_headers(running.call)]
        await answer.json(send, 201, prediction_body(record), headers)


class Following:
    """GET /v1/predictions/{id}/stream; an ASGI application."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one request."""
        services, account = self._services, scope["state"]["account"]
        try:
            key = read_id(path_params(scope)["prediction_id"])
            after = _after(scope)
            idle_s = _idle_s(scope)
            running = services.predictor.find(account, key)
            record = None if running else await services.archive.get(account, key)
            if running is None and record is None:
                raise UnknownPrediction("There is no such prediction.")
            if running:
                await follow_live(running, after, idle_s, receive, send)
            elif record:
                predictor = services.predictor
                await follow_record(
                    services.archive, record, after, receive, send, is_draining=lambda: predictor.is_draining
                )
        except AntiphonError as error:
            await answer.error(send, error)


def router(services: Services) -> APIRouter:
    """Give the routes that answer whole, bound to what they need."""
    routes = APIRouter(tags=["predictions"])

    @routes.get("/v1/predictions", summary="List your predictions, newest first")
    async def list_predictions(
        request: Request,
        cursor: Annotated[str | None, Query(max_length=200)] = None,
        page_size: Annotated[int, Query(ge=PAGE_SIZES[0], le=PAGE_SIZES[2])] = PAGE_SIZES[1],
        statuses: Annotated[list[Status] | None, Query(max_length=20)] = None,
    ) -> Response:
        wanted = frozenset(statuses or ())
        page = await services.archive.page(request.state.account, cursor, page_size, wanted)
        return Response(page_body(page), media_type="application/json")

    @routes.get("/v1/predictions/{prediction_id}", summary="Look at one prediction")
    async def get_prediction(request: Request, prediction_id: str) -> Response:
        record = await services.archive.get(request.state.account, read_id(prediction_id))
        if record is None:
            raise UnknownPrediction("There is no such prediction.")
        return Response(prediction_body(record), media_type="application/json")

    @routes.post("/v1/predictions/{prediction_id}/cancel", summary="Ask for a prediction to be cancelled")
    async def cancel_prediction(request: Request, prediction_id: str) -> Response:
        await cancel(services, request.state.account, read_id(prediction_id))
        return Response(b"null", media_type="application/json")

    return routes


async def cancel(services: Services, account: str, key: UUID) -> None:
    """Ask for a prediction to be cancelled, wherever it runs. Asking again changes nothing.

    Raises:
        UnknownPrediction: there is none of that id.
        PredictionEnded: it has ended, and not because somebody asked.
    """
    found: Prediction | Record | None
    if running := services.predictor.find(account, key):
        found = running.prediction
        if not found.status.is_terminal:
            running.cancel(CancelReason.REQUESTED)
            return
    elif await services.archive.request_cancel(account, key):
        return
    else:
        found = await services.archive.get(account, key)
    if found is None:
        raise UnknownPrediction("There is no such prediction.")
    if found.reason is not CancelReason.REQUESTED:
        raise PredictionEnded("The prediction has ended already.")


def read_id(text: str) -> UUID:
    """Read a prediction's id.

    Raises:
        UnknownPrediction: it is none; the same answer as for one that nobody has.
    """
    try:
        found = UUID(text)
    except ValueError:
        found = None
    if found is None or str(found) != text.lower():
        raise UnknownPrediction("There is no such prediction.")
    return found


def asked_wait_s(scope: HTTPScope) -> float | None:
    """Read `Prefer: wait` or `wait=N`: how many seconds; None when it was not sent.

    Raises:
        InvalidRequest: N is not a number of seconds.
    """
    value = preference(scope, b"wait")
    if value is None:
        return None
    if value and not _SECONDS.fullmatch(value):
        raise bad_header(b"prefer", "wait should be a number of seconds.")
    return min(float(value), WAIT_S) if value else WAIT_S


def _idle_s(scope: HTTPScope) -> float | None:
    """Read for how long a stream may say nothing before it is closed; None, without a number, for ever."""
    wait_s = asked_wait_s(scope)
    return wait_s if preference(scope, b"wait") else None


def _after(scope: HTTPScope) -> str | None:
    query = Request(scope).query_params.get("after_id")  # type: ignore[arg-type]  # starlette's scope is a mapping
    return query or None


async def _ended(running: Running, wait_s: float) -> None:
    with anyio.move_on_after(wait_s):
        while not running.is_over:
            await running.change()
