"""What a model may call, what its answer must look like, and how models write calls and thinking down."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

ToolKind = Literal["function", "custom"]

NO_PARAMETERS: Mapping[str, Any] = MappingProxyType(
    {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
)
"""The schema of a function that takes nothing."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool the client offers."""

    name: str
    kind: ToolKind = "function"
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: NO_PARAMETERS)
    """A function's JSON Schema."""
    is_strict: bool = False
    syntax: Literal["text", "lark", "regex"] = "text"
    """What a custom tool's input is."""
    definition: str = ""
    """The grammar or pattern, when it is one."""
    param: str = ""
    """The field it came by, for errors about it."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of one request and what it wants of them."""

    offered: tuple[Tool, ...] = ()
    callable: tuple[Tool, ...] = ()
    """Those that may be called; all are described."""
    is_required: bool = False
    """Whether the answer must be calls."""
    is_named: bool = False
    """Whether the client named the one function to call."""
    is_parallel: bool = False
    """Whether there may be several calls."""
    is_legacy: bool = False
    """Whether they came as the deprecated `functions`, and go back as `function_call`."""

    @property
    def must_check(self) -> bool:
        """Whether a call that does not satisfy its schema is a fault: the client was promised that it does."""
        return self.is_required or any(tool.is_strict for tool in self.callable)


NO_TOOLS = Tools()


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """JSON of a schema, as the whole answer."""

    schema: Mapping[str, Any]
    param: str
    """The field it came by."""


@dataclass(frozen=True, slots=True)
class CallFormat:
    """How one family of models writes function calls into its text."""

    name: str
    opener: str
    """What stands before a call; a call may also stand bare at the very beginning where `is_bare`."""
    closer: str
    arguments: str
    """The key of the arguments."""
    is_listed: bool = False
    """Whether several calls stand in one JSON array."""
    is_bare: bool = False
    is_control: bool = False
    """Whether the opener is a control token of its models, which is never content."""


HERMES = CallFormat("hermes", "<tool_call>", "</tool_call>", "arguments")
"""Hermes, Qwen and others; also what models that know no tools are told to write."""
LLAMA3 = CallFormat("llama3", "<|python_tag|>", "", "parameters", is_bare=True, is_control=True)
MISTRAL = CallFormat("mistral", "[TOOL_CALLS]", "", "arguments", is_listed=True, is_control=True)
HARMONY = CallFormat("harmony", "", "", "arguments")
"""A call is a message of its own, to `functions.name`: nothing of it stands in a text."""
CALL_FORMATS: Mapping[str, CallFormat] = MappingProxyType(
    {form.name: form for form in (HERMES, LLAMA3, MISTRAL, HARMONY)}
)

CALLS = "calls"
"""In an engine's table, instead of a format: it reads its model's calls itself, and gives them as calls."""
CUSTOM_ONLY = CallFormat(CALLS, "", "", "arguments")
"""What is left to be read in the text of such an engine."""

CUSTOM_OPENER = '<custom_call name="'
CUSTOM_CLOSER = "</custom_call>"
"""How every model is told to call custom tools: the input stands between as it is, since it may be in any language."""

THINK_OPENER, THINK_CLOSER = "<think>", "</think>"
CHANNEL_MARKS = tuple(f"<|{name}|>" for name in ("start", "channel", "message", "end", "return", "call", "constrain"))
"""How models that think tell it apart from what they say: between tags, or in harmony's channels."""
