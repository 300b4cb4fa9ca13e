"""What a model is told in a system message, since its engine has no other way: its tools, and how wordy to be."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from antiphon.domain.chat import Message
from antiphon.domain.tools import CUSTOM_CLOSER, CUSTOM_OPENER, HERMES, Tool

VERBOSITY: Mapping[str, str] = MappingProxyType(
    {
        "low": "Answer briefly: as few words as the question allows.",
        "high": "Answer at length: explain, and give details and examples.",
    }
)
"""The instruction of each level; `medium` has none."""


def instruct(messages: tuple[Message, ...], text: str) -> tuple[Message, ...]:
    """Add an instruction to the first system message, or put one before the conversation."""
    first, *others = messages
    if first.role in {"system", "developer"}:
        return (replace(first, text=f"{first.text}\n\n{text}"), *others)
    return (Message("system", text), *messages)


def describe(tools: Iterable[Tool]) -> str:
    """Tell a model that knows no tools what there is and how to call it."""
    lines = ["You may call these tools."]
    form = HERMES
    functions = [tool for tool in tools if tool.kind == "function"]
    if functions:
        example = f'{form.opener}\n{{"name": "…", "{form.arguments}": {{…}}}}\n{form.closer}'
        lines.append(f"To call a function, answer with its name and its arguments as JSON:\n{example}\nFunctions:")
        lines += [json.dumps(function_json(tool)["function"], ensure_ascii=False) for tool in functions]
    for tool in tools:
        if tool.kind == "custom":
            text = f"{tool.description} " if tool.description else ""
            rule = f"Its input is text of this {tool.syntax}: {tool.definition}" if tool.definition else ""
            lines.append(f'To call {tool.name}: {CUSTOM_OPENER}{tool.name}">input{CUSTOM_CLOSER} {text}{rule}'.rstrip())
    return "\n".join(lines)


def function_json(tool: Tool) -> dict[str, object]:
    """Give a function tool as chat templates and OpenAI write it."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}
