"""A model's thinking, told apart from its answer: between tags, or in channels."""

import re
from collections.abc import Callable

from antiphon.core.calls import Began, CallReader, Content, Part, Piece, StateReader
from antiphon.core.writing import overlap
from antiphon.domain.tools import CHANNEL_MARKS, THINK_CLOSER, THINK_OPENER, Tools


class ThinkReader(StateReader):
    """`<think>…</think>` before the answer, as DeepSeek, Qwen and most others write it."""

    def __init__(self, answer: CallReader | None, *, is_thinking: bool) -> None:
        """Read one choice.

        Args:
            answer: reads what is not thinking; None where that is all content.
            is_thinking: whether the prompt has opened the thinking already.
        """
        self._answer = answer
        self._buffer = ""
        self._state = self._opened if is_thinking else self._begin

    def finish(self) -> list[Part]:
        """Give what was held back, when no more will come."""
        rest, self._buffer = self._buffer, ""
        if self._state == self._thinking:
            return [Content(rest, is_reasoning=True)] if rest else []
        return self._told(rest) + (self._answer.finish() if self._answer else [])

    # -- states

    def _begin(self) -> list[Part] | None:
        begin = self._buffer.lstrip()
        if begin.startswith(THINK_OPENER):
            self._state, self._buffer = self._opened, begin[len(THINK_OPENER) :]
        elif THINK_OPENER.startswith(begin):
            return None
        else:
            self._state = self._content
        return []

    def _opened(self) -> list[Part] | None:
        """The line breaks behind the opening tag."""
        self._buffer = self._buffer.lstrip("\n")
        if not self._buffer:
            return None
        self._state = self._thinking
        return []

    def _thinking(self) -> list[Part] | None:
        thought, closer, rest = self._buffer.partition(THINK_CLOSER)
        cut = len(thought) - (0 if closer else overlap(thought, THINK_CLOSER))
        self._buffer = rest if closer else thought[cut:]
        if closer:
            self._state = self._between
        if cut:
            return [Content(thought[:cut], is_reasoning=True)]
        return [] if closer else None

    def _between(self) -> list[Part] | None:
        """The line breaks between thinking and answer, which belong to neither."""
        self._buffer = self._buffer.lstrip("\n")
        if not self._buffer:
            return None
        self._state = self._content
        return []

    def _content(self) -> list[Part] | None:
        rest, self._buffer = self._buffer, ""
        return self._told(rest) if rest else None

    # --

    def _told(self, text: str) -> list[Part]:
        return self._answer.feed(text) if self._answer else [Content(text)] if text else []


_MARKS = re.compile("|".join(map(re.escape, CHANNEL_MARKS)))
_LONGEST_MARK = max(map(len, CHANNEL_MARKS))
_RECIPIENT = re.compile(r"to=functions\.([\w-]+)")


class ChannelReader:
    """`<|channel|>analysis<|message|>…<|end|>` and so on: the harmony format."""

    def __init__(self, answer: CallReader | None, tools: Tools) -> None:
        """Read one choice.

        Args:
            answer: reads what is neither thinking nor a message to a function; None where that is all content.
            tools: what may be called.
        """
        self._answer, self._is_parallel = answer, tools.is_parallel
        self._names = frozenset(tool.name for tool in tools.callable if tool.kind == "function")
        self._buffer = self._header = ""
        self._body: Callable[[str], list[Part]] | None = None
        """What is made of a message's text; None in its header."""
        self._has_messages = False
        self._calls = 0

    def feed(self, text: str) -> list[Part]:
        """Take text; give what it makes certain."""
        self._buffer += text
        parts: list[Part] = []
        while mark := _MARKS.search(self._buffer):
            parts += self._shown(self._buffer[: mark.start()])
            self._buffer = self._buffer[mark.end() :]
            parts += self._turn(mark[0])
        cut = len(self._buffer)
        if (begin := self._buffer.rfind("<", -_LONGEST_MARK)) >= 0:
            cut = begin
        shown, self._buffer = self._buffer[:cut], self._buffer[cut:]
        return parts + self._shown(shown)

    def finish(self) -> list[Part]:
        """Give what was held back, when no more will come."""
        rest, self._buffer = self._buffer, ""
        parts = self._shown(rest)
        if not self._has_messages:  # a model that forgot its format has said only content
            parts += self._told(self._header)
        return parts + (self._answer.finish() if self._answer else [])

    def _turn(self, mark: str) -> list[Part]:
        if mark != "<|message|>":
            # A call may be addressed before the channel is named: only a new message makes a new header.
            is_new = mark == "<|start|>" or self._body is not None
            self._header = "" if is_new else self._header + " "
            self._body = None
            return []
        self._has_messages = True
        name = self._called()
        if name is None:
            self._body = _thought if "analysis" in self._header.split() else self._told
            return []
        if not self._is_parallel and (self._calls or (self._answer and self._answer.calls)):
            self._body = _dropped
            return []
        self._body = _argued
        self._calls += 1
        return [Began("function", name)]

    def _called(self) -> str | None:
        recipient = _RECIPIENT.search(self._header)
        return recipient[1] if recipient and recipient[1] in self._names else None

    def _shown(self, text: str) -> list[Part]:
        if not text:
            return []
        if self._body is not None:
            return self._body(text)
        self._header += text
        return []

    def _told(self, text: str) -> list[Part]:
        return self._answer.feed(text) if self._answer else [Content(text)] if text else []


def _thought(text: str) -> list[Part]:
    return [Content(text, is_reasoning=True)]


def _argued(text: str) -> list[Part]:
    return [Piece(text)]


def _dropped(text: str) -> list[Part]:  # noqa: ARG001 - one of three that are called alike
    return []
