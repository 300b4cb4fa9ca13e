"""An upstream's JSON as far as it is believed: what is not here is skipped, what is of another type is no answer."""

from typing import Any

import msgspec

from antiphon.domain.errors import EngineFailed


class Text(msgspec.Struct, frozen=True):
    """A part of a content that is a list."""

    text: str = ""


class Function(msgspec.Struct, frozen=True):
    """What a call calls."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None
    """Text as OpenAI has it; an object from servers that have read it already."""


class Call(msgspec.Struct, frozen=True):
    """A tool call, or a piece of one."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Said(msgspec.Struct, frozen=True):
    """A message, or more of one."""

    content: str | list[Text] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None

    @property
    def is_text(self) -> bool:
        """Whether it is a piece of text and nothing else, as nearly every chunk is."""
        others = self.reasoning_content or self.reasoning or self.refusal or self.tool_calls or self.function_call
        return isinstance(self.content, str) and bool(self.content) and not others

    @property
    def calls(self) -> list[Call]:
        """The calls, or the one that is made in the deprecated way."""
        return self.tool_calls or ([Call(0, None, self.function_call)] if self.function_call else [])

    @property
    def text(self) -> str:
        """What is said, a refusal included."""
        content = self.content
        if isinstance(content, list):
            content = "".join(part.text for part in content)
        return (content or "") + (self.refusal or "")


class Entry(msgspec.Struct, frozen=True):
    """A token's log-probability."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list["Entry"] | None = None


class Logprobs(msgspec.Struct, frozen=True):
    """Those of a piece of text."""

    content: list[Entry] | None = None


class Choice(msgspec.Struct, frozen=True):
    """One choice: whole, or more of it."""

    index: int = 0
    delta: Said | None = None
    message: Said | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Answer(msgspec.Struct, frozen=True):
    """A whole answer, or a chunk of one."""

    choices: list[Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


_ANSWER = msgspec.json.Decoder(Answer)


def read_answer(data: bytes) -> Answer:
    """Read an answer or a chunk.

    Raises:
        EngineFailed: it is neither.
    """
    try:
        return _ANSWER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise EngineFailed("The model's server sent what is no answer.") from None
