"""A request body to a ChatRequest: everything checked, everything asked for named."""

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from antiphon.domain.chat import NO_METADATA, Asked, ChatRequest, Message, ToolCall
from antiphon.domain.errors import BodyTooLarge, InvalidRequest
from antiphon.domain.faults import FieldFault
from antiphon.domain.media import Speech
from antiphon.domain.models import ModelName
from antiphon.domain.sampling import NO_BIAS, Sampling
from antiphon.domain.tools import AnswerFormat
from antiphon.wire import chat_schema as schema
from antiphon.wire import message_schema as said
from antiphon.wire.chat_rules import broken_rules, too_many
from antiphon.wire.chat_tools import offered_tools
from antiphon.wire.faults import faults
from antiphon.wire.json_in import Limits, read_json, refuse
from antiphon.wire.media_in import Parts, joined, media_chars, placed

MOST_IGNORED = 20
_IGNORED_CHARS = 64

_NEUTRAL = MappingProxyType(
    {
        "frequency_penalty": 0,
        "function_call": "none",
        "logit_bias": {},
        "logprobs": False,
        "modalities": ["text"],
        "n": 1,
        "parallel_tool_calls": False,
        "presence_penalty": 0,
        "temperature": 1,
        "tool_choice": "none",
        "top_logprobs": 0,
        "top_p": 1,
        "verbosity": "medium",
    }
)
"""Values that ask for nothing, so that clients which send every knob still work everywhere."""

_FEATURES = frozenset(_NEUTRAL) | {
    "audio",
    "functions",
    "max_completion_tokens",
    "prediction",
    "reasoning_effort",
    "response_format",
    "seed",
    "stop",
    "tools",
}
"""Fields that an engine must be able to honour. The others are the server's own business."""

_NEUTRAL_SAMPLING = Sampling()
_SAMPLING_FIELDS = frozenset(Sampling.__annotations__) | {"max_completion_tokens"}


def read_chat(body: bytes, limits: Limits) -> ChatRequest:
    """Read and check a request body.

    Raises:
        BodyTooLarge: more bytes than the limits allow, in all or beside inline media.
        InvalidRequest: with every finding, each naming its field.
    """
    return chat_of(read_json(body, limits), len(body), limits)


def chat_of(tree: Any, body_bytes: int, limits: Limits) -> ChatRequest:
    """Check a request that is parsed already; `body_bytes` is how long it was. Raises as `read_chat` does."""
    if not isinstance(tree, dict):
        refuse("The request body should be a JSON object.", "model_type", "invalid_type")
    asked = {name: value for name, value in tree.items() if value is not None}
    if excess := tuple(too_many(asked, limits)):
        raise InvalidRequest(excess)
    try:
        chat = schema.CHAT_BODY.validate_python(asked)
    except ValidationError as error:
        raise InvalidRequest(faults(error.errors(include_url=False), asked)) from None
    name = ModelName.parse(chat.model)
    broken = list(broken_rules(chat, limits))
    if name is None:
        form = "The model should be written owner/name or owner/name:N, N a whole number from 1."
        broken.insert(0, FieldFault(("body", "model"), form, "model_name", "invalid_value"))
    if broken or name is None:
        raise InvalidRequest(tuple(broken[:20]))
    if body_bytes > limits.text_bytes and body_bytes - sum(map(media_chars, chat.messages)) > limits.text_bytes:
        raise BodyTooLarge(f"Beside inline media, the request body is larger than {limits.text_bytes} bytes.")
    return _request(chat, name, asked)


def read_metadata(body: bytes, limits: Limits) -> Mapping[str, str]:
    """Read the body that gives a stored completion other metadata.

    Raises:
        BodyTooLarge, InvalidRequest: as for a chat request.
    """
    tree = read_json(body, limits)
    try:
        return schema.MetadataBody.model_validate(tree).metadata or {}
    except ValidationError as error:
        raise InvalidRequest(faults(error.errors(include_url=False), tree)) from None


def _request(chat: schema.ChatBody, name: ModelName, sent: dict[str, Any]) -> ChatRequest:
    options = chat.stream_options or schema.NO_STREAM_OPTIONS
    return ChatRequest(
        model=name,
        model_text=chat.model,
        messages=tuple([_message(message) for message in chat.messages]),
        sampling=_sampling(chat),
        tools=offered_tools(chat),
        answer_format=_answer_format(chat) if chat.response_format else None,
        speech=Speech(chat.audio.name, chat.audio.format) if chat.audio else None,
        prediction=_text(chat.prediction.content) if chat.prediction else None,
        reasoning_effort=chat.reasoning_effort,
        verbosity=chat.verbosity,
        asked=tuple(_asked(chat, sent)),
        stream=bool(chat.stream),
        include_usage=bool(options.include_usage),
        include_obfuscation=bool(options.include_obfuscation),
        service_tier=chat.service_tier,
        user=chat.user,
        safety_identifier=chat.safety_identifier,
        prompt_cache_key=chat.prompt_cache_key,
        store=bool(chat.store),
        metadata=MappingProxyType(chat.metadata) if chat.metadata else NO_METADATA,
        ignored=_ignored(sent),
    )


def _ignored(sent: dict[str, Any]) -> tuple[str, ...]:
    unknown = [_printable(name) for name in sent if name not in schema.FIELDS]
    return tuple(sorted(unknown)[:MOST_IGNORED])


def _sampling(chat: schema.ChatBody) -> Sampling:
    if _SAMPLING_FIELDS.isdisjoint(chat.model_fields_set):
        return _NEUTRAL_SAMPLING
    stop = chat.stop or ()
    bias = chat.logit_bias
    most = chat.max_completion_tokens if chat.max_completion_tokens is not None else chat.max_tokens
    return Sampling(
        temperature=1.0 if chat.temperature is None else chat.temperature,
        top_p=1.0 if chat.top_p is None else chat.top_p,
        frequency_penalty=chat.frequency_penalty or 0.0,
        presence_penalty=chat.presence_penalty or 0.0,
        logit_bias=MappingProxyType({int(token): float(value) for token, value in bias.items()}) if bias else NO_BIAS,
        seed=chat.seed,
        max_tokens=most,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        n=chat.n or 1,
        logprobs=bool(chat.logprobs),
        top_logprobs=chat.top_logprobs or 0,
    )


def _asked(chat: schema.ChatBody, sent: dict[str, Any]) -> Iterator[Asked]:
    """Every field with something other than its neutral value, then every content part that is not text."""
    for name, value in sent.items():
        if name in _FEATURES and value != _NEUTRAL.get(name) and not _is_text(name, value):
            yield Asked(name, name)
    if chat.max_tokens is not None and chat.max_completion_tokens is None:
        yield Asked("max_completion_tokens", "max_tokens")
    for index, message in enumerate(chat.messages):
        if message.role == "assistant" and message.audio:
            yield Asked("audio", f"messages[{index}].audio")
        if isinstance(message.content, list):
            yield from _asked_by_parts(message.content, f"messages[{index}].content")


def _asked_by_parts(parts: Parts, param: str) -> Iterator[Asked]:
    for place, part in enumerate(parts):
        if not isinstance(part, said.TextPart | said.RefusalPart):
            yield Asked(part.type, f"{param}[{place}]")


def _answer_format(chat: schema.ChatBody) -> AnswerFormat | None:
    match chat.response_format:
        case schema.JsonObject():
            return AnswerFormat({"type": "object"}, "response_format")
        case schema.JsonSchemaFormat(json_schema=named):
            return AnswerFormat(named.json_schema or {}, "response_format")
        case _:
            return None


def _is_text(name: str, value: object) -> bool:
    return name == "response_format" and value == {"type": "text"}


def _message(message: said.Message) -> Message:
    text = _text(message.content)
    if message.role == "assistant":
        return _answer(message, text)
    if message.role == "tool":
        return Message("tool", text, message.name, tool_call_id=message.tool_call_id)
    media = placed(message.content) if isinstance(message.content, list) else ()
    return Message(message.role, text, message.name, media=media)


def _answer(message: said.AssistantMessage, text: str) -> Message:
    calls = [_call(call) for call in message.tool_calls or ()]
    if message.function_call:
        calls.append(ToolCall(None, message.function_call.name, message.function_call.arguments))
    if message.refusal:
        text = f"{text}\n{message.refusal}" if text else message.refusal
    return Message("assistant", text, message.name, tuple(calls), speech_id=message.audio.id if message.audio else None)


def _call(call: said.FunctionCall | said.CustomCall) -> ToolCall:
    if call.type == "custom":
        return ToolCall(call.id, call.custom.name, json.dumps({"input": call.custom.input}, ensure_ascii=False))
    return ToolCall(call.id, call.function.name, call.function.arguments)


def _text(content: str | Parts | None) -> str:
    return content or "" if content is None or isinstance(content, str) else joined(content)


def _printable(name: str) -> str:
    """A field's name as a header can carry it."""
    return "".join(char if "!" <= char <= "~" and char != "," else "?" for char in name[:_IGNORED_CHARS])
