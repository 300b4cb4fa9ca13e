"""POST /v1/chat/completions: a straight line from bytes to a prediction, and back."""

import structlog
from uvicorn._types import ASGIReceiveCallable, HTTPScope

from antiphon.api.calls import call_of, let_in, receipt_headers
from antiphon.api.exchange import Exchange
from antiphon.api.incoming import ClientLeft, read_body, refuse_body
from antiphon.api.pulse import Pulse
from antiphon.api.repeats import Repeats, key_of
from antiphon.api.replies import EventReply, Reply, WholeReply, refuse
from antiphon.api.services import Services
from antiphon.api.sources import Own, Source
from antiphon.core.running import Call
from antiphon.domain.errors import AntiphonError, BodyTooLarge, Draining, tell
from antiphon.wire.chat_request import read_chat
from antiphon.wire.openai import ReplyHead

_log = structlog.get_logger()


class ChatCompletions:
    """The endpoint."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._repeats = Repeats(services)

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        scope, receive = exchange.scope, exchange.receive
        try:
            async with await let_in(self._services, scope) as ticket:
                call = await self._read(scope, receive)
                source = await self._source(call, key_of(scope), receive)
                if not isinstance(source, Own):
                    await ticket.close()
        except ClientLeft:
            return
        except BodyTooLarge as error:
            await refuse_body(exchange.send, receive, error)
            return
        except AntiphonError as error:
            refuse(exchange, error)
            return
        await serve(source, _reply(call, source, exchange), exchange)

    async def _read(self, scope: HTTPScope, receive: ASGIReceiveCallable) -> Call:
        """Do everything that comes before a prediction exists.

        Raises:
            AntiphonError: the request is refused.
            ClientLeft: there is nobody to refuse it to.
        """
        services = self._services
        if services.predictor.is_draining:
            raise Draining("The server is shutting down.")
        body = await read_body(scope, receive, services.limits.body_bytes)
        return call_of(services, scope, read_chat(body, services.limits), body)

    async def _source(self, call: Call, key: str | None, receive: ASGIReceiveCallable) -> Source:
        """Begin the prediction, unless its key stands for one that is there."""
        predictor = self._services.predictor
        found = await self._repeats.find(call, key, receive) if key and self._services.has_records else None
        return found or Own(predictor, predictor.begin(call))


async def serve(source: Source, reply: Reply, exchange: Exchange) -> None:
    """Read an answer into its reply for as long as its client is there."""
    exchange.watch(source.leave)
    pulse = Pulse(reply) if isinstance(reply, EventReply) else None
    try:
        await source.play(reply.take)
        reply.done(source)
    except AntiphonError as error:
        reply.fail(error)
    except Exception as error:  # noqa: BLE001 - where a request ends: the client hears that it did
        _log.exception("prediction failed", request_id=exchange.id_text)
        reply.fail(tell(error))
    finally:
        exchange.forget()
        if pulse:
            pulse.stop()


def _reply(call: Call, source: Source, exchange: Exchange) -> Reply:
    request = call.work.request
    head = ReplyHead(source.completion_id, source.created, request.model_text, source.fingerprint)
    return (EventReply if request.stream else WholeReply)(exchange, request, head, receipt_headers(call))
