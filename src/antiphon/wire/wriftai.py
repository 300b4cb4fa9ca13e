"""The prediction API's JSON, both directions.

Source: the `wriftai` package 0.34.0 for Python and what is public of its platform. A page has exactly three keys (the
client unpacks it into three fields); an event has `id`, `event` and JSON `data`. What is not public is decided in
docs/decisions/0006-predictions.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from antiphon.domain.chat import ChatRequest
from antiphon.domain.errors import AntiphonError, InvalidRequest
from antiphon.domain.events import Usage
from antiphon.domain.faults import FieldFault
from antiphon.domain.models import Model, Version
from antiphon.domain.prediction import CancelReason
from antiphon.domain.record import Page, Record, Webhook
from antiphon.wire.chat_request import chat_of
from antiphon.wire.faults import faults
from antiphon.wire.json_in import Limits, read_json, refuse, write_json

NOT_OURS = frozenset(
    {
        *("prediction_cancelled", "context_length_exceeded", "unsupported_parameter", "unsupported_value"),
        *("invalid_value", "url_not_allowed", "file_not_found"),
    }
)
"""Codes of failures whose cause is the request or its client: `external` to the API."""


class _Hook(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    url: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    secret: Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[^\x00-\x1f]+$")] | None = None


class _Create(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    model: str
    input: dict[str, Any]
    webhook: _Hook | None = None
    stream: bool | None = None


@dataclass(frozen=True, slots=True)
class Create:
    """A prediction that is asked for."""

    request: ChatRequest
    input: bytes
    """As it is kept."""
    webhook: Webhook | None
    is_streamed: bool


def read_create(body: bytes, limits: Limits, model: str | None = None) -> Create:
    """Read and check a request for a prediction; its `input` is a chat request without its model.

    Args:
        body: JSON.
        limits: how large it may be.
        model: from the path, where that names it.

    Raises:
        BodyTooLarge, InvalidRequest: as for a chat request; what is wrong in `input` is named there.
    """
    tree = read_json(body, limits)
    if not isinstance(tree, dict):
        refuse("The request body should be a JSON object.", "model_type", "invalid_type")
    asked = tree if model is None else {"model": model} | tree
    try:
        create = _Create.model_validate(asked)
    except ValidationError as error:
        raise InvalidRequest(faults(error.errors(include_url=False), asked)) from None
    if model is not None and create.model != model:
        refuse("The model is another than the path names.", "value_error", "invalid_value", ("model",))
    for name, value in (("model", create.model), ("stream", bool(create.stream))):
        given = create.input.get(name)
        if given is not None and (type(given) is not type(value) or given != value):
            refuse(
                f"'{name}' belongs beside the input, and is another there.",
                "value_error",
                "invalid_value",
                ("input", name),
            )
    try:
        request = chat_of({**create.input, "model": create.model, "stream": None}, len(body), limits)
    except InvalidRequest as error:
        raise in_input(error) from None
    hook = Webhook(create.webhook.url, create.webhook.secret) if create.webhook else None
    return Create(request, write_json(create.input), hook, bool(create.stream))


def in_input(error: InvalidRequest) -> InvalidRequest:
    """Give what is wrong with a chat request as what is wrong with the input it is."""
    return InvalidRequest(tuple(map(_within, error.faults)))


def _within(fault: FieldFault) -> FieldFault:
    if fault.loc[0] != "body" or fault.loc[:2] == ("body", "model"):
        return fault
    return replace(fault, loc=("body", "input", *fault.loc[1:]))


# -- predictions


def prediction_body(record: Record) -> bytes:
    """Give one prediction, with its input and output."""
    return orjson.dumps(
        _brief(record)
        | {
            "input": _kept(record.request),
            "output": _kept(record.output),
            "error": _error(record),
            "metrics": _metrics(record) if record.status.is_terminal else None,
            "stream": record.is_streamed,
        }
    )


def page_body(page: Page) -> bytes:
    """Give a part of a list of predictions."""
    return _page(map(_brief, page.records), page.next_cursor, page.previous_cursor)


def _page(items: Iterable[Any], after: str | None = None, before: str | None = None) -> bytes:
    return orjson.dumps({"items": list(items), "next_cursor": after, "previous_cursor": before})


def _brief(record: Record) -> dict[str, Any]:
    owner, _, name = record.model.partition("/")
    return {
        "id": str(record.id),
        "created_at": _time(record.created_us / 1e6),
        "updated_at": _time(record.updated_us / 1e6),
        "status": record.status.value,
        "setup_time": _duration(record.timings.setup_s),
        "execution_time": _duration(record.timings.execution_s),
        "model": {"owner": owner, "name": name, "version_number": record.version},
    }


def _kept(body: bytes | None) -> Any:
    return None if body is None else orjson.Fragment(body)


def _error(record: Record) -> dict[str, Any] | None:
    if record.failure is None:
        return None
    return _failure(record.failure.code, record.failure.message, record.reason)


def _failure(code: str, message: str, reason: CancelReason | None) -> dict[str, Any]:
    detail = {"code": code, "reason": reason and reason.value}
    return {"source": "external" if code in NOT_OURS else "internal", "message": message, "detail": detail}


def _metrics(record: Record) -> dict[str, Any]:
    return {
        "usage": _usage(record.usage),
        "queue_time": _duration(record.timings.queue_s),
        "engine": record.engine,
        "parameters": list(record.receipt),
    }


def _usage(usage: Usage) -> dict[str, int]:
    names = [name for name in Usage.__dataclass_fields__ if not name.startswith("_")]
    return {name: getattr(usage, name) for name in (*names, "total_tokens")}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _duration(seconds: float | None) -> str | None:
    """An ISO 8601 duration."""
    return None if seconds is None else f"PT{seconds:.6f}S"


# -- events

INIT_ID = "init"
DONE_ID = "done"


def event_frame(event_id: str, kind: str, data: bytes) -> bytes:
    """Give one event; `data` is JSON without line breaks."""
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event_id.encode(), kind.encode(), data)


def init_data(prediction_id: str) -> bytes:
    """Give the data of the first event."""
    return orjson.dumps({"id": prediction_id})


def failure_data(record: Record) -> bytes:
    """Give the data of the error event of a prediction that has ended."""
    return orjson.dumps(
        _error(record) or {"source": "internal", "message": "The prediction did not succeed.", "detail": None}
    )


def error_data(error: AntiphonError, reason: CancelReason | None = None) -> bytes:
    """Give the data of an error event, the same as the prediction's `error`."""
    return orjson.dumps(_failure(error.said_code, error.message, reason))


def done_data(prediction_id: str, usage: Usage) -> bytes:
    """Give the data of the last event of an answer."""
    return orjson.dumps({"id": prediction_id, "status": "succeeded", "metrics": {"usage": _usage(usage)}})


# -- models


def models_page(models: Iterable[tuple[Model, int]], after: str | None, before: str | None) -> bytes:
    """Give a part of a list of models, each with the number of its predictions."""
    return _page((_model(model, count) for model, count in models), after, before)


def model_body(model: Model, predictions: int, schemas: Any) -> bytes:
    """Give one model; `schemas` are those of its versions."""
    latest = model.versions[-1]
    more = dict.fromkeys(("overview", "source_url", "license_url", "paper_url"))
    return orjson.dumps(_model(model, predictions) | more | {"latest_version": _version(latest) | _details(schemas)})


def versions_page(model: Model) -> bytes:
    """Give a model's versions, newest first."""
    return _page(_version(version) for version in reversed(model.versions))


def version_body(version: Version, schemas: Any) -> bytes:
    """Give one version."""
    return orjson.dumps(_version(version) | _details(schemas))


def _model(model: Model, predictions: int) -> dict[str, Any]:
    created = _time(model.created)
    return {
        "id": model.id,
        "name": model.name,
        "created_at": created,
        "updated_at": _time(model.versions[-1].created),
        "visibility": "public" if model.account is None else "private",
        "description": None,
        "owner": {"account_id": model.owner, "name": model.owner, "avatar_url": None},
        "predictions_count": predictions,
        "categories": [],
        "cover_image_url": None,
    }


def _version(version: Version) -> dict[str, Any]:
    return {"number": version.number, "release_notes": "", "created_at": _time(version.created)}


def _details(schemas: Any) -> dict[str, Any]:
    served = ("openai_chat_completions", "openai_embeddings", "openai_images_generations", "openai_responses")
    compatible = {name: name == "openai_chat_completions" for name in (*served, "anthropic_messages")}
    return {"schemas": {"prediction": schemas}, "compatibilities": compatible}
