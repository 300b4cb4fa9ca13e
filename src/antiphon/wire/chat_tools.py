"""The tools of a request and what it wants of them: three ways to write it, one meaning."""

from collections.abc import Mapping
from typing import Any

from antiphon.domain.tools import NO_PARAMETERS, NO_TOOLS, Tool, ToolKind, Tools
from antiphon.wire import chat_schema as schema


def offered_tools(chat: schema.ChatBody) -> Tools:
    """Give a request's tools; none when it wants no calls."""
    if chat.tools:
        return _modern(chat, tuple(_tool(index, tool) for index, tool in enumerate(chat.tools)))
    return _legacy(chat) if chat.functions and chat.function_call != "none" else NO_TOOLS


def _modern(chat: schema.ChatBody, offered: tuple[Tool, ...]) -> Tools:
    parallel = bool(chat.parallel_tool_calls)
    match chat.tool_choice:
        case "none":
            return NO_TOOLS
        case schema.NamedFunction() | schema.NamedCustom() as named:
            return Tools(offered, _only(offered, [named]), is_required=True, is_named=True)
        case schema.AllowedTools(allowed_tools=allowed):
            chosen = _only(offered, allowed.tools)
            return Tools(offered, chosen, is_required=allowed.mode == "required", is_parallel=parallel)
        case choice:
            return Tools(offered, offered, is_required=choice == "required", is_parallel=parallel)


def _legacy(chat: schema.ChatBody) -> Tools:
    functions = chat.functions or ()
    offered = tuple(_function(function, f"functions[{index}]") for index, function in enumerate(functions))
    if isinstance(chat.function_call, schema.FunctionName):
        named = tuple(tool for tool in offered if tool.name == chat.function_call.name)
        return Tools(offered, named, is_required=True, is_named=True, is_legacy=True)
    return Tools(offered, offered, is_legacy=True)


def _only(offered: tuple[Tool, ...], named: list[Any]) -> tuple[Tool, ...]:
    wanted: set[tuple[ToolKind, str]] = {(one.type, getattr(one, one.type).name) for one in named}
    return tuple(tool for tool in offered if (tool.kind, tool.name) in wanted)


def _tool(index: int, tool: schema.FunctionTool | schema.CustomTool) -> Tool:
    if isinstance(tool, schema.FunctionTool):
        return _function(tool.function, f"tools[{index}].function")
    custom, param = tool.custom, f"tools[{index}].custom.format"
    form = custom.format
    if isinstance(form, schema.GrammarFormat):
        grammar = form.grammar
        return Tool(
            custom.name,
            "custom",
            custom.description or "",
            syntax=grammar.syntax,
            definition=grammar.definition,
            param=param,
        )
    return Tool(custom.name, "custom", custom.description or "", param=param)


def _function(function: schema.Function, param: str) -> Tool:
    parameters: Mapping[str, Any] = NO_PARAMETERS if function.parameters is None else function.parameters
    if parameters:  # arguments are an object, also where a schema only refers to what they are
        parameters = {"type": "object", **parameters}
    if not parameters:  # {} is how some clients write "no parameters"
        parameters = NO_PARAMETERS
    return Tool(
        function.name,
        description=function.description or "",
        parameters=parameters,
        is_strict=bool(function.strict),
        param=f"{param}.parameters",
    )
