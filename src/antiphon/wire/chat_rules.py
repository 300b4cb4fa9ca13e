"""Rules of the chat request that no single field can tell.

Limits of the server, fields that mean nothing without another, and the order of tool messages.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from antiphon.domain.faults import FieldFault
from antiphon.wire import chat_schema as schema
from antiphon.wire import message_schema as said
from antiphon.wire.json_in import Limits
from antiphon.wire.media_in import part_fault, part_faults
from antiphon.wire.schema_rules import schema_fault

Loc = tuple[str | int, ...]


def broken_rules(chat: schema.ChatBody, limits: Limits) -> Iterator[FieldFault]:
    """Give every rule a well-formed body breaks."""
    yield from _media(chat.messages, limits)
    yield from _tool_messages(chat.messages)
    given = chat.model_fields_set
    for fields, rules in _RULES:
        if not fields.isdisjoint(given):
            yield from rules(chat, limits)


def _fault(loc: Loc, msg: str, kind: str = "value_error", code: str = "invalid_value") -> FieldFault:
    return FieldFault(("body", *loc), msg, kind, code)


def too_many(sent: dict[str, Any], limits: Limits) -> Iterator[FieldFault]:
    """Give every top-level list that is too long, before each of its items is looked at."""
    for name, most, what in (
        ("messages", limits.messages, "messages"),
        ("tools", limits.tools, "tools"),
        ("functions", limits.tools, "functions"),
        ("logit_bias", limits.logit_bias, "tokens"),
    ):
        if name in sent and isinstance(sent[name], list | dict) and len(sent[name]) > most:
            yield _too_long((name,), most, what)


def _too_long(loc: Loc, most: int, what: str) -> FieldFault:
    return _fault(loc, f"At most {most} {what}.", "too_long", "array_above_max_length")


def _media(messages: list[said.Message], limits: Limits) -> Iterator[FieldFault]:
    media = 0
    for index, message in enumerate(messages):
        if not isinstance(message.content, list):
            continue
        if len(message.content) > limits.parts:
            yield _too_long(("messages", index, "content"), limits.parts, "parts")
        media += sum(not isinstance(part, said.TextPart | said.RefusalPart) for part in message.content)
        for number, msg in part_faults(message.content):
            yield part_fault(("messages", index, "content", number), msg)
    if media > limits.media:
        yield _too_long(("messages",), limits.media, "images, sounds and files")


def _stops(chat: schema.ChatBody, limits: Limits) -> Iterator[FieldFault]:
    stops = [chat.stop] if isinstance(chat.stop, str) else chat.stop or []
    for index, stop in enumerate(stops):
        if len(stop) > limits.stop_chars:
            loc: Loc = ("stop",) if isinstance(chat.stop, str) else ("stop", index)
            yield _fault(loc, f"At most {limits.stop_chars} characters.", "string_too_long", "string_above_max_length")


def _needs(chat: schema.ChatBody, _: Limits) -> Iterator[FieldFault]:
    """Fields that mean nothing without another."""
    spoken = "audio" in (chat.modalities or ())
    chooses = chat.tool_choice is not None and chat.tool_choice != "none"
    calls = chat.function_call is not None and chat.function_call != "none"
    rules: tuple[tuple[bool, Loc, str], ...] = (
        (chat.top_logprobs is not None and not chat.logprobs, ("top_logprobs",), "Needs logprobs to be true."),
        (chat.stream_options is not None and not chat.stream, ("stream_options",), "Needs stream to be true."),
        (chooses and chat.tools is None, ("tool_choice",), "Needs tools."),
        (bool(chat.parallel_tool_calls) and chat.tools is None, ("parallel_tool_calls",), "Needs tools."),
        (calls and chat.functions is None, ("function_call",), "Needs functions."),
        (chat.audio is not None and not spoken, ("audio",), 'Needs modalities to be ["text", "audio"].'),
    )
    for is_broken, loc, msg in rules:
        if is_broken:
            yield _fault(loc, msg)
    if spoken and chat.audio is None:
        yield _fault(("audio",), "Field required", "missing", "missing_required_parameter")
    if chat.audio is not None and chat.stream and chat.audio.format != "pcm16":
        yield _fault(("audio", "format"), "A stream carries pcm16 only.", code="unsupported_value")


def _choice(chat: schema.ChatBody, _: Limits) -> Iterator[FieldFault]:
    """A named tool must be one of the tools, and no two tools may share a name."""
    names = [_name(tool) for tool in chat.tools or ()]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield _fault(("tools", index), "Two tools have the same name.")
    functions = [function.name for function in chat.functions or ()]
    for index, function in enumerate(functions):
        if function in functions[:index]:
            yield _fault(("functions", index), "Two functions have the same name.")
    if isinstance(chat.function_call, schema.FunctionName) and functions and chat.function_call.name not in functions:
        yield _fault(("function_call",), "function_call names none of the functions.")
    match chat.tool_choice:
        case schema.NamedFunction() | schema.NamedCustom() if names and _name(chat.tool_choice) not in names:
            yield _fault(("tool_choice",), "tool_choice names none of the tools.")
        case schema.AllowedTools() if names and any(
            _name(tool) not in names for tool in chat.tool_choice.allowed_tools.tools
        ):
            yield _fault(("tool_choice", "allowed_tools", "tools"), "allowed_tools names none of the tools.")
        case _:
            pass


def _name(tool: Any) -> tuple[str, str]:
    return tool.type, (tool.function if tool.type == "function" else tool.custom).name


def _tool_messages(messages: list[said.Message]) -> Iterator[FieldFault]:
    """Every call is answered once, right behind the turn that made it; nothing else is answered."""
    unanswered: dict[str, int] = {}
    answered: set[str] = set()
    for index, message in enumerate(messages):
        if message.role == "tool":
            if unanswered.pop(message.tool_call_id, None) is None:
                what = "was answered already" if message.tool_call_id in answered else "was not made by the turn before"
                yield _fault(("messages", index, "tool_call_id"), f"This call {what}.")
            answered.add(message.tool_call_id)
            continue
        if unanswered:
            yield from _unanswered(unanswered)
        unanswered, answered = {}, set()
        if message.role == "assistant" and message.tool_calls:
            unanswered = {call.id: index for call in message.tool_calls}
            if len(unanswered) < len(message.tool_calls):
                yield _fault(("messages", index, "tool_calls"), "Two calls have the same id.")
    if unanswered:
        yield from _unanswered(unanswered)


def _unanswered(calls: dict[str, int]) -> Iterator[FieldFault]:
    for index in sorted(set(calls.values())):
        yield _fault(
            ("messages", index, "tool_calls"), "Every call needs a tool message that answers it, right behind."
        )


def _schema_rules(chat: schema.ChatBody, limits: Limits) -> Iterator[FieldFault]:
    for loc, body in _schemas(chat):
        if _depth(body) > limits.schema_depth:
            yield _fault(loc, f"A schema nests at most {limits.schema_depth} levels.", "too_deep", "invalid_value")
        elif len(text := json.dumps(body)) > limits.schema_bytes:
            yield _fault(loc, f"A schema has at most {limits.schema_bytes} bytes.", "too_long", "invalid_value")
        elif message := schema_fault(text):
            yield _fault(loc, message, "json_schema")
        if loc[-1] == "parameters" and body.get("type", "object") != "object":
            yield _fault((*loc, "type"), 'A function\'s parameters are of type "object".')


def _schemas(chat: schema.ChatBody) -> Iterator[tuple[Loc, schema.Schema]]:
    for index, tool in enumerate(chat.tools or ()):
        if isinstance(tool, schema.FunctionTool) and tool.function.parameters is not None:
            yield ("tools", index, "function", "parameters"), tool.function.parameters
    for index, function in enumerate(chat.functions or ()):
        if function.parameters is not None:
            yield ("functions", index, "parameters"), function.parameters
    if isinstance(chat.response_format, schema.JsonSchemaFormat) and chat.response_format.json_schema.json_schema:
        yield ("response_format", "json_schema", "schema"), chat.response_format.json_schema.json_schema


def _depth(value: object) -> int:
    """How deep a value nests; objects and arrays count. Bounded, since the body's own depth was."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inside), default=0) if isinstance(value, dict | list) else 0


_TOOL_FIELDS = frozenset({"tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"})
_RULES: tuple[tuple[frozenset[str], Callable[[schema.ChatBody, Limits], Iterator[FieldFault]]], ...] = (
    (frozenset({"stop"}), _stops),
    (_TOOL_FIELDS | {"top_logprobs", "stream_options", "audio", "modalities"}, _needs),
    (_TOOL_FIELDS, _choice),
    (frozenset({"tools", "functions", "response_format"}), _schema_rules),
)
"""What is looked at only where one of some fields is there."""
