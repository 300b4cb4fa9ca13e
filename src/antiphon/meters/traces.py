"""Traces, sent to a collector by OTLP over HTTP: from a thread of their own, in batches, and never waited for."""

import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio
import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from antiphon.core.running import Running
from antiphon.meters.spans import SpanMaker

MOST_WAITING = 4096
"""Spans that wait to be sent, some 2 KiB each; past that the oldest are dropped."""
MOST_SENT = 512
"""Spans in one request."""
EVERY_S = 1.0
"""How long a span waits for others to be sent with."""
SEND_S = 3.0
"""How long a collector may take over one request, tries included."""
CLOSE_S = 2.0
"""After the end, how long sending goes on; what is under way then has its own time."""

_log = structlog.get_logger()


class Traces:
    """Sends the spans of predictions; see core.measures.Measures."""

    def __init__(self, spans: SpanMaker, processor: BatchSpanProcessor) -> None:
        self._spans, self._processor = spans, processor

    def ended(self, running: Running) -> None:
        """Put a prediction's spans where the thread takes them from."""
        trace = running.call.work.trace
        if trace is not None and trace.is_sampled:
            for span in self._spans.spans(running, trace):
                self._processor.on_end(span)


@asynccontextmanager
async def open_traces(url: str, spans: SpanMaker) -> AsyncGenerator[Traces]:
    """Send traces for the body; leaving sends what still waits, for a few seconds at most.

    Args:
        url: the collector's, without `/v1/traces`. Its headers, certificate and compression are read from the
            standard variables (OTEL_EXPORTER_OTLP_HEADERS, …).
        spans: what makes them.
    """
    # It logs each failed try, each batch and each dropped span. What is worth a line is told below, once.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
    exporter = _Exporter(OTLPSpanExporter(f"{url.rstrip('/')}/v1/traces", timeout=SEND_S))
    processor = BatchSpanProcessor(
        exporter,
        max_queue_size=MOST_WAITING,
        max_export_batch_size=MOST_SENT,
        schedule_delay_millis=EVERY_S * 1000,
    )
    try:
        yield Traces(spans, processor)
    finally:
        exporter.hurry()
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + CLOSE_S + 2 * SEND_S):
            await anyio.to_thread.run_sync(processor.shutdown)


class _Exporter(SpanExporter):
    """The library's exporter, with an end, and one line in the log when it stops working and when it works again."""

    def __init__(self, exporter: OTLPSpanExporter) -> None:
        self._exporter = exporter
        self._works = True
        self._until = float("inf")

    def hurry(self) -> None:
        """Send what waits; but not for long, and not to a collector that is away."""
        self._until = time.monotonic() + CLOSE_S
        if not self._works:
            self.shutdown()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; called by the thread."""
        is_ending = self._until < float("inf")
        if is_ending and (not self._works or time.monotonic() > self._until):
            return SpanExportResult.FAILURE
        result = self._exporter.export(spans)
        works = result is SpanExportResult.SUCCESS
        if works and not self._works:
            _log.info("traces are sent again")
        elif self._works and not works:
            _log.warning("traces cannot be sent: they are dropped until their collector takes them")
        self._works = works
        return result

    def shutdown(self) -> None:
        """End it."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
