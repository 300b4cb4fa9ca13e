"""A prediction as spans, made from its times once it has ended: while it runs it costs nothing.

Names are those of OpenTelemetry's semantic conventions for generative AI. What was said, by whom and with which key is
in none of them. The conventions have no names for the parts of a server's work; theirs are `queue`, `first token` and
`generation`.
"""

from collections.abc import Iterator

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status as SpanStatus
from opentelemetry.trace.status import StatusCode

from antiphon import __version__
from antiphon.core.running import Running
from antiphon.domain.prediction import Status
from antiphon.domain.trace import Trace

Value = str | bool | int | float | tuple[str, ...]

_SCOPE = InstrumentationScope("antiphon", __version__)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET, _ERROR = SpanStatus(StatusCode.UNSET), SpanStatus(StatusCode.ERROR)
_SERVER_FAULT = 500
_NS = 1_000_000_000


class SpanMaker:
    """Makes the spans of one server."""

    def __init__(self, host: str, port: int) -> None:
        """Take the address it serves on."""
        own = Resource.create({"service.name": "antiphon", "service.version": __version__})
        # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say wins over what we do.
        self._resource = own.merge(OTELResourceDetector().detect())
        self._about: dict[str, Value] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "antiphon",
            "server.address": host,
            "server.port": port,
        }
        self._ids = RandomIdGenerator()

    def spans(self, running: Running, trace: Trace) -> Iterator[ReadableSpan]:
        """Give a span for each part that a prediction came to, and then its own, which says that all are there."""
        begun, ended = running.begun[Status.PENDING], running.begun[running.prediction.status]
        zero_ns = running.prediction.created_us * 1000
        own, error = _context(trace, int(trace.span, 16)), running.error

        def at_ns(moment: float) -> int:
            return zero_ns + int((moment - begun) * _NS)

        for name, since, until in _parts(running, begun, ended):
            yield ReadableSpan(
                name,
                _context(trace, self._ids.generate_span_id()),
                own,
                self._resource,
                start_time=at_ns(since),
                end_time=at_ns(until),
                instrumentation_scope=_SCOPE,
            )
        yield ReadableSpan(
            f"chat {running.prediction.model}",
            own,
            _context(trace, int(trace.parent, 16), is_remote=True) if trace.parent else None,
            self._resource,
            self._about | _attributes(running),
            kind=SpanKind.SERVER,
            # As HTTP's conventions have it for servers: what is the client's doing is no error of theirs.
            status=_ERROR if error and error.status >= _SERVER_FAULT else _UNSET,
            start_time=zero_ns,
            end_time=at_ns(ended),
            instrumentation_scope=_SCOPE,
        )


def _context(trace: Trace, span: int, *, is_remote: bool = False) -> SpanContext:
    state = TraceState.from_header([trace.state]) if trace.state else None
    return SpanContext(int(trace.id, 16), span, is_remote, _SAMPLED, state)


def _parts(running: Running, begun: float, ended: float) -> Iterator[tuple[str, float, float]]:
    """Each part's name, beginning and end; the last one ends with the prediction."""
    starting = running.begun.get(Status.STARTING)
    yield "queue", begun, ended if starting is None else starting
    if starting is not None:
        yield "first token", starting, running.first_at or ended
    if running.first_at is not None:
        yield "generation", running.first_at, running.last_at or ended


def _attributes(running: Running) -> dict[str, Value]:
    prediction, request = running.prediction, running.call.work.request
    sampling, usage = request.sampling, running.fold.usage
    told: dict[str, Value | None] = {
        "gen_ai.request.model": prediction.model,
        "gen_ai.request.stream": request.stream,
        "gen_ai.request.choice.count": sampling.n if sampling.n != 1 else None,
        "gen_ai.request.max_tokens": sampling.max_tokens,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "gen_ai.output.type": "speech" if request.speech else "json" if request.answer_format else None,
        "gen_ai.response.id": running.completion_id,
        "gen_ai.response.model": f"{prediction.model}:{prediction.version}",
        "gen_ai.response.finish_reasons": tuple(choice.reason for choice in running.fold.choices if choice.reason),
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens or None,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens or None,
        "error.type": running.error.said_code if running.error else None,
        "antiphon.cancel.reason": str(prediction.reason) if prediction.reason else None,
    }
    return {name: value for name, value in told.items() if value is not None}
