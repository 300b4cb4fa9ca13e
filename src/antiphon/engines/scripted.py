"""An engine that says what a script tells it, at a given pace, and fails on cue.

It ships in the package: the test double for everything above the engine port, and a way to try a client against the
contract without a model. A script is the `script` table of a version's configuration.
"""

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType

import anyio
import msgspec

from antiphon.core.ports import EngineState, Work
from antiphon.core.writing import ChoiceWriter
from antiphon.domain.chat import Message
from antiphon.domain.errors import ContextTooLong, EngineFailed
from antiphon.domain.events import Accepted, Batch, ChoiceFinished, Event, Finished, FinishReason, TokenLogprob
from antiphon.domain.media import Hearing, Sight
from antiphon.domain.sampling import Sampling

_HONOURED = (
    "frequency_penalty",
    "function_call",
    "functions",
    "parallel_tool_calls",
    "prediction",
    "response_format",
    "tool_choice",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "n",
    "presence_penalty",
    "seed",
    "stop",
    "temperature",
    "top_logprobs",
    "top_p",
)
"""A script draws nothing at random, so the parameters of sampling have nothing to act on and are kept by it."""

_LOGPROB = -0.5


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the engine says. Times are in seconds."""

    tokens: tuple[str, ...] = ("Hello", ",", " world", "!")
    echo: bool = False
    """Say the last message back, word by word, instead of `tokens`."""
    repeat: int = 1
    """How many times the tokens are said."""
    prompt_tokens: int = 7
    accept_s: float = 0.0
    """How long it reads before it accepts."""
    token_s: float = 0.0
    """How long it takes for each token."""
    fail_at: int | None = None
    """It dies in place of this token, counted from 0; -1: before it accepts."""
    calls: str = "hermes"
    """The format in which its tokens write tool calls."""
    thinking: str = ""
    """How its tokens think: "think", "channels", or not at all."""
    senses: tuple[str, ...] = ()
    """The kinds of content part it takes by itself: "image_url", "input_audio". An echo tells what came, by its
    checksum."""
    context_tokens: int = 8192
    """A prompt of more words than this is too long."""


class ScriptedEngine:
    """Runs a script for every call."""

    def __init__(self, script: Mapping[str, object] | None = None) -> None:
        """Take a script.

        Raises:
            ValueError: it has an unknown key or a value of a wrong type.
        """
        self._script = msgspec.convert(dict(script or {}), Script)
        self.running = 0
        """How many calls are being answered now."""
        self.stopped = 0
        """How many were left before they had finished."""
        self.finished = 0

    @property
    def features(self) -> Mapping[str, str]:
        """What it can do."""
        script = self._script
        thinking = {"reasoning_effort": script.thinking} if script.thinking else {}
        return MappingProxyType(
            {name: name for name in (*_HONOURED, *script.senses)} | {"tools": script.calls} | thinking
        )

    @property
    def state(self) -> EngineState:
        """It is always ready."""
        return EngineState("ready")

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Have nothing to start."""
        yield

    @asynccontextmanager
    async def stream(self, work: Work) -> AsyncGenerator[AsyncIterator[Batch]]:
        """Answer a call; see core.ports.Engine."""
        self.running += 1
        finished = self.finished
        try:
            yield self._events(work)
        finally:
            self.running -= 1
            self.stopped += self.finished == finished

    async def _events(self, work: Work) -> AsyncIterator[Batch]:
        script, sampling = self._script, work.request.sampling
        _check(script, work)
        await anyio.sleep(script.accept_s)
        _fail(script, -1)
        yield [Accepted(script.prompt_tokens, cached_tokens=0)]
        writers = [ChoiceWriter(index, sampling.stop) for index in range(sampling.n)]
        for place, token in enumerate(_tokens(script, work)):
            if not writers:
                break
            _fail(script, place)
            await anyio.sleep(script.token_s)
            said = [event for writer in writers for event in _say(writer, token, sampling)]
            ended = {event.choice for event in said if isinstance(event, ChoiceFinished)}
            writers = [writer for writer in writers if writer.choice not in ended]
            yield said
        self.finished += 1
        yield [*(event for writer in writers for event in _end(writer, "stop")), Finished()]


def _check(script: Script, work: Work) -> None:
    if sum(len(message.text.split()) for message in work.request.messages) > script.context_tokens:
        raise ContextTooLong(f"The maximum context length is {script.context_tokens} tokens.", param="messages")


def _fail(script: Script, place: int) -> None:
    if place == script.fail_at:
        raise EngineFailed("The engine died on cue.")


def _say(writer: ChoiceWriter, token: str, sampling: Sampling) -> list[Event]:
    """Let one choice say a token; give what comes of it, its end included if it is its last."""
    delta, stopped = writer.add(token.encode(), _logprob(token, sampling))
    said: list[Event] = [delta] if delta else []
    if stopped or writer.tokens == sampling.max_tokens:
        return said + _end(writer, "stop" if stopped else "length")
    return said


def _tokens(script: Script, work: Work) -> list[str]:
    if not script.echo:
        return list(script.tokens) * script.repeat
    words = _said(work.request.messages[-1]).split(" ")
    return [word if place == 0 else f" {word}" for place, word in enumerate(words)]


def _said(message: Message) -> str:
    """A message's text, with what else came in it named in its place."""
    text = message.text
    for sensed in reversed(message.sensed):
        text = f"{text[: sensed.at]}[{_named(sensed)}]{text[sensed.at :]}"
    return text


def _named(sensed: Sight | Hearing) -> str:
    if isinstance(sensed, Sight):
        image = sensed.pixels
        return f"image:{image.width}x{image.height}:{zlib.crc32(image.rgb):08x}"
    return f"sound:{sensed.sound.seconds:.2f}s:{zlib.crc32(sensed.sound.pcm):08x}"


def _end(writer: ChoiceWriter, reason: FinishReason) -> list[Event]:
    ended = ChoiceFinished(writer.choice, reason, writer.tokens)
    return [delta, ended] if (delta := writer.finish()) else [ended]


def _logprob(token: str, sampling: Sampling) -> TokenLogprob | None:
    if not sampling.logprobs:
        return None
    entry = TokenLogprob(token, token.encode(), _LOGPROB)
    return TokenLogprob(token, token.encode(), _LOGPROB, (entry,) * min(sampling.top_logprobs, 1))
