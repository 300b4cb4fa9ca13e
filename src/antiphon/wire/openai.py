"""Values to OpenAI's JSON: completions, models and errors.

Source: the OpenAI API's specification 2.3.0 (2026-08-21), and what six versions of its SDKs do with each answer:
`tool_calls` is left out when there are none (an echoed null breaks openai-node).
"""

import base64
from collections.abc import Iterable
from typing import Any

import orjson

from antiphon.domain.chat import ChatRequest
from antiphon.domain.errors import AntiphonError, InvalidRequest
from antiphon.domain.events import CallHead, CompletedChoice, Completion, TokenLogprob, Usage
from antiphon.domain.media import SPEECH_KEPT_S
from antiphon.domain.models import Model
from antiphon.domain.values import value
from antiphon.wire import sse

_NO_LOGPROB = -9999.0
"""What OpenAI writes for a token that is as good as impossible; JSON has no infinity."""


@value
class ReplyHead:
    """What every part of one answer says of it."""

    id: str
    created: int
    model: str
    """As the client wrote it."""
    fingerprint: str
    service_tier: str = "default"

    def speech_id(self, choice: int) -> str:
        """The id of a choice that is spoken, by which later turns name it."""
        return f"audio_{self.id.removeprefix('chatcmpl-')}_{choice}"

    @property
    def speech_expires_at(self) -> int:
        """Until when they may."""
        return self.created + SPEECH_KEPT_S


@value
class Form:
    """How an answer is written: what of it was asked for."""

    logprobs: bool = False
    is_legacy: bool = False
    """Whether calls are written in the deprecated way."""
    is_spoken: bool = False
    must_call: bool = False
    """Whether it is known from the start that there is no content, only calls."""
    include_usage: bool = False
    include_obfuscation: bool = False

    @classmethod
    def of(cls, request: ChatRequest) -> "Form":
        """Give the form a request asks for."""
        return cls(
            request.sampling.logprobs,
            request.tools.is_legacy,
            request.speech is not None,
            request.tools.is_required,
            request.include_usage,
            request.include_obfuscation,
        )


def completion_body(head: ReplyHead, completion: Completion, form: Form) -> bytes:
    """Give a whole answer as JSON."""
    return orjson.dumps(
        {
            "id": head.id,
            "object": "chat.completion",
            "created": head.created,
            "model": head.model,
            "choices": [_choice(head, index, choice, form) for index, choice in enumerate(completion.choices)],
            "usage": usage_json(completion.usage),
            "service_tier": head.service_tier,
            "system_fingerprint": head.fingerprint,
        }
    )


def _choice(head: ReplyHead, index: int, choice: CompletedChoice, form: Form) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": choice.text or (None if choice.calls else ""),
        "refusal": None,
        "annotations": [],
        "audio": None,
    }
    if choice.speech is not None:
        message["content"] = None
        message["audio"] = {
            "id": head.speech_id(index),
            "data": base64.b64encode(choice.speech).decode(),
            "expires_at": head.speech_expires_at,
            "transcript": choice.text,
        }
    if choice.reasoning:
        message["reasoning_content"] = choice.reasoning
    if choice.calls and form.is_legacy:
        message["function_call"] = call_json(choice.calls[0].head, choice.calls[0].text)["function"]
    elif choice.calls:
        message["tool_calls"] = [call_json(call.head, call.text) for call in choice.calls]
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs_json(choice.logprobs) if form.logprobs else None,
        "finish_reason": choice.reason,
    }


def call_json(head: CallHead, text: str) -> dict[str, Any]:
    """Give a tool call."""
    key = "arguments" if head.kind == "function" else "input"
    return {"id": head.id, "type": head.kind, head.kind: {"name": head.name, key: text}}


def logprobs_json(entries: Iterable[TokenLogprob]) -> dict[str, Any]:
    """Give the log-probabilities of a piece of text."""
    content = [_entry(entry) | {"top_logprobs": [_entry(top) for top in entry.top]} for entry in entries]
    return {"content": content, "refusal": None}


def _entry(entry: TokenLogprob) -> dict[str, Any]:
    return {"token": entry.token, "logprob": max(entry.logprob, _NO_LOGPROB), "bytes": list(entry.bytes)}


def usage_json(usage: Usage) -> dict[str, Any]:
    """Give what an answer cost."""
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
