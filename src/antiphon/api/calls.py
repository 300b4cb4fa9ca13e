"""From a request's bytes to a call that may run: what chat completions and predictions have in common."""

import math

from uvicorn._types import HTTPScope

from antiphon.api.exchange import exchange_of
from antiphon.api.heads import Header
from antiphon.api.incoming import header, preference
from antiphon.api.services import Services
from antiphon.core.limits import Ticket
from antiphon.core.ports import Work
from antiphon.core.registry import fit
from antiphon.core.running import Call
from antiphon.domain.chat import ChatRequest
from antiphon.domain.errors import InvalidRequest, Unsupported
from antiphon.domain.faults import FieldFault
from antiphon.domain.record import Webhook
from antiphon.domain.trace import Trace, trace_of

DEADLINE_HEADER = b"x-request-timeout-seconds"


def call_of(
    services: Services,
    scope: HTTPScope,
    request: ChatRequest,
    body: bytes,
    *,
    webhook: Webhook | None = None,
    is_streamed: bool = False,
) -> Call:
    """Resolve the model, and settle how it keeps what is asked.

    Raises:
        UnknownModel, Unsupported, InvalidRequest: it cannot run.
    """
    if request.store:
        need_records(services, "store")
    account: str = scope["state"]["account"]
    resolved = services.registry.resolve(request.model, account)
    contract = fit(request, resolved, services.predictor.senses)
    if request.ignored and preference(scope, b"handling") == b"strict":
        raise InvalidRequest(tuple(map(_unknown, request.ignored)))
    deadline_s = min(services.deadline_s, resolved.model.deadline_s, _asked_deadline_s(scope))
    work = Work(exchange_of(scope).request_id, account, request, _trace(services, scope))
    return Call(work, resolved, contract, deadline_s, body, webhook, is_streamed, scope["state"]["ticket"])


def _trace(services: Services, scope: HTTPScope) -> Trace | None:
    """Find whose trace a call is part of; the log line of its request tells it too."""
    if services.trace_ratio is None:
        return None
    parent, state = header(scope, b"traceparent"), header(scope, b"tracestate")
    trace = scope["state"]["trace"] = trace_of(parent, state, services.trace_ratio)
    return trace


async def let_in(services: Services, scope: HTTPScope) -> Ticket:
    """Let a request in before anything of it is read; its answer says how much is left.

    Raises:
        RateLimited, InsufficientQuota: its key has to wait.
        StorageUnavailable: nobody knows whether.
    """
    ticket = scope["state"]["ticket"] = await services.limiter.admit(scope["state"]["holder"])
    if standing := ticket.standing:
        exchange_of(scope).own_headers = [
            (b"x-ratelimit-limit", b"%d" % standing.limit),
            (b"x-ratelimit-remaining", b"%d" % standing.remaining),
            (b"x-ratelimit-reset", b"%d" % standing.reset),
        ]
    return ticket


def need_records(services: Services, param: str | None = None) -> None:
    """See that this server writes predictions down.

    Raises:
        Unsupported: it does not, and what was asked needs it.
    """
    if not services.has_records:
        raise Unsupported("This server does not keep predictions.", param=param)


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
        raise bad_header(DEADLINE_HEADER, "Not a positive number.")
    return seconds


def receipt_headers(call: Call) -> list[Header]:
    """Say what of a request was dropped, and what was adapted."""
    headers: list[Header] = []
    if ignored := call.work.request.ignored:
        headers.append((b"x-antiphon-ignored", ", ".join(ignored).encode()))
    if receipt := call.contract.receipt:
        headers.append((b"x-antiphon-parameters", ", ".join(receipt).encode()))
    return headers


def bad_header(name: bytes, msg: str) -> InvalidRequest:
    """Give the error of a header that cannot be read."""
    return InvalidRequest((FieldFault(("header", name.decode()), msg, "value_error", "invalid_value"),))


def _unknown(name: str) -> FieldFault:
    return FieldFault(("body", name), "There is no such parameter.", "extra_forbidden", "unknown_parameter")
