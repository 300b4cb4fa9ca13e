"""One choice as its engine says it, to what the client is told of it; and whether that keeps what was promised."""

import secrets
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Protocol

from antiphon.core.calls import Began, Content, Part, Piece
from antiphon.core.schemas import judge
from antiphon.domain.chat import ChatRequest
from antiphon.domain.errors import EngineFailed
from antiphon.domain.events import (
    NO_DRAFTS,
    CallDelta,
    CallHead,
    ChoiceFinished,
    Drafts,
    Event,
    FinishReason,
    TextDelta,
)


class Reader(Protocol):
    """Reads one choice's raw text."""

    def feed(self, text: str) -> list[Part]:
        """Take text; give what it makes certain."""

    def finish(self) -> list[Part]:
        """Give what was held back, when no more will come."""


class ReadChoice:
    """One choice while it is read: raw text, or calls that an engine reads by itself, to what was promised."""

    def __init__(self, index: int, asked: ChatRequest, reader: Reader | None) -> None:
        self._index, self._asked, self._reader = index, asked, reader
        self._calls: list[tuple[CallHead, list[str]]] = []
        self._texts: list[str] = []
        self._callable = {(tool.kind, tool.name) for tool in asked.tools.callable}
        self._drops = False
        """Whether the call that is being told is one too many."""
        self._tokens, self._drafts = 0, NO_DRAFTS

    def take(self, event: TextDelta | CallDelta) -> Iterable[Event]:
        """Take what the engine says of it before its end.

        Raises:
            EngineFailed: it calls what was not offered, or goes on with a call that never began.
        """
        return self._called(event) if isinstance(event, CallDelta) else self._delta(event)

    def _delta(self, event: TextDelta) -> Iterable[Event]:
        if self._reader is None or event.is_reasoning:
            if self._asked.answer_format and not event.is_reasoning:
                self._texts.append(event.text)
            yield event
            return
        self._tokens += event.tokens
        self._drafts += event.drafts
        yield from self._told(self._reader.feed(event.text), event)

    def _called(self, event: CallDelta) -> Iterable[Event]:
        """A call that the engine read itself; those after the first only where there may be several."""
        if event.begins:
            self._drops = bool(self._calls) and not self._asked.tools.is_parallel
            if (event.begins.kind, event.begins.name) not in self._callable:
                raise EngineFailed("The model called a tool that it was not offered.")
            if not self._drops:
                self._calls.append((event.begins, []))
        if self._drops:
            return
        if not self._calls:
            raise EngineFailed("The engine mixed its calls up.")
        self._calls[-1][1].append(event.text)
        yield replace(event, index=len(self._calls) - 1)

    async def finished(self, event: ChoiceFinished) -> AsyncIterator[Event]:
        """Read what is left, and see that what was promised is kept."""
        if self._reader is not None:
            for told in self._told(self._reader.finish(), None):
                yield told
        reason = await self._reason(event.reason)
        yield event if reason == event.reason else replace(event, reason=reason)

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
