"""A model's thinking, told apart from its answer: between tags, or in channels."""

import re

from antiphon.core.calls import Began, CallReader, Content, Part, Piece
from antiphon.core.writing import overlap

THINK_OPENER, THINK_CLOSER = "<think>", "</think>"


class ThinkReader:
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

    def feed(self, text: str) -> list[Part]:
        """Take text; give what it makes certain."""
        self._buffer += text
        parts: list[Part] = []
        while (found := self._state()) is not None:
            parts += found
        return parts

    def finish(self) -> list[Part]:
        """Give what was held back, when no more will come."""
        rest, self._buffer = self._buffer, ""
        if self._state == self._thinking:
            return [Content(rest, is_reasoning=True)] if rest else []
        return self._told(rest) + (self._answer.finish() if self._answer else [])

    # -- states: each gives the parts it is certain of and moves on, or None when it needs more text

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


_MARKS = re.compile(r"<\|(?:start|channel|message|end|return|call|constrain)\|>")
_LONGEST_MARK = len("<|constrain|>")
_RECIPIENT = re.compile(r"to=functions\.([\w-]+)")


class ChannelReader:
    """`<|channel|>analysis<|message|>…<|end|>` and so on: the harmony format."""

    def __init__(self, names: frozenset[str]) -> None:
        """Read one choice; `names` are the functions that may be called."""
        self._names = names
        self._buffer = self._header = ""
        self._is_body = self._is_over = False
        self.calls = 0

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
        return self._shown(rest)

    def _turn(self, mark: str) -> list[Part]:
        if mark != "<|message|>":
            if mark in {"<|start|>", "<|channel|>"} or self._is_body:
                self._header = ""
            self._is_body = False
            return []
        self._is_body = True
        name = self._called()
        if name is None:
            return []
        self.calls += 1
        return [Began("function", name)]

    def _called(self) -> str | None:
        recipient = _RECIPIENT.search(self._header)
        return recipient[1] if recipient and recipient[1] in self._names else None

    def _shown(self, text: str) -> list[Part]:
        if not text:
            return []
        if not self._is_body:
            self._header += text
            return []
        if self._called() is not None:
            return [Piece(text)]
        return [Content(text, is_reasoning=self._header.strip().startswith("analysis"))]
