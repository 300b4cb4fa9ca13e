"""Calls forced by a schema: for an engine that can be told what its answer looks like, but not that it must call."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from antiphon.domain.tools import AnswerFormat, CallFormat, Tool

BARE = CallFormat("bare", "", "", "arguments", is_bare=True)
"""How such a call is written: as JSON, with nothing around it."""

_DEFINITIONS = ("$defs", "definitions")
_OTHER_REFERENCE = re.compile(r'"\$ref": "(?!#/(?:\$defs|definitions)/)')


def call_schema(tools: Iterable[Tool]) -> AnswerFormat | None:
    """Give the schema of one call of any of these functions.

    Definitions stand at the root, where references look for them. None where that cannot be: two functions mean
    different things by one name, or refer to other places; or there is no function.
    """
    calls: list[dict[str, Any]] = []
    shared: dict[str, dict[str, Any]] = {}
    for tool in tools:
        if tool.kind != "function":
            continue
        if _OTHER_REFERENCE.search(json.dumps(dict(tool.parameters))) or not _share(tool.parameters, shared):
            return None
        parameters = {key: value for key, value in tool.parameters.items() if key not in _DEFINITIONS}
        properties = {"name": {"type": "string", "enum": [tool.name]}, "arguments": parameters}
        calls.append(
            {
                "type": "object",
                "properties": properties,
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    if not calls:
        return None
    return AnswerFormat({**(calls[0] if len(calls) == 1 else {"anyOf": calls}), **shared}, "tool_choice")


def _share(parameters: Mapping[str, Any], shared: dict[str, dict[str, Any]]) -> bool:
    """Put a function's definitions beside the others'; false when one of them means something else there."""
    for key in _DEFINITIONS:
        for name, definition in parameters.get(key, {}).items():
            if shared.setdefault(key, {}).setdefault(name, definition) != definition:
                return False
    return True
