"""Predictions, queues, engines and the store as Prometheus' metrics. Nothing in them tells one account from another.

Names with `gen_ai_` are those of OpenTelemetry's semantic conventions for generative AI as Prometheus writes them:
`gen_ai.server.request.duration`, `.time_to_first_token`, `.time_per_output_token`. For what these have no name for,
names begin with `antiphon_`.
"""

from collections.abc import AsyncGenerator, Callable, Container, Iterator, Sequence
from contextlib import asynccontextmanager

import anyio
from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.registry import Collector

from antiphon.core.groups import companions
from antiphon.core.registry import Registry
from antiphon.core.running import Running
from antiphon.domain.events import Usage
from antiphon.domain.prediction import Status
from antiphon.meters.shared import is_shared, of_all, reserve
from antiphon.meters.standing import MODEL, Standing

LOOK_S = 1.0
"""How old may be what a worker tells of another's queues."""
_LONG_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""The conventions' own borders for durations."""
_FIRST_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)


class Meters:
    """One server process's; see core.measures.Measures."""

    def __init__(self, registry: Registry, store_lag_s: Callable[[], float], is_store_well: Callable[[], bool]) -> None:
        """Measure.

        Args:
            registry: the models; their queues and engines are looked at when somebody asks.
            store_lag_s: how long what is written last has waited to be.
            is_store_well: whether the store answers.
        """
        if is_shared():
            reserve()
        self._collected = CollectorRegistry(auto_describe=False)
        self._ended = Counter(
            "antiphon_predictions",
            "Predictions that have ended, by how, and by the code of what went wrong.",
            (MODEL, "status", "reason", "error_type"),
            registry=self._collected,
        )
        self._tokens = Counter(
            "antiphon_tokens",
            "Tokens, by what they were: input and output are the whole, the others are parts of these.",
            (MODEL, "gen_ai_token_type"),
            registry=self._collected,
        )
        self._duration = self._histogram("gen_ai_server_request_duration", "From a prediction's beginning to its end.")
        self._queue = self._histogram("antiphon_queue_wait", "How long predictions waited for a slot.")
        first = "From a prediction's beginning to its first words."
        self._first = self._histogram("gen_ai_server_time_to_first_token", first, _FIRST_S)
        each = "Between a prediction's tokens behind the first, on average."
        self._each = self._histogram("gen_ai_server_time_per_output_token", each, _TOKEN_S)
        self._models: dict[str, _Model] = {}
        self._standing = Standing(registry, store_lag_s, is_store_well, self._collected)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Tell other workers, if there are any, how this one stands, for the body."""
        async with companions() as group:
            if is_shared():
                group.start_soon(self._look)
            yield

    async def _look(self) -> None:
        while True:
            self._standing.look()
            await anyio.sleep(LOOK_S)

    def _histogram(self, name: str, about: str, borders_s: Sequence[float] = _LONG_S) -> Histogram:
        label = (MODEL,)
        return Histogram(f"{name}_seconds", about, label, buckets=borders_s, registry=self._collected)

    def ended(self, running: Running) -> None:
        """Take note of a prediction that has ended."""
        prediction, usage = running.prediction, running.fold.usage
        model = self._of(prediction.model)
        error = running.error.said_code if running.error else ""
        model.ended(str(prediction.status), str(prediction.reason or ""), error)
        for kind, count in _counts(usage):
            if count:
                model.tokens(kind).inc(count)
        begun, ended = running.begun[Status.PENDING], running.begun[prediction.status]
        model.queue.observe(running.begun.get(Status.STARTING, ended) - begun)
        model.duration.observe(ended - begun)
        if running.first_at is not None and running.last_at is not None:
            model.first.observe(running.first_at - begun)
            if (behind := usage.completion_tokens - 1) > 0:
                model.each.observe((running.last_at - running.first_at) / behind)

    def _of(self, model: str) -> "_Model":
        found = self._models.get(model)
        if found is None:
            each = (self._queue, self._duration, self._first, self._each)
            series = [histogram.labels(model) for histogram in each]
            found = self._models[model] = _Model(model, self._ended, self._tokens, *series)
        return found

    def written(self, hidden: Container[str]) -> bytes:
        """Give everything in Prometheus' text format, but nothing of some models."""
        self._standing.look()
        told = CollectorRegistry(auto_describe=False)
        told.register(_Told(of_all(self._collected), hidden))
        return generate_latest(told)


class _Told(Collector):
    """What is measured, without some models."""

    def __init__(self, measured: CollectorRegistry, hidden: Container[str]) -> None:
        self._measured, self._hidden = measured, hidden

    def collect(self) -> Iterator[Metric]:
        for metric in self._measured.collect():
            metric.samples = [one for one in metric.samples if one.labels.get(MODEL) not in self._hidden]
            yield metric


class _Model:
    """One model's series: finding a series by its labels takes longer than counting in it."""

    def __init__(self, name: str, ended: Counter, tokens: Counter, *series: Histogram) -> None:
        self._name, self._ended, self._tokens = name, ended, tokens
        self.queue, self.duration, self.first, self.each = series
        self._known: dict[tuple[str, ...], Counter] = {}

    def ended(self, *labels: str) -> None:
        self._counter(self._ended, labels).inc()

    def tokens(self, kind: str) -> Counter:
        return self._counter(self._tokens, (kind,))

    def _counter(self, counter: Counter, labels: tuple[str, ...]) -> Counter:
        found = self._known.get(labels)
        if found is None:
            found = self._known[labels] = counter.labels(self._name, *labels)
        return found


def _counts(usage: Usage) -> Iterator[tuple[str, int]]:
    yield "input", usage.prompt_tokens
    yield "output", usage.completion_tokens
    yield "cached", usage.cached_tokens
    yield "reasoning", usage.reasoning_tokens
    yield "input_audio", usage.prompt_audio_tokens
    yield "output_audio", usage.audio_tokens
    yield "prediction_accepted", usage.accepted_prediction_tokens
    yield "prediction_rejected", usage.rejected_prediction_tokens
