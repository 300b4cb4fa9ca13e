"""What is looked at rather than counted: how full, how well. Of several workers each looks at its own."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from antiphon import __version__
from antiphon.core.registry import Registry

MODEL = "gen_ai_request_model"
"""The label that names a model, here and in all that is counted."""


class Standing:
    """The queues, engines and store of one process."""

    def __init__(
        self,
        registry: Registry,
        store_lag_s: Callable[[], float],
        is_store_well: Callable[[], bool],
        collected: CollectorRegistry,
    ) -> None:
        """Tell what does not change; see Meters for the rest."""
        self._registry, self._store_lag_s, self._is_store_well = registry, store_lag_s, is_store_well

        def gauge(name: str, about: str, of_all: str, *labels: str) -> Gauge:
            return Gauge(f"antiphon_{name}", about, labels, registry=collected, multiprocess_mode=of_all)  # type: ignore[arg-type]

        model, version = MODEL, "version"
        self._queued = gauge("queue_depth", "Requests that wait for a slot.", "livesum", model)
        self._held = gauge("slots_held", "Slots that are held.", "livesum", model)
        self._slots = gauge("slots", "Slots there are.", "livesum", model)
        self._ready = gauge("engine_ready", "Whether a version's engine is ready.", "livemin", model, version)
        again = "How often a version's engine was started again."
        self._restarts = Counter("antiphon_engine_restarts", again, (model, version), registry=collected)
        self._known: dict[tuple[str, str], int] = {}
        """The restarts that were told."""
        lag = "How long what is to be written of predictions waits already."
        self._lag_s = gauge("store_lag_seconds", lag, "livemax")
        self._well = gauge("store_ready", "Whether the store answers.", "livemin")
        gauge("start_time_seconds", "When the server started.", "min").set(time.time())
        gauge("info", "Which version runs.", "livemax", version).labels(__version__).set(1)

    def look(self) -> None:
        """Tell how it all stands now."""
        for offer in self._registry.offers():
            model, admission = offer.model.id, offer.admission
            self._queued.labels(model).set(admission.queued)
            self._held.labels(model).set(admission.slots - admission.free)
            self._slots.labels(model).set(admission.slots)
            for number, engine in offer.engines.items():
                version = (model, str(number))
                self._ready.labels(*version).set(engine.state.is_ready)
                self._restarts.labels(*version).inc(engine.state.restarts - self._known.get(version, 0))
                self._known[version] = engine.state.restarts
        self._lag_s.set(self._store_lag_s())
        self._well.set(self._is_store_well())
