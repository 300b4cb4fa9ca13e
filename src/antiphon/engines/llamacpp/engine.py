"""The engine port: calls go to the child that runs now, and its messages come back as events."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType

import anyio
from anyio import CancelScope
from anyio.streams.memory import MemoryObjectReceiveStream

from antiphon.core.ports import EngineState, Work
from antiphon.domain.chat import ChatRequest, Message
from antiphon.domain.errors import AntiphonError, ContextTooLong, EngineFailed, Unsupported
from antiphon.domain.events import (
    Accepted,
    Batch,
    ChoiceFinished,
    Drafts,
    Finished,
    FinishReason,
    TextDelta,
    TokenLogprob,
)
from antiphon.domain.media import Hearing, Sight
from antiphon.domain.tools import CALL_FORMATS, HERMES
from antiphon.engines.llamacpp import protocol
from antiphon.engines.llamacpp.child import Options
from antiphon.engines.llamacpp.grammar import grammar
from antiphon.engines.llamacpp.supervisor import Supervisor

STOP_S = 1.0
"""How long leaving a call waits for the child to say that nothing of it runs any more."""

FEATURES: Mapping[str, str] = MappingProxyType(
    {
        "frequency_penalty": "frequency_penalty",
        "logit_bias": "logit_bias",
        "logprobs": "logprobs",
        "max_completion_tokens": "max_tokens",
        "function_call": "grammar",
        "functions": "grammar",
        "n": "n",
        "parallel_tool_calls": "grammar",
        "prediction": "prediction",
        "response_format": "grammar",
        "tool_choice": "grammar",
        "tools": "described",
        "presence_penalty": "presence_penalty",
        "seed": "seed",
        "stop": "stop",
        "temperature": "temperature",
        "top_logprobs": "logprobs",
        "top_p": "top_p",
    }
)
"""A feature's name in a request, to the field of `protocol.Start` that carries it."""


THINKING_TOKENS: Mapping[str, int | None] = MappingProxyType(
    {"none": 0, "minimal": 64, "low": 512, "medium": 2048, "high": 8192, "xhigh": None, "max": None}
)
"""How long each effort lets a model think, where its template has no knob of its own for that or ignores it."""


class LlamaCppEngine:
    """One version of a model, run by llama.cpp in a child process."""

    def __init__(self, options: Options) -> None:
        self._supervisor = Supervisor(options)

    @property
    def features(self) -> Mapping[str, str]:
        """What it can do."""
        ready = self._supervisor.ready
        if ready is None:
            return FEATURES
        knobs = {knob: "template" for knob in ready.knobs if knob == "verbosity"}
        calls = {"tools": ready.calls} if ready.calls else {}
        thinking = {"reasoning_effort": ready.thinking} if ready.thinking else {}
        sight = {"image_url": "media"} if ready.sees else {}
        hearing = {"input_audio": "media"} if ready.hears else {}
        return {**FEATURES, **calls, **thinking, **knobs, **sight, **hearing}

    @property
    def state(self) -> EngineState:
        """How the child is."""
        return self._supervisor.state

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Run the child for the body, and start it again whenever it dies.

        Raises:
            EngineFailed: the first start did not work; the message says why, in one line.
        """
        async with self._supervisor.run():
            yield

    async def inspect(self) -> protocol.State:
        """Ask the child what it is doing now.

        Raises:
            EngineUnavailable, EngineFailed: there is no child to ask.
        """
        child = await self._supervisor.child()
        return await child.ask()

    @asynccontextmanager
    async def stream(self, work: Work) -> AsyncGenerator[AsyncIterator[Batch]]:
        """Answer a call; see core.ports.Engine."""
        child = await self._supervisor.child()
        call_id = work.prediction_id.bytes
        messages = child.begin(call_id)
        try:
            await child.send(_start(work, child.ready))
            yield _events(messages)
        finally:
            with CancelScope(shield=True, deadline=anyio.current_time() + STOP_S):
                await child.stop(call_id)
            child.forget(call_id)
            messages.close()


def _start(work: Work, ready: protocol.Ready) -> protocol.Start:
    request, sampling = work.request, work.request.sampling
    return protocol.Start(
        id=work.prediction_id.bytes,
        account=work.account,
        turns=tuple(map(_turn, request.messages)),
        n=sampling.n,
        max_tokens=sampling.max_tokens,
        stop=sampling.stop,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        frequency_penalty=sampling.frequency_penalty,
        presence_penalty=sampling.presence_penalty,
        logit_bias=dict(sampling.logit_bias),
        seed=sampling.seed,
        logprobs=sampling.top_logprobs if sampling.logprobs else -1,
        tools=_functions(request) if ready.calls else "",
        knobs=_knobs(request, ready),
        grammar=grammar(request, CALL_FORMATS.get(ready.calls, HERMES), in_channels=ready.thinking == "channels"),
        prediction=request.prediction or None,
        thinking_tokens=_thinking_tokens(request),
    )


def _functions(request: ChatRequest) -> str:
    """The functions as chat templates know them."""
    functions = [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
        }
        for tool in request.tools.offered
        if tool.kind == "function"
    ]
    return json.dumps(functions, ensure_ascii=False) if functions else ""


def _knobs(request: ChatRequest, ready: protocol.Ready) -> dict[str, str | bool]:
    knobs: dict[str, str | bool] = {}
    if request.reasoning_effort:
        knobs = {"reasoning_effort": request.reasoning_effort, "enable_thinking": request.reasoning_effort != "none"}
    if request.verbosity:
        knobs["verbosity"] = request.verbosity
    return {knob: value for knob, value in knobs.items() if knob in ready.knobs}


def _thinking_tokens(request: ChatRequest) -> int | None:
    """How long the model may think: by the effort asked for, and never so long that no room is left to answer."""
    budget, most = THINKING_TOKENS.get(request.reasoning_effort or ""), request.sampling.max_tokens
    if request.reasoning_effort is None or most is None:
        return budget
    within = most * 3 // 4
    return within if budget is None else min(budget, within)


def _turn(message: Message) -> protocol.Turn:
    calls = tuple((call.id, call.name, call.arguments) for call in message.tool_calls)
    media = tuple(map(_medium, message.sensed))
    return protocol.Turn(message.role, message.text, message.name, calls, message.tool_call_id, media)


def _medium(sensed: Sight | Hearing) -> protocol.Picture | protocol.Sound:
    if isinstance(sensed, Hearing):
        return protocol.Sound(sensed.at, sensed.sound.pcm)
    return protocol.Picture(sensed.at, sensed.pixels.width, sensed.pixels.height, sensed.pixels.rgb)


async def _events(messages: MemoryObjectReceiveStream[protocol.FromChild]) -> AsyncIterator[Batch]:
    async for message in messages:
        match message:
            case protocol.Text():
                entries = tuple(map(_logprob, message.logprobs))
                drafts = Drafts(message.accepted, message.rejected)
                yield [TextDelta(message.choice, message.text, message.tokens, entries, drafts=drafts)]
            case protocol.ChoiceEnded():
                drafts = Drafts(message.accepted, message.rejected)
                reason: FinishReason = "length" if message.reason == "length" else "stop"
                yield [ChoiceFinished(message.choice, reason, message.tokens, drafts)]
            case protocol.Accepted():
                said = message.prompt_tokens, message.cached_tokens, message.is_thinking, message.audio_tokens
                yield [Accepted(*said)]
            case protocol.Ended(error=None):
                yield [Finished()]
                return
            case protocol.Ended():
                raise _refusal(message)
            case protocol.Ready() | protocol.State():
                pass  # about the child, not about a call
    raise EngineFailed("The engine stopped while it was answering.")


def _refusal(ended: protocol.Ended) -> AntiphonError:
    match ended.error:
        case "context":
            return ContextTooLong(ended.message, param="messages")
        case "template":
            return Unsupported(ended.message, param="messages", code="unsupported_value")
        case "grammar":
            return Unsupported(ended.message, param=ended.param, code="unsupported_value")
        case "medium":
            return Unsupported(ended.message, param="messages", code="unsupported_value")
        case "bias":
            return Unsupported(ended.message, param="logit_bias", code="unsupported_value")
        case _:
            return EngineFailed(ended.message or "The engine failed.")


def _logprob(entry: protocol.Logprob) -> TokenLogprob:
    token = entry.piece.decode("utf-8", "replace")
    return TokenLogprob(token, entry.piece, entry.logprob, tuple(map(_logprob, entry.top)))
