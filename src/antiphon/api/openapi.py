"""What /openapi.json says of the chat endpoint: the schema that reads its requests, and the shape of its errors."""

from typing import Any

from antiphon.wire.chat_schema import CHAT_BODY

_FAULT = {
    "type": "object",
    "properties": {
        "loc": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
        "msg": {"type": "string"},
        "type": {"type": "string"},
    },
    "required": ["loc", "msg", "type"],
}

_ERROR = {
    "type": "object",
    "properties": {
        "detail": {"anyOf": [{"type": "string"}, {"type": "array", "items": _FAULT}]},
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "code": {"type": "string"},
                "detail": {},
            },
            "required": ["message", "type", "param", "code", "detail"],
        },
    },
    "required": ["detail", "error"],
}


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def chat_operation() -> dict[str, Any]:
    """Give the endpoint's OpenAPI path item, its schemas written in place."""
    schema = CHAT_BODY.json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return {
        "post": {
            "tags": ["chat"],
            "summary": "Create a chat completion",
            "description": "If the model does not respond in time, the request is timed out and the prediction is "
            "cancelled.",
            "operationId": "create_chat_completion",
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
            "responses": {
                "200": {
                    "description": "A completion, or a stream of chunks when `stream` is true",
                    "content": {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}},
                },
                "422": _answer("The request is malformed; `detail` names every field", _ERROR),
                "default": _answer("Any other error", _ERROR),
            },
        }
    }


def chat_components() -> dict[str, Any]:
    """Give the schemas that the operation refers to."""
    schemas: dict[str, Any] = CHAT_BODY.json_schema(ref_template="#/components/schemas/{model}").get("$defs", {})
    return schemas


def version_schemas() -> dict[str, Any]:
    """Give the JSON Schemas of a version's predictions: what goes in, and what comes out."""
    given = CHAT_BODY.json_schema()
    for name in ("model", "stream", "stream_options"):
        given["properties"].pop(name, None)
    given["required"] = ["messages"]
    return {
        "input": given,
        "output": _completion("chat.completion"),
        "stream_output": _completion("chat.completion.chunk"),
    }


def _completion(kind: str) -> dict[str, Any]:
    said = {"id": {"type": "string"}, "object": {"const": kind}, "choices": {"type": "array"}}
    return {"type": "object", "properties": said, "required": list(said)}
