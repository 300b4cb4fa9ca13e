"""A request as OpenAI's JSON, in the names an upstream has for it."""

import base64
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from antiphon.domain.chat import ChatRequest, Message, ToolCall
from antiphon.domain.media import HEARD_HZ, Hearing, Sight, Sound
from antiphon.domain.tools import AnswerFormat, Tools

_LEGACY_ID = "call_of_function"
"""The id of a call that was made in the deprecated way, which has none: its answer follows it at once."""


def chat_body(request: ChatRequest, model: str, features: Mapping[str, str]) -> bytes:
    """Write a request for an upstream.

    Sampling at its neutral value is written too where it is not everybody's default: servers take others from their
    model's own files. What identifies the client (user, metadata, safety_identifier) stays here.

    Args:
        request: what is asked; it fits `features`.
        model: the model's name there.
        features: each feature, to its name there.
    """
    body: dict[str, Any] = {"model": model, "messages": list(_messages(request.messages))}
    body |= _sampled(request, features)
    if request.tools.callable:
        body |= _tools(request.tools, features)
    if request.answer_format:
        body["response_format"] = _format(request.answer_format)
    if request.prediction and "prediction" in features:
        body["prediction"] = {"type": "content", "content": request.prediction}
    if request.reasoning_effort and features.get("reasoning_effort") == "reasoning_effort":
        body["reasoning_effort"] = request.reasoning_effort
    if request.verbosity and "verbosity" in features:
        body["verbosity"] = request.verbosity
    if request.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return orjson.dumps(body)


def _sampled(request: ChatRequest, features: Mapping[str, str]) -> dict[str, Any]:
    sampling = request.sampling
    asked: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    for name in ("frequency_penalty", "presence_penalty"):
        if value := getattr(sampling, name):
            asked[name] = value
    optional = {
        "logit_bias": {str(token): bias for token, bias in sampling.logit_bias.items()} or None,
        "seed": sampling.seed,
        "max_completion_tokens": sampling.max_tokens,
        "stop": sampling.stop or None,
        "n": sampling.n if sampling.n > 1 else None,
    }
    asked |= {name: value for name, value in optional.items() if value is not None}
    if sampling.logprobs:
        asked |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
    return {features.get(name, name): value for name, value in asked.items()}


def _format(form: AnswerFormat) -> dict[str, Any]:
    if form.schema == {"type": "object"}:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": dict(form.schema)}}


def _tools(tools: Tools, features: Mapping[str, str]) -> dict[str, Any]:
    """The functions that may be called: those that may not would only be called by mistake."""
    functions = [tool for tool in tools.callable if tool.kind == "function"]
    if not functions:
        return {}
    asked: dict[str, Any] = {
        "tools": [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
                | ({"strict": True} if tool.is_strict else {}),
            }
            for tool in functions
        ]
    }
    if "tool_choice" in features and len(functions) == len(tools.callable):
        asked["tool_choice"] = _choice(tools)
    if "parallel_tool_calls" in features:
        asked["parallel_tool_calls"] = tools.is_parallel
    return asked


def _choice(tools: Tools) -> str | dict[str, Any]:
    if tools.is_named:
        return {"type": "function", "function": {"name": tools.callable[0].name}}
    return "required" if tools.is_required else "auto"


def _messages(messages: Iterable[Message]) -> Iterable[dict[str, Any]]:
    for message in messages:
        told: dict[str, Any] = {"role": message.role, "content": _content(message)}
        match message.role:
            case "developer":
                told["role"] = "system"  # which every server knows, and those that know both read alike
            case "tool":
                told["tool_call_id"] = message.tool_call_id
            case "function":
                told |= {"role": "tool", "tool_call_id": _LEGACY_ID}
            case "assistant" if message.tool_calls:
                told |= {"content": message.text or None, "tool_calls": list(map(_call, message.tool_calls))}
            case _:
                pass
        if message.name and message.role != "function":
            told["name"] = message.name
        yield told


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id or _LEGACY_ID, "type": "function", "function": function}


def _content(message: Message) -> str | list[dict[str, Any]]:
    """A message's text; in parts where something stands between."""
    if not message.sensed:
        return message.text
    parts: list[dict[str, Any]] = []
    at = 0
    for sensed in message.sensed:
        if before := message.text[at : sensed.at]:
            parts.append({"type": "text", "text": before})
        parts.append(_part(sensed))
        at = sensed.at
    if rest := message.text[at:]:
        parts.append({"type": "text", "text": rest})
    return parts


def _part(sensed: Sight | Hearing) -> dict[str, Any]:
    if isinstance(sensed, Hearing):
        data = base64.b64encode(_wav(sensed.sound)).decode()
        return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    image = sensed.file
    url = f"data:{image.mime};base64,{image.base64}"
    return {"type": "image_url", "image_url": {"url": url, "detail": image.detail}}


def _wav(sound: Sound) -> bytes:
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, HEARD_HZ, HEARD_HZ * 2, 2, 16)
    data = struct.pack("<4sI", b"data", len(sound.pcm)) + sound.pcm
    return b"RIFF" + struct.pack("<I", 4 + len(form) + len(data)) + b"WAVE" + form + data
