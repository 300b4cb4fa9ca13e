"""What an engine does not do itself, done for it, so that the contract does not depend on which engine answers.

Two halves: a request is adapted before the engine sees it, and the engine's raw text is read into content, thinking
and tool calls. What was adapted, and how, is the receipt; what cannot be is refused by name.
"""

import json
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

from antiphon.core.calls import Began, CallReader, Content, Part, Piece
from antiphon.core.schemas import judge
from antiphon.core.thinking import ChannelReader, ThinkReader
from antiphon.domain.chat import ChatRequest, Message
from antiphon.domain.errors import EngineFailed
from antiphon.domain.events import (
    NO_DRAFTS,
    Accepted,
    CallDelta,
    CallHead,
    ChoiceFinished,
    Drafts,
    Event,
    Finished,
    FinishReason,
    SpeechDelta,
    TextDelta,
)
from antiphon.domain.tools import CALL_FORMATS, CUSTOM_CLOSER, CUSTOM_OPENER, HERMES, CallFormat, Tool

ADAPTED: Mapping[str, str] = MappingProxyType(
    {
        "function_call": "described in the system message",
        "functions": "described in the system message",
        "parallel_tool_calls": "calls after the first are dropped",
        "reasoning_effort": "a model that does not reason has nothing to constrain",
        "tool_choice": "described in the system message",
        "tools": "described in the system message",
        "verbosity": "one sentence in the system message",
    }
)
"""A feature, to what is done for an engine that lacks it."""

VERBOSITY: Mapping[str, str] = MappingProxyType(
    {
        "low": "Answer briefly: as few words as the question allows.",
        "high": "Answer at length: explain, and give details and examples.",
    }
)
"""The instruction of each level; `medium` has none."""


class Reader(Protocol):
    """Reads one choice's raw text."""

    def feed(self, text: str) -> list[Part]:
        """Take text; give what it makes certain."""

    def finish(self) -> list[Part]:
        """Give what was held back, when no more will come."""


class Contract:
    """One request on one engine: `request` is what the engine is asked, `read` gives what the client is told."""

    def __init__(self, asked: ChatRequest, features: Mapping[str, str]) -> None:
        """Adapt a request.

        Args:
            asked: the client's request, which this engine fits.
            features: the engine's table; its value for "tools" names the call format its model was trained on, and for
                "reasoning_effort" how it thinks ("think", "channels").
        """
        self._asked, self._features = asked, features
        self._form: CallFormat = CALL_FORMATS.get(features.get("tools", ""), HERMES)
        self.request, self.receipt = self._adapt(asked)

    # -- to the engine

    def _adapt(self, asked: ChatRequest) -> tuple[ChatRequest, tuple[str, ...]]:
        request, receipt = asked, []
        instructions = []
        if asked.tools.callable and self._features.get("tools") not in CALL_FORMATS:
            instructions.append(describe(asked.tools.offered))
            receipt.append("tools=described")
        elif any(tool.kind == "custom" for tool in asked.tools.offered):
            instructions.append(describe([tool for tool in asked.tools.offered if tool.kind == "custom"]))
            receipt.append("tools=described")
        wordiness = VERBOSITY.get(asked.verbosity or "")
        if wordiness and "verbosity" not in self._features:
            instructions.append(wordiness)
            receipt.append("verbosity=instruction")
        if asked.reasoning_effort and "reasoning_effort" not in self._features:
            receipt.append("reasoning_effort=nothing to constrain")
        if asked.tools.is_required and asked.sampling.stop:
            # A stop string belongs to the answer's content; forced calls have none, and must not be cut.
            request = replace(request, sampling=replace(asked.sampling, stop=()))
            receipt.append("stop=not applied to calls")
        if instructions:
            request = replace(request, messages=instruct(asked.messages, "\n\n".join(instructions)))
        return request, tuple(receipt)

    # -- from the engine

    async def read(self, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        """Give the engine's events with its text read.

        Raises:
            EngineFailed: a finished answer does not keep what was promised of it.
        """
        choices: list[_Choice] = []
        async for event in events:
            match event:
                case Accepted():
                    count = self._asked.sampling.n
                    choices = [_Choice(index, self._asked, self._reader(event)) for index in range(count)]
                    yield event
                case TextDelta() if event.choice < len(choices):
                    for told in choices[event.choice].delta(event):
                        yield told
                case ChoiceFinished() if event.choice < len(choices):
                    async for told in choices[event.choice].finished(event):
                        yield told
                case CallDelta() | SpeechDelta() | Finished() | TextDelta() | ChoiceFinished():
                    yield event

    def _reader(self, accepted: Accepted) -> Reader | None:
        """How a choice's text is read; None when all of it is content."""
        tools, thinking = self._asked.tools, self._features.get("reasoning_effort")
        calls = CallReader(tools, self._form) if tools.callable else None
        if thinking == "channels":
            return ChannelReader(calls, tools)
        if thinking == "think":
            return ThinkReader(calls, is_thinking=accepted.is_thinking)
        return calls


class _Choice:
    """One choice while it is read."""

    def __init__(self, index: int, asked: ChatRequest, reader: Reader | None) -> None:
        self._index, self._asked, self._reader = index, asked, reader
        self._calls: list[tuple[CallHead, list[str]]] = []
        self._texts: list[str] = []
        self._tokens, self._drafts = 0, NO_DRAFTS

    def delta(self, event: TextDelta) -> Iterable[Event]:
        """Read more text."""
        if self._reader is None:
            if self._asked.answer_format:
                self._texts.append(event.text)
            yield event
            return
        self._tokens += event.tokens
        self._drafts += event.drafts
        yield from self._told(self._reader.feed(event.text), event)

    async def finished(self, event: ChoiceFinished) -> AsyncIterator[Event]:
        """Read what is left, and see that what was promised is kept."""
        if self._reader is not None:
            for told in self._told(self._reader.finish(), None):
                yield told
        yield replace(event, reason=await self._reason(event.reason))

    def _told(self, parts: list[Part], source: TextDelta | None) -> Iterable[Event]:
        for number, part in enumerate(parts):
            # The tokens that made these parts certain are counted once, with the first.
            tokens, drafts = self._take() if number == 0 else (0, NO_DRAFTS)
            match part:
                case Content():
                    if not part.is_reasoning and self._asked.answer_format:
                        self._texts.append(part.text)
                    logprobs = source.logprobs if source and source.text == part.text else ()
                    yield TextDelta(self._index, part.text, tokens, logprobs, part.is_reasoning, drafts)
                case Began():
                    head = CallHead(f"call_{secrets.token_hex(12)}", part.kind, part.name)
                    self._calls.append((head, []))
                    yield CallDelta(self._index, len(self._calls) - 1, "", tokens, head, drafts)
                case Piece():
                    self._calls[-1][1].append(part.text)
                    yield CallDelta(self._index, len(self._calls) - 1, part.text, tokens, None, drafts)

    def _take(self) -> tuple[int, Drafts]:
        taken = self._tokens, self._drafts
        self._tokens, self._drafts = 0, NO_DRAFTS
        return taken

    async def _reason(self, reason: FinishReason) -> FinishReason:
        """The finish reason as clients know it.

        Raises:
            EngineFailed: the choice is whole and does not keep a promise.
        """
        tools, form = self._asked.tools, self._asked.answer_format
        if reason != "stop":
            return reason
        if form and not self._calls and not await judge("".join(self._texts), form.schema):
            if self._asked.sampling.stop:
                return "length"  # the client's own stop string cut the JSON short
            raise EngineFailed("The model's answer does not satisfy the schema.")
        await self._check_calls()
        if not self._calls:
            return reason
        if tools.is_legacy:
            return "function_call"
        return "stop" if tools.is_named else "tool_calls"

    async def _check_calls(self) -> None:
        """See that the calls are what was promised; raises EngineFailed when they are not."""
        for head, texts in self._calls if self._asked.tools.must_check else ():
            if not await self._is_kept(head, "".join(texts)):
                raise EngineFailed("The model's tool call does not satisfy its schema.")
        if self._asked.tools.is_required and not self._calls:
            raise EngineFailed("The model made no tool call, though one was required.")

    async def _is_kept(self, head: CallHead, text: str) -> bool:
        (tool,) = (tool for tool in self._asked.tools.callable if (tool.kind, tool.name) == (head.kind, head.name))
        if tool.kind == "custom" or not (tool.is_strict or self._asked.tools.is_required):
            return True
        return await judge(text, tool.parameters)


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
