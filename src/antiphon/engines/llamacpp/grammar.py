"""A request's promises as one grammar: what the engine may generate, written for llguidance.

Source of the notation: llguidance's docs/syntax.md (1.9). Every client schema and grammar is a part of its own, named
by the field it came by, so that nothing of it needs escaping and a refusal can name it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from antiphon.domain.chat import ChatRequest
from antiphon.domain.tools import CUSTOM_CLOSER, CUSTOM_OPENER, HARMONY, CallFormat, Tool
from antiphon.engines.llamacpp.protocol import Grammar

MOST_CALLS = 8
"""Calls in one answer where there may be several: a small model would never stop by itself."""
_ANYTHING = r"/(.|\n)*/"
_BARE_TEXT = r"/[^{\s](.|\n)*/"
_ESCAPE_OR_SLASH = re.compile(r"\\.|/", re.DOTALL)
_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One way to space JSON: no choice that a small model can lose itself in."""


def grammar(request: ChatRequest, form: CallFormat, *, in_channels: bool = False) -> Grammar | None:
    """Give what an answer must be; None when it may be anything.

    Args:
        request: what is asked.
        form: how the model writes function calls.
        in_channels: whether the model thinks and answers in channels.
    """
    tools, answer = request.tools, request.answer_format
    parts: list[tuple[str, dict[str, Any]]] = []
    if answer is not None:
        parts.append((answer.param, {"name": "answer", "json_schema": _spaced(answer.schema)}))
    if not tools.callable:
        return _grammar(["said: @answer", *_turn(request, form, in_channels=in_channels)], parts) if parts else None
    if form.is_listed and not tools.is_required and answer is None:
        return None  # its opener is a control token, which no text can stand for: the model is left to itself
    parts += [(tool.param, _input(number, tool)) for number, tool in enumerate(tools.callable)]
    rules = [*_said(request, form), *_calls(request, form), *_turn(request, form, in_channels=in_channels)]
    return _grammar(rules, parts)


def _grammar(rules: list[str], parts: list[tuple[str, dict[str, Any]]]) -> Grammar:
    whole = {"name": "whole", "lark_grammar": "\n".join(["%llguidance {}", *rules])}
    text = json.dumps({"grammars": [whole, *(part for _, part in parts)]})
    return Grammar(text, tuple((param, json.dumps({"grammars": [part]})) for param, part in parts))


def _turn(request: ChatRequest, form: CallFormat, *, in_channels: bool) -> Iterator[str]:
    """The first rules: what is said, in channels with the thinking before it and function calls beside it."""
    if not in_channels:
        yield "start: said"
        return
    yield f"start: {'' if request.reasoning_effort == 'none' else 'thought? '}message"
    yield 'thought: <|channel|> "analysis" <|message|> thinking <|end|> <|start|> "assistant"'
    yield f"thinking: {_ANYTHING}"
    functions, customs = _split(request)
    ways = [f"to{number}" for number, _ in functions] if form is HARMONY else []
    if not (request.tools.is_required and form is HARMONY) or customs:
        ways.append("final")
        yield 'final: <|channel|> "final" <|message|> said'
    yield f"message: {' | '.join(ways)}"
    for number, tool in functions if form is HARMONY else ():
        head = json.dumps(f"commentary to=functions.{tool.name} ")
        yield f'to{number}: <|channel|> {head} <|constrain|> "json" <|message|> @input{number}'


def _said(request: ChatRequest, form: CallFormat) -> Iterator[str]:
    """Calls, or whatever may stand in their place or before them."""
    tools = request.tools
    functions, customs = _in_text(request, form)
    if tools.is_required:
        if functions or customs:
            yield "said: calls"
        return
    if request.answer_format:  # nothing may stand before a call that stands in the place of JSON
        yield f"said: @answer{' | calls' if functions or customs else ''}"
        return
    ways = ["text"]
    more = _repeated("\n") if tools.is_parallel else ""
    if functions and form.is_bare:
        ways.append("calls")
    elif functions:
        ways.append(f"before_function function_end{more}")
        yield f"before_function[suffix={json.dumps(form.opener)}]: {_ANYTHING}"
    if customs:
        ways.append(f"before_custom custom_end{more}")
        yield f"before_custom[suffix={json.dumps(CUSTOM_OPENER)}]: {_ANYTHING}"
    yield f"said: {' | '.join(ways)}"
    yield f"text: {_BARE_TEXT if form.is_bare else _ANYTHING}"


def _calls(request: ChatRequest, form: CallFormat) -> Iterator[str]:
    functions, customs = _in_text(request, form)
    if not functions and not customs:
        return
    separator = "; " if form.is_bare else ", " if form.is_listed else "\n"
    several = f"call{_repeated(separator)}" if request.tools.is_parallel else "call"
    yield f'calls: "[" {several} "]"' if form.is_listed and not customs else f"calls: {several}"
    yield f"call: {' | '.join(['function'] * bool(functions) + ['custom'] * bool(customs))}"
    if functions:
        yield from _function_rules(functions, form)
    if customs:
        yield from _custom_rules(customs)


def _function_rules(functions: list[tuple[int, Tool]], form: CallFormat) -> Iterator[str]:
    ways = " | ".join(f"f{number}" for number, _ in functions)
    if form.closer:
        yield f"function: {json.dumps(form.opener)} function_end"
        yield f'function_end: "\\n" ({ways}) {json.dumps(chr(10) + form.closer)}'
    else:
        yield f"function: {ways}"
    for number, tool in functions:
        head = f'{{"name": {json.dumps(tool.name)}, "{form.arguments}": '
        yield f'f{number}: {json.dumps(head)} @input{number} "}}"'


def _custom_rules(customs: list[tuple[int, Tool]]) -> Iterator[str]:
    yield f"custom: {json.dumps(CUSTOM_OPENER)} custom_end"
    yield f"custom_end: {' | '.join(f'c{number}' for number, _ in customs)}"
    for number, tool in customs:
        head = json.dumps(tool.name + '">')
        if tool.syntax == "text":
            yield f"c{number}: {head} free{number}"
            yield f"free{number}[suffix={json.dumps(CUSTOM_CLOSER)}]: {_ANYTHING}"
        else:
            yield f"c{number}: {head} @input{number} {json.dumps(CUSTOM_CLOSER)}"


def _repeated(separator: str) -> str:
    return f" ({json.dumps(separator)} call){{0,{MOST_CALLS - 1}}}"


def _split(request: ChatRequest) -> tuple[list[tuple[int, Tool]], list[tuple[int, Tool]]]:
    numbered = list(enumerate(request.tools.callable))
    functions = [(number, tool) for number, tool in numbered if tool.kind == "function"]
    return functions, [(number, tool) for number, tool in numbered if tool.kind == "custom"]


def _in_text(request: ChatRequest, form: CallFormat) -> tuple[list[tuple[int, Tool]], list[tuple[int, Tool]]]:
    """The tools whose calls stand in the text of the answer."""
    functions, customs = _split(request)
    return ([] if form is HARMONY else functions), customs


def _input(number: int, tool: Tool) -> dict[str, Any]:
    name = f"input{number}"
    if tool.kind == "function":
        return {"name": name, "json_schema": _spaced(tool.parameters)}
    match tool.syntax:
        case "lark":
            return {"name": name, "lark_grammar": tool.definition}
        case "regex":
            return {"name": name, "lark_grammar": f"start: INPUT\nINPUT: /{_escaped(tool.definition)}/"}
        case _:
            return {"name": name, "lark_grammar": "start: /(.|\\n)*/"}


def _escaped(pattern: str) -> str:
    """A pattern between slashes: its own slashes escaped, where they are not yet."""
    return _ESCAPE_OR_SLASH.sub(lambda found: r"\/" if found[0] == "/" else found[0], pattern)


def _spaced(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "x-guidance": _SPACING}
