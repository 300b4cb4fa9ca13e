"""POST /v1/chat/completions: a straight line from bytes to a prediction, and back."""

import math
import time
from dataclasses import dataclass
from uuid import UUID

import anyio
import structlog
from anyio.abc import TaskGroup
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope

from antiphon.api import answer
from antiphon.api.answer import Header
from antiphon.api.incoming import ClientLeft, discard, header, prefers, read_body
from antiphon.api.replies import EventReply, Reply, WholeReply
from antiphon.api.services import Services
from antiphon.core.contract import Contract
from antiphon.core.ports import Work
from antiphon.core.registry import Resolved, fit
from antiphon.domain.errors import AntiphonError, BodyTooLarge, Draining, FieldFault, InvalidRequest, tell
from antiphon.domain.prediction import CancelReason
from antiphon.wire.chat_request import read_chat
from antiphon.wire.openai import ReplyHead, error_body

KEEP_ALIVE_S = 15.0
"""How long a stream may be silent before a comment is sent."""
DEADLINE_HEADER = b"x-request-timeout-seconds"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Call:
    """A request that may run."""

    work: Work
    resolved: Resolved
    contract: Contract
    deadline_s: float


class ChatCompletions:
    """The endpoint, as an ASGI application."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one request."""
        try:
            call = await self._read(scope, receive)
        except ClientLeft:
            return
        except BodyTooLarge as error:
            # The answer first, then the rest of the body, then the close: in that order its sender can read it.
            await _refuse_body(send, receive, error)
            return
        except AntiphonError as error:
            await answer.error(send, error, [answer.CLOSE] if isinstance(error, Draining) else [])
            return
        await self._predict(call, _reply(call, send), receive)

    async def _read(self, scope: HTTPScope, receive: ASGIReceiveCallable) -> Call:
        """Do everything that comes before a prediction exists.

        Raises:
            AntiphonError: the request is refused.
            ClientLeft: there is nobody to refuse it to.
        """
        services, state = self._services, scope["state"]
        if services.predictor.is_draining:
            raise Draining("The server is shutting down.")
        body = await read_body(scope, receive, services.limits.body_bytes)
        request = read_chat(body, services.limits)
        resolved = services.registry.resolve(request.model, state["account"])
        contract = fit(request, resolved)
        if request.ignored and prefers(scope, b"handling", b"strict"):
            raise InvalidRequest(tuple(map(_unknown, request.ignored)))
        deadline_s = min(services.deadline_s, resolved.model.deadline_s, _asked_deadline_s(scope))
        return Call(Work(state["request_id"], state["account"], request), resolved, contract, deadline_s)

    async def _predict(self, call: Call, reply: Reply, receive: ASGIReceiveCallable) -> None:
        """Run the prediction for as long as its client is there."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch, call.work.prediction_id, receive)
            try:
                await self._answer(call, reply, group)
            except AntiphonError as error:
                await reply.fail(error)
            except Exception as error:  # noqa: BLE001 - where a request ends: the client hears that it did
                _log.exception("prediction failed", request_id=str(call.work.prediction_id))
                await reply.fail(tell(error))
            group.cancel_scope.cancel()

    async def _answer(self, call: Call, reply: Reply, group: TaskGroup) -> None:
        pulse = _Pulse(reply)
        group.start_soon(pulse.beat)
        async with self._services.predictor.predict(
            call.work, call.resolved, call.contract, call.deadline_s
        ) as running:
            async for event in running:
                pulse.touch()
                await reply.event(event)
        await reply.done(running.fold.completion)

    async def _watch(self, prediction_id: UUID, receive: ASGIReceiveCallable) -> None:
        """End the prediction when its client leaves: a plain answer would never notice."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._services.predictor.cancel(prediction_id, CancelReason.CLIENT_GONE)


class _Pulse:
    """Keeps a silent stream's connection open."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._last = time.monotonic()

    def touch(self) -> None:
        self._last = time.monotonic()

    async def beat(self) -> None:
        while True:
            await anyio.sleep(KEEP_ALIVE_S)
            if time.monotonic() - self._last >= KEEP_ALIVE_S:
                await self._reply.keep_alive()


def _reply(call: Call, send: ASGISendCallable) -> Reply:
    request = call.work.request
    head = ReplyHead(
        id=f"chatcmpl-{call.work.prediction_id.hex}",
        created=int(time.time()),
        model=request.model_text,
        fingerprint=call.resolved.fingerprint,
    )
    headers = [(b"x-antiphon-ignored", ", ".join(request.ignored).encode())] if request.ignored else []
    if call.contract.receipt:
        headers.append((b"x-antiphon-parameters", ", ".join(call.contract.receipt).encode()))
    return (EventReply if request.stream else WholeReply)(send, request, head, headers)


async def _refuse_body(send: ASGISendCallable, receive: ASGIReceiveCallable, error: BodyTooLarge) -> None:
    data = error_body(error)
    headers: list[Header] = [answer.JSON, (b"content-length", b"%d" % len(data)), answer.CLOSE]
    await answer.start(send, error.status, headers)
    await answer.body(send, data, more=True)
    await discard(receive)
    await answer.body(send, b"")


def _asked_deadline_s(scope: HTTPScope) -> float:
    """Read how long the client is ready to wait; for ever when it does not say.

    Raises:
        InvalidRequest: it is not a positive number.
    """
    value = header(scope, DEADLINE_HEADER)
    if value is None:
        return math.inf
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        fault = FieldFault(
            ("header", DEADLINE_HEADER.decode()), "Not a positive number.", "value_error", "invalid_value"
        )
        raise InvalidRequest((fault,))
    return seconds


def _unknown(name: str) -> FieldFault:
    return FieldFault(("body", name), "There is no such parameter.", "extra_forbidden", "unknown_parameter")
