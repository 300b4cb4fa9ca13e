"""The small endpoints: health, and what is measured."""

import anyio
from fastapi import APIRouter, Request, Response

from antiphon.api.services import Services
from antiphon.domain.errors import StorageUnavailable
from antiphon.domain.limits import ADMIN

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def router(services: Services) -> APIRouter:
    """Give the routes, bound to what they need."""
    routes = APIRouter()

    @routes.get("/healthz", tags=["health"], summary="Whether the server runs")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz", tags=["health"], summary="Whether a request sent now would be taken")
    async def readyz(response: Response) -> dict[str, str]:
        status = _readiness(services)
        response.status_code = 200 if status == "ready" else 503
        return {"status": status}

    @routes.get("/metrics", tags=["health"], summary="What is measured, as Prometheus reads it")
    async def metrics(request: Request) -> Response:
        account = request.state.account
        hidden = frozenset() if account == ADMIN else services.registry.hidden_from(account)
        # In a thread: it takes milliseconds, and answers must not wait for it.
        return Response(await anyio.to_thread.run_sync(services.metrics, hidden), media_type=METRICS_TYPE)

    return routes


def _readiness(services: Services) -> str:
    if services.predictor.is_draining:
        return "draining"
    if not services.is_store_well():
        return StorageUnavailable.code
    engines = [engine for offer in services.registry.offers() for engine in offer.engines.values()]
    return "ready" if all(engine.state.is_ready for engine in engines) else "engine_unavailable"
