"""The small endpoints: models and health."""

from fastapi import APIRouter, Request, Response

from antiphon.api.services import Services
from antiphon.domain.errors import UnknownModel
from antiphon.domain.models import ModelName
from antiphon.wire.openai import model_body, models_body


def router(services: Services) -> APIRouter:
    """Give the routes, bound to what they need."""
    routes = APIRouter()

    @routes.get("/v1/models", tags=["models"], summary="List the models you may use")
    async def list_models(request: Request) -> Response:
        return _json(models_body(services.registry.visible_to(request.state.account)))

    @routes.get("/v1/models/{model:path}", tags=["models"], summary="Describe one model, or one version of it")
    async def get_model(request: Request, model: str) -> Response:
        name = ModelName.parse(model)
        if name is None:
            raise UnknownModel("There is no such model: names are written owner/name or owner/name:N.", param="model")
        return _json(model_body(services.registry.resolve(name, request.state.account).model, name.number))

    @routes.get("/healthz", tags=["health"], summary="Whether the server runs")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz", tags=["health"], summary="Whether a request sent now would be taken")
    async def readyz(response: Response) -> dict[str, str]:
        status = _readiness(services)
        response.status_code = 200 if status == "ready" else 503
        return {"status": status}

    return routes


def _readiness(services: Services) -> str:
    if services.predictor.is_draining:
        return "draining"
    engines = [engine for offer in services.registry.offers() for engine in offer.engines.values()]
    return "ready" if all(engine.state.is_ready for engine in engines) else "engine_unavailable"


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
