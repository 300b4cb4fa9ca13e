"""What an engine does not do itself, done for it, so that the contract does not depend on which engine answers.

Two halves: a request is adapted before the engine sees it, and the engine's raw text is read into content, thinking
and tool calls. What was adapted, and how, is the receipt; what cannot be is refused by name.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from antiphon.core.calls import CallReader
from antiphon.core.forcing import BARE, call_schema
from antiphon.core.instructions import VERBOSITY, describe, instruct
from antiphon.core.reading import ReadChoice, Reader
from antiphon.core.thinking import ChannelReader, ThinkReader
from antiphon.domain.chat import ChatRequest
from antiphon.domain.errors import EngineFailed
from antiphon.domain.events import Accepted, Batch, CallDelta, ChoiceFinished, Event, TextDelta
from antiphon.domain.tools import CALL_FORMATS, CALLS, CUSTOM_ONLY, HERMES, NO_TOOLS, CallFormat, Tools

ADAPTED: Mapping[str, str] = MappingProxyType(
    {
        "function_call": "described in the system message",
        "functions": "described in the system message",
        "n": "asked as many times, side by side; the prompt is counted once",
        "parallel_tool_calls": "calls after the first are dropped",
        "prediction": "the answer is the same without it",
        "reasoning_effort": "a model that does not reason has nothing to constrain",
        "tool_choice": "described in the system message, and forced calls are asked for as JSON of their schemas",
        "tools": "described in the system message",
        "verbosity": "one sentence in the system message",
    }
)
"""A feature, to what is done for an engine that lacks it."""


class Contract:
    """One request on one engine: `request` is what the engine is asked, `read` gives what the client is told."""

    def __init__(self, asked: ChatRequest, features: Mapping[str, str]) -> None:
        """Adapt a request.

        Args:
            asked: the client's request, which this engine fits.
            features: the engine's table; its value for "tools" names the call format its model was trained on (CALLS:
                the engine reads calls itself), and for "reasoning_effort" how it thinks ("think", "channels").
        """
        self._asked, self._features = asked, features
        self._form: CallFormat = _form(features.get("tools", ""))
        self._receipt: list[str] = []
        self.request = self._adapt(asked)
        self.receipt = tuple(self._receipt)

    # -- to the engine

    def _adapt(self, asked: ChatRequest) -> ChatRequest:
        request, instructions = self._with_tools(asked)
        wordiness = VERBOSITY.get(asked.verbosity or "")
        if wordiness and "verbosity" not in self._features:
            instructions.append(wordiness)
            self._receipt.append("verbosity=instruction")
        if asked.reasoning_effort and "reasoning_effort" not in self._features:
            self._receipt.append("reasoning_effort=nothing to constrain")
        if asked.prediction and "prediction" not in self._features:
            self._receipt.append("prediction=not used")
        if asked.sampling.n > 1 and "n" not in self._features:
            self._receipt.append("n=asked one by one")
        if asked.tools.is_required and asked.sampling.stop:
            # A stop string belongs to the answer's content; forced calls have none, and must not be cut.
            request = replace(request, sampling=replace(asked.sampling, stop=()))
            self._receipt.append("stop=not applied to calls")
        if instructions:
            request = replace(request, messages=instruct(asked.messages, "\n\n".join(instructions)))
        return request

    def _with_tools(self, asked: ChatRequest) -> tuple[ChatRequest, list[str]]:
        """Give the request with its tools as this engine takes them, and what the model is told of them."""
        tools, known = asked.tools, self._features.get("tools")
        if not tools.callable:
            return asked, []
        customs = [tool for tool in tools.offered if tool.kind == "custom"]
        if known in CALL_FORMATS or (known == CALLS and not customs and not self._must_force(tools)):
            described = customs
        elif self._must_force(tools) and (form := call_schema(tools.callable)):
            self._form = BARE
            self._receipt.append("tool_choice=JSON of its schema")
            return replace(asked, tools=NO_TOOLS, answer_format=form), [describe(tools.callable)]
        else:
            described = customs if known == CALLS else list(tools.offered)
        if described:
            self._receipt.append("tools=described")
        return asked, [describe(described)] if described else []

    def _must_force(self, tools: Tools) -> bool:
        """Whether calls must be made on an engine that reads calls but cannot be told to make any."""
        is_deaf = self._features.get("tools") == CALLS and "tool_choice" not in self._features
        return is_deaf and tools.is_required and "response_format" in self._features

    # -- from the engine

    async def read(self, batches: AsyncIterator[Batch]) -> AsyncIterator[Batch]:
        """Give the engine's events with its text read.

        Raises:
            EngineFailed: a finished answer does not keep what was promised of it.
        """
        choices: list[ReadChoice] = []
        async for batch in batches:
            if batch and isinstance(batch[0], Accepted):
                choices = self._choices(batch[0])
            if not (choices or any(isinstance(event, CallDelta) for event in batch)):
                yield batch
                continue
            told: list[Event] = []
            try:
                for event in batch:
                    await self._read(event, choices, told)
            except Exception:
                yield told  # what was said before it
                raise
            yield told

    async def _read(self, event: Event, choices: list[ReadChoice], told: list[Event]) -> None:
        match event:
            case TextDelta() | CallDelta() if event.choice < len(choices):
                told.extend(choices[event.choice].take(event))
            case ChoiceFinished() if event.choice < len(choices):
                told.extend([one async for one in choices[event.choice].finished(event)])
            case CallDelta() if not choices:
                raise EngineFailed("The model called a tool that it was not offered.")
            case _:  # An end, or what the fold will refuse.
                told.append(event)

    def _choices(self, accepted: Accepted) -> list[ReadChoice]:
        """How each choice is read; none where everything is content, and nothing was promised of it."""
        asked, reader = self._asked, self._reader
        if not (asked.tools.callable or asked.answer_format or reader(accepted)):
            return []
        return [ReadChoice(index, asked, reader(accepted)) for index in range(asked.sampling.n)]

    def _reader(self, accepted: Accepted) -> Reader | None:
        """How a choice's text is read; None when all of it is content."""
        tools, thinking = self._asked.tools, self._features.get("reasoning_effort")
        calls = CallReader(tools, self._form) if self._is_in_text(tools) else None
        if thinking == "channels":
            return ChannelReader(calls, tools)
        if thinking == "think":
            return ThinkReader(calls, is_thinking=accepted.is_thinking)
        return calls

    def _is_in_text(self, tools: Tools) -> bool:
        """Whether calls stand in the engine's text: all but functions, on an engine that reads those itself."""
        reads = self._features.get("tools") == CALLS and self._form is not BARE
        return any(tool.kind == "custom" or not reads for tool in tools.callable)


def _form(name: str) -> CallFormat:
    """How calls stand in text: by default as models that know no tools are told to write them."""
    return CUSTOM_ONLY if name == CALLS else CALL_FORMATS.get(name, HERMES)
