"""Values to OpenAI's JSON: completions, chunks, models and errors.

Source: the OpenAI API's specification 2.3.0 (2026-08-21), and what six versions of its SDKs do with each answer:
`tool_calls` is left out when there are none (an echoed null breaks openai-node), a role comes once a choice (it is
concatenated), choices first appear in order, usage stands on the last chunk.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from antiphon.domain.errors import AntiphonError, InvalidRequest
from antiphon.domain.events import (
    Accepted,
    CallDelta,
    CallHead,
    ChoiceFinished,
    CompletedChoice,
    Completion,
    Event,
    Finished,
    TextDelta,
    TokenLogprob,
    Usage,
)
from antiphon.domain.models import Model
from antiphon.domain.tools import NO_TOOLS, ToolKind, Tools
from antiphon.wire import sse

_NO_LOGPROB = -9999.0
"""What OpenAI writes for a token that is as good as impossible; JSON has no infinity."""


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """What every part of one answer says of it."""

    id: str
    created: int
    model: str
    """As the client wrote it."""
    fingerprint: str
    service_tier: str = "default"


def completion_body(head: ReplyHead, completion: Completion, *, logprobs: bool, is_legacy: bool = False) -> bytes:
    """Give a whole answer as JSON."""
    return orjson.dumps(
        {
            "id": head.id,
            "object": "chat.completion",
            "created": head.created,
            "model": head.model,
            "choices": [
                _choice(index, choice, logprobs=logprobs, is_legacy=is_legacy)
                for index, choice in enumerate(completion.choices)
            ],
            "usage": _usage(completion.usage),
            "service_tier": head.service_tier,
            "system_fingerprint": head.fingerprint,
        }
    )


def _choice(index: int, choice: CompletedChoice, *, logprobs: bool, is_legacy: bool) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": choice.text or (None if choice.calls else ""),
        "refusal": None,
        "annotations": [],
        "audio": None,
    }
    if choice.reasoning:
        message["reasoning_content"] = choice.reasoning
    if choice.calls and is_legacy:
        message["function_call"] = _call(choice.calls[0].head, choice.calls[0].text)["function"]
    elif choice.calls:
        message["tool_calls"] = [_call(call.head, call.text) for call in choice.calls]
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(choice.logprobs) if logprobs else None,
        "finish_reason": choice.reason,
    }


def _call(head: CallHead, text: str) -> dict[str, Any]:
    key = "arguments" if head.kind == "function" else "input"
    return {"id": head.id, "type": head.kind, head.kind: {"name": head.name, key: text}}


def _logprobs(entries: Iterable[TokenLogprob]) -> dict[str, Any]:
    content = [_entry(entry) | {"top_logprobs": [_entry(top) for top in entry.top]} for entry in entries]
    return {"content": content, "refusal": None}


def _entry(entry: TokenLogprob) -> dict[str, Any]:
    return {"token": entry.token, "logprob": max(entry.logprob, _NO_LOGPROB), "bytes": list(entry.bytes)}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": usage.prompt_audio_tokens},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.audio_tokens,
            "accepted_prediction_tokens": usage.accepted_prediction_tokens,
            "rejected_prediction_tokens": usage.rejected_prediction_tokens,
        },
    }


class ChunkWriter:
    """Events to the frames of one stream."""

    def __init__(
        self,
        head: ReplyHead,
        *,
        choices: int,
        logprobs: bool,
        include_usage: bool,
        include_obfuscation: bool,
        tools: Tools = NO_TOOLS,
    ) -> None:
        self._choices, self._logprobs = choices, logprobs
        self._include_usage, self._obfuscates = include_usage, include_obfuscation
        self._is_legacy = tools.is_legacy
        # Where calls are required it is known from the start that there is no content.
        self._begin = {"role": "assistant", "content": None if tools.is_required else "", "refusal": None}
        self._kinds: dict[tuple[int, int], ToolKind] = {}
        """What each call of each choice is."""
        before = {"id": head.id, "object": "chat.completion.chunk", "created": head.created, "model": head.model}
        after = {"service_tier": head.service_tier, "system_fingerprint": head.fingerprint}
        # Every chunk of an answer begins and ends alike: written once, so that a token costs its own bytes only.
        self._before = b"data: " + orjson.dumps(before)[:-1] + b',"choices":'
        self._after = b"," + orjson.dumps(after)[1:-1]

    def event(self, event: Event) -> bytes:
        """Give the frames an event makes; none for Finished."""
        match event:
            case TextDelta():
                if event.is_reasoning:
                    return self._chunk(event.choice, {"reasoning_content": event.text})
                logprobs = _logprobs(event.logprobs) if self._logprobs else None
                return self._chunk(event.choice, {"content": event.text}, logprobs=logprobs)
            case CallDelta():
                return self._chunk(event.choice, self._call_delta(event))
            case Accepted():
                return b"".join(self._chunk(choice, self._begin) for choice in range(self._choices))
            case ChoiceFinished():
                return self._chunk(event.choice, {}, reason=event.reason)
            case Finished():
                return b""

    def opening(self) -> bytes:
        """Give the frames of `Accepted` as one, for streams that can be cut between any two and taken up again."""
        return self._frame([_delta(choice, self._begin) for choice in range(self._choices)], b"")

    def begun(self, choice: int, index: int, kind: ToolKind) -> None:
        """Note a call whose first piece was sent by another writer."""
        self._kinds[choice, index] = kind

    def _call_delta(self, event: CallDelta) -> dict[str, Any]:
        """A call's first piece names it; what follows has its index and more text, and no other key."""
        if event.begins:
            self._kinds[event.choice, event.index] = event.begins.kind
            call = _call(event.begins, event.text)
        else:
            kind = self._kinds[event.choice, event.index]
            call = {kind: {"arguments" if kind == "function" else "input": event.text}}
        if self._is_legacy:
            return {"function_call": call["function"]}
        return {"tool_calls": [{"index": event.index, **call}]}

    def done(self, usage: Usage) -> bytes:
        """Give the end of the stream: usage, if it was asked for, and [DONE]."""
        if not self._include_usage:
            return sse.DONE
        return self._frame([], b',"usage":' + orjson.dumps(_usage(usage))) + sse.DONE

    def _chunk(
        self, choice: int, delta: dict[str, Any], *, logprobs: dict[str, Any] | None = None, reason: str | None = None
    ) -> bytes:
        choices = [_delta(choice, delta, logprobs, reason)]
        return self._frame(choices, b',"usage":null' if self._include_usage else b"")

    def _frame(self, choices: list[dict[str, Any]], usage: bytes) -> bytes:
        # Padding of random length, so that the size of a packet does not tell the length of a token.
        padding = (
            b',"obfuscation":"%s"' % secrets.token_urlsafe(secrets.randbelow(12)).encode() if self._obfuscates else b""
        )
        return b"".join((self._before, orjson.dumps(choices), self._after, usage, padding, b"}\n\n"))


def _delta(
    choice: int, delta: dict[str, Any], logprobs: dict[str, Any] | None = None, reason: str | None = None
) -> dict[str, Any]:
    return {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason}


def model_body(model: Model, number: int | None) -> bytes:
    """Give one model, or one version of it, as OpenAI's object."""
    return orjson.dumps(_model(model, number))


def models_body(models: Iterable[Model]) -> bytes:
    """Give OpenAI's list of models."""
    return orjson.dumps({"object": "list", "data": [_model(model, None) for model in models]})


def _model(model: Model, number: int | None) -> dict[str, Any]:
    name = model.id if number is None else f"{model.id}:{number}"
    return {"id": name, "object": "model", "created": model.created, "owned_by": model.owner}


def error_body(error: AntiphonError) -> bytes:
    """Give an error as both kinds of client read it: the platform's `detail`, and OpenAI's `error`."""
    return orjson.dumps({"detail": _detail(error), "error": _error(error)})


def error_frame(error: AntiphonError) -> bytes:
    """Give the last frame of a stream that failed; no [DONE] follows it."""
    return sse.frame(orjson.dumps({"error": _error(error)}))


def _error(error: AntiphonError) -> dict[str, Any]:
    return {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.said_code,
        "detail": _detail(error),
    }


def _detail(error: AntiphonError) -> str | list[dict[str, Any]]:
    if isinstance(error, InvalidRequest):
        return [{"loc": list(fault.loc), "msg": fault.msg, "type": fault.type} for fault in error.faults]
    return error.message
