"""Stored completions as OpenAI's JSON.

Source: the OpenAI API's specification 2.3.0: a list has `first_id`, `last_id` and `has_more`; its pagers ask again with
`after` = the last id. A stored message has an `id`, and `content_parts` when its content was parts.
"""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from antiphon.domain.events import CallHead, CompletedCall, CompletedChoice, Completion, TokenLogprob, Usage
from antiphon.domain.record import Record
from antiphon.wire.json_in import write_json
from antiphon.wire.openai import Form


def completion_id(record: Record) -> str:
    """Give the id of a prediction's completion."""
    return f"chatcmpl-{record.id.hex}"


def stored_body(record: Record) -> bytes:
    """Give one stored completion."""
    return orjson.dumps(_stored(record))


def stored_page(records: Iterable[Record], *, has_more: bool) -> bytes:
    """Give a part of the list of stored completions."""
    return _list([_stored(record) for record in records], has_more=has_more)


def deleted_body(key: str) -> bytes:
    """Say that a stored completion is none any more."""
    return orjson.dumps({"object": "chat.completion.deleted", "id": key, "deleted": True})


def stored_messages(record: Record) -> list[dict[str, Any]]:
    """Give the messages a stored completion was asked with, each with an id."""
    asked = _asked(record).get("messages", [])
    return [_message(message, f"{completion_id(record)}-{place}") for place, message in enumerate(asked)]


def messages_page(messages: Sequence[dict[str, Any]], *, has_more: bool) -> bytes:
    """Give a part of the list of a completion's messages."""
    return _list(list(messages), has_more=has_more)


def _list(data: list[dict[str, Any]], *, has_more: bool) -> bytes:
    ids = [item["id"] for item in data]
    ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    return write_json({"object": "list", "data": data, **ends, "has_more": has_more})


def _stored(record: Record) -> dict[str, Any]:
    output = orjson.loads(record.output) if record.output else _too_large(record)
    return output | {"metadata": dict(record.metadata), "request_id": str(record.id)}


def _too_large(record: Record) -> dict[str, Any]:
    """What is left of a completion whose text was more than the store keeps."""
    created = record.created_us // 1_000_000
    head = {"id": completion_id(record), "object": "chat.completion", "created": created, "model": record.model}
    return head | {"choices": []}


def _message(message: dict[str, Any], key: str) -> dict[str, Any]:
    content = message.get("content")
    parts = content if isinstance(content, list) else None
    if parts is not None:
        content = "\n".join(part["text"] for part in parts if part.get("type") == "text")
    # What was null is left out: clients trip over `tool_calls` that are none.
    said = {name: value for name, value in message.items() if value is not None}
    return {"refusal": None, **said, "id": key, "content": content, "content_parts": parts}


# -- a kept answer, read back


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """A completion as `wire.openai.completion_body` wrote it, whole or partial."""

    completion: Completion
    model: str
    fingerprint: str
    form: Form
    """How it was asked to be written, as far as it shows."""

    @property
    def is_whole(self) -> bool:
        """Whether it has its speech: of a long one only the words are kept."""
        return not any(choice.speech == b"" and choice.text for choice in self.completion.choices)


def read_kept(output: bytes) -> KeptAnswer:
    """Read a kept answer."""
    tree = orjson.loads(output)
    usage, choices = tree["usage"], tree["choices"]
    prompt, parts = usage["prompt_tokens_details"], usage["completion_tokens_details"]
    completion = Completion(
        tuple(map(_choice, choices)),
        Usage(
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
            cached_tokens=prompt["cached_tokens"],
            prompt_audio_tokens=prompt["audio_tokens"],
            **parts,
        ),
    )
    return KeptAnswer(
        completion,
        tree["model"],
        tree["system_fingerprint"],
        Form(
            logprobs=any(choice["logprobs"] for choice in choices),
            is_legacy=any("function_call" in choice["message"] for choice in choices),
            is_spoken=any(choice["message"]["audio"] for choice in choices),
        ),
    )


def asked_choices(record: Record) -> int:
    """How many choices a kept request asked for."""
    return int(_asked(record).get("n") or 1)


def is_spoken(record: Record) -> bool:
    """Whether a kept request asked for speech: an answer may have words and nothing that the voice can say."""
    return "audio" in (_asked(record).get("modalities") or ())


def _asked(record: Record) -> dict[str, Any]:
    # Not by orjson: a request may hold longer integers than that reads, where nobody looks at them.
    return json.loads(record.request) if record.request else {}


def _choice(choice: dict[str, Any]) -> CompletedChoice:
    message, logprobs = choice["message"], choice["logprobs"]
    calls = [
        CompletedCall(CallHead(call["id"], call["type"], call[call["type"]]["name"]), _said(call))
        for call in message.get("tool_calls", ())
    ]
    if legacy := message.get("function_call"):
        calls.append(CompletedCall(CallHead("", "function", legacy["name"]), legacy["arguments"]))
    audio = message["audio"]
    return CompletedChoice(
        text=(audio["transcript"] if audio else message["content"]) or "",
        logprobs=tuple(map(_logprob, logprobs["content"])) if logprobs else (),
        reason=choice["finish_reason"],
        reasoning=message.get("reasoning_content", ""),
        calls=tuple(calls),
        speech=base64.b64decode(audio["data"]) if audio else None,
    )


def _said(call: dict[str, Any]) -> str:
    said: str = call["function"]["arguments"] if call["type"] == "function" else call["custom"]["input"]
    return said


def _logprob(entry: dict[str, Any]) -> TokenLogprob:
    top = tuple(map(_logprob, entry.get("top_logprobs", ())))
    return TokenLogprob(entry["token"], bytes(entry["bytes"]), entry["logprob"], top)
