"""A model's text to an answer's content, thinking and tool calls, as it comes and cut anywhere."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from antiphon.core.writing import overlap
from antiphon.domain.tools import CUSTOM_CLOSER, CUSTOM_OPENER, CallFormat, ToolKind, Tools


@dataclass(frozen=True, slots=True)
class Content:
    """Text of the answer, or of the thinking before it."""

    text: str
    is_reasoning: bool = False


@dataclass(frozen=True, slots=True)
class Began:
    """A call begins."""

    kind: ToolKind
    name: str


@dataclass(frozen=True, slots=True)
class Piece:
    """More of the call that began last."""

    text: str


Part = Content | Began | Piece

_HEAD = re.compile(r'[\s,;\[]*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)')
_TAIL = re.compile(r"\s*\}")
_BETWEEN = re.compile(r"[\s,;\]]*")
_HEAD_CHARACTERS = 1_000
"""A call whose name has not come after this many characters is none."""


class JsonValue:
    """Finds where a JSON object, array or string ends, whatever pieces it comes in."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = self._is_escaped = False

    def feed(self, text: str) -> int | None:
        """Take text; give how much of it belongs to the value when that ends here, else None."""
        for at, char in enumerate(text):
            if self._in_string:
                self._is_escaped, ends = char == "\\" and not self._is_escaped, char == '"' and not self._is_escaped
                self._in_string = not ends
            else:
                self._in_string = char == '"'
                self._depth += (char in "{[") - (char in "}]")
            if self._depth == 0 and not self._in_string:
                return at + 1
        return None


class StateReader:
    """Reads a text by states: each gives the parts it is certain of and moves on, or None when it needs more text."""

    _buffer: str
    _state: Callable[[], list[Part] | None]

    def feed(self, text: str) -> list[Part]:
        """Take text; give what it makes certain."""
        self._buffer += text
        parts: list[Part] = []
        while (found := self._state()) is not None:
            parts += found
        return parts


class CallReader(StateReader):
    """Reads one choice. Text that turns out to be no call of an offered tool is content, as it was written."""

    def __init__(self, tools: Tools, form: CallFormat) -> None:
        self._form, self._is_parallel, self._is_required = form, tools.is_parallel, tools.is_required
        self._names = {(tool.kind, tool.name) for tool in tools.callable}
        self._openers = (form.opener, CUSTOM_OPENER) if form.opener else (CUSTOM_OPENER,)
        self._buffer = ""
        may_be_bare = form.is_bare or form.is_listed or tools.is_required
        self._state = self._bare if may_be_bare else self._text
        self._value = JsonValue()
        self._opened = ""
        """What stood before the call that is being read, to be given back if it is none."""
        self.calls = 0

    def finish(self) -> list[Part]:
        """Give what was held back, when no more will come."""
        rest, self._buffer = self._opened + self._buffer, ""
        if self._state in {self._arguments, self._input}:
            return [Piece(rest)] if rest else []
        if not rest.strip() or self._state in {self._over, self._after}:
            return []
        if self._is_required and (rest in self._form.opener or self._state in {self._head, self._custom}):
            return []  # the beginning of a call for which there was no room
        return list(self._whole_call(rest)) if self._state == self._head else [Content(rest)]

    def _shown(self, text: str) -> Content:
        """What was no call after all, without the control tokens in it."""
        return Content(text.replace(self._form.opener, "") if self._form.is_control else text)

    # -- states

    def _text(self) -> list[Part] | None:
        """Content, up to whatever opens a call."""
        places = [(at, opener) for opener in self._openers if (at := self._buffer.find(opener)) >= 0]
        if places:
            at, opener = min(places)
            before, self._buffer = self._buffer[:at], self._buffer[at + len(opener) :]
            self._state = self._custom if opener == CUSTOM_OPENER else self._head
            self._opened = opener
            return [Content(before)] if before.strip() or (before and not self._form.is_bare) else []
        cut = len(self._buffer) - max(overlap(self._buffer, opener) for opener in self._openers)
        shown, self._buffer = self._buffer[:cut], self._buffer[cut:]
        return [Content(shown)] if shown else None

    def _bare(self) -> list[Part] | None:
        """The very beginning, where a call may stand without an opener."""
        begin = self._buffer.lstrip()
        if not begin or (self._form.opener.startswith(begin) and begin != self._form.opener):
            return None
        is_call = begin[0] in "{[" and begin != self._form.opener and not begin.startswith(self._openers)
        self._state = self._head if is_call else self._text
        return []

    def _head(self) -> list[Part] | None:
        """A call's beginning up to its arguments."""
        match = _HEAD.match(self._buffer)
        if match is None:
            if len(self._buffer) > _HEAD_CHARACTERS:
                return self._give_back()
            return self._closed_early()
        name = _string(match[1])
        if ("function", name) not in self._names:
            return self._give_back()
        self._buffer, self._opened = self._buffer[match.end() :], ""
        self._state, self._value = self._arguments, JsonValue()
        self.calls += 1
        return [Began("function", name)]

    def _closed_early(self) -> list[Part] | None:
        """A call written in another order, told by its closer: read whole."""
        end = self._buffer.find(self._form.closer) if self._form.closer else -1
        if end < 0:
            return None
        end += len(self._form.closer)
        inside, self._buffer = self._buffer[:end], self._buffer[end:]
        calls = self.calls
        parts = list(self._whole_call(self._opened + inside))
        self._opened, self._state = "", self._after if self.calls > calls else self._text
        return parts

    def _arguments(self) -> list[Part] | None:
        """A call's arguments, verbatim."""
        if not self._buffer:
            return None
        end = self._value.feed(self._buffer)
        shown, self._buffer = (self._buffer, "") if end is None else (self._buffer[:end], self._buffer[end:])
        if end is not None:
            self._state = self._tail
        return [Piece(shown)]

    def _tail(self) -> list[Part] | None:
        """The brace that closes a call."""
        match = _TAIL.match(self._buffer)
        if match is None:
            return None
        self._buffer, self._state = self._buffer[match.end() :], self._after
        return []

    def _after(self) -> list[Part] | None:
        """Behind a call: its closer, another call, or content."""
        if not self._is_parallel:
            self._state = self._over
            return []
        rest = self._buffer[_BETWEEN.match(self._buffer).end() :]  # type: ignore[union-attr]  # it matches nothing too
        if not rest or (self._form.closer and self._form.closer.startswith(rest) and rest != self._form.closer):
            return None
        if self._form.closer and rest.startswith(self._form.closer):
            self._buffer = rest[len(self._form.closer) :]
            return []
        self._buffer = rest
        self._state = self._head if rest[0] == "{" and (self._form.is_listed or self._form.is_bare) else self._text
        return []

    def _custom(self) -> list[Part] | None:
        """A custom call's name."""
        name, quote, rest = self._buffer.partition('">')
        if not quote:
            return None if len(self._buffer) <= _HEAD_CHARACTERS else self._give_back()
        if ("custom", name) not in self._names:
            return self._give_back()
        self._buffer, self._opened, self._state = rest, "", self._input
        self.calls += 1
        return [Began("custom", name)]

    def _input(self) -> list[Part] | None:
        """A custom call's input, up to its closer."""
        end = self._buffer.find(CUSTOM_CLOSER)
        if end >= 0:
            shown, self._buffer = self._buffer[:end], self._buffer[end + len(CUSTOM_CLOSER) :]
            self._state = self._after
            return [Piece(shown)]
        cut = len(self._buffer) - overlap(self._buffer, CUSTOM_CLOSER)
        shown, self._buffer = self._buffer[:cut], self._buffer[cut:]
        return [Piece(shown)] if shown else None

    def _over(self) -> list[Part] | None:
        """There may be one call only, and there was."""
        self._buffer = ""
        return None

    # --

    def _give_back(self) -> list[Part]:
        """It was no call: what opened it is content, and so may be what follows."""
        opened, self._opened, self._state = self._opened, "", self._text
        if not opened:  # a bare beginning: nothing but content can follow, up to an opener
            opened, self._buffer = self._buffer[:1], self._buffer[1:]
        return [self._shown(opened)]

    def _whole_call(self, text: str) -> Iterator[Part]:
        """Read a call that is all there, whatever the order of its keys; content when it is none."""
        try:
            call = json.loads(text.removeprefix(self._opened).removesuffix(self._form.closer))
            name, arguments = str(call["name"]), call.get("arguments", call.get("parameters"))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            name, arguments = "", None
        if ("function", name) not in self._names:
            yield self._shown(text)
            return
        self.calls += 1
        yield Began("function", name)
        if not isinstance(arguments, str):
            arguments = json.dumps({} if arguments is None else arguments, ensure_ascii=False)
        yield Piece(arguments.encode("utf-8", "replace").decode())  # half a surrogate pair is no text


def _string(literal: str) -> str:
    """Give the text of a JSON string; empty when it is none."""
    try:
        return str(json.loads(literal))
    except ValueError:
        return ""
