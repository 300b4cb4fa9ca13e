"""Events to the chunks of a stream.

Source: the OpenAI API's specification 2.3.0 (2026-08-21), and what six versions of its SDKs do with each chunk: a role
comes once a choice (it is concatenated), and so does the id of its speech; choices first appear in order; usage stands
on the last chunk.
"""

import base64
import secrets
from typing import Any

import orjson

from antiphon.domain.events import (
    Accepted,
    Batch,
    CallDelta,
    ChoiceFinished,
    Event,
    Finished,
    SpeechDelta,
    TextDelta,
    Usage,
)
from antiphon.domain.tools import ToolKind
from antiphon.wire import sse
from antiphon.wire.openai import Form, ReplyHead, call_json, logprobs_json, usage_json


class ChunkWriter:
    """Events to the frames of one stream."""

    def __init__(self, head: ReplyHead, form: Form, choices: int) -> None:
        self._head, self._form, self._choices = head, form, choices
        has_content = not (form.must_call or form.is_spoken)
        self._begin = {"role": "assistant", "content": "" if has_content else None, "refusal": None}
        self._kinds: dict[tuple[int, int], ToolKind] = {}
        """What each call of each choice is."""
        self._speaking: set[int] = set()
        """The choices whose speech has its id."""
        before = {"id": head.id, "object": "chat.completion.chunk", "created": head.created, "model": head.model}
        after = {"service_tier": head.service_tier, "system_fingerprint": head.fingerprint}
        # Every chunk of an answer begins and ends alike: written once, so that a token costs its own bytes only.
        self._before = b"data: " + orjson.dumps(before)[:-1] + b',"choices":'
        self._after = b"," + orjson.dumps(after)[1:-1]
        self._around = None if form.logprobs or form.is_spoken or form.include_obfuscation else self._around_texts()
        """What stands before and behind the text of each choice, where nothing else in its chunks changes."""

    def events(self, batch: Batch) -> bytes:
        """Give the frames that events make."""
        around = self._around
        if around is None:
            return b"".join(map(self._general, batch))
        frames: list[bytes] = []
        for event in batch:
            if isinstance(event, TextDelta) and not event.is_reasoning:
                before, behind = around[event.choice]
                frames += before, orjson.dumps(event.text), behind
            else:
                frames.append(self._general(event))
        return b"".join(frames)

    def event(self, event: Event) -> bytes:
        """Give the frames an event makes; none for the end."""
        return self.events((event,))

    def _general(self, event: Event) -> bytes:
        match event:
            case TextDelta() | SpeechDelta() | CallDelta():
                return self._chunk(event.choice, self._said(event), logprobs=self._logprobs(event))
            case Accepted():
                return b"".join(self._chunk(choice, self._begin) for choice in range(self._choices))
            case ChoiceFinished():
                expiry = self._expiry(event.choice)
                before = self._chunk(event.choice, expiry) if expiry else b""
                return before + self._chunk(event.choice, {}, reason=event.reason)
            case Finished():
                return b""

    def _around_texts(self) -> list[tuple[bytes, bytes]]:
        frames = (self._chunk(choice, {"content": ""}) for choice in range(self._choices))
        cut = [frame.partition(b'"content":""') for frame in frames]
        return [(before + b'"content":', behind) for before, _, behind in cut]

    def opening(self) -> bytes:
        """Give the frames of `Accepted` as one, for streams that can be cut between any two and taken up again."""
        return self._frame([_delta(choice, self._begin) for choice in range(self._choices)], b"")

    def closing(self, event: ChoiceFinished) -> bytes:
        """Give the frames of a choice's end as one, likewise."""
        return self._chunk(event.choice, self._expiry(event.choice), reason=event.reason)

    def begun(self, choice: int, index: int, kind: ToolKind) -> None:
        """Note a call whose first piece was sent by another writer."""
        self._kinds[choice, index] = kind

    def spoke(self, choice: int) -> None:
        """Note a choice of which something was said by another writer."""
        if self._form.is_spoken:
            self._speaking.add(choice)

    def done(self, usage: Usage) -> bytes:
        """Give the end of the stream: usage, if it was asked for, and [DONE]."""
        if not self._form.include_usage:
            return sse.DONE
        return self._frame([], b',"usage":' + orjson.dumps(usage_json(usage))) + sse.DONE

    def _said(self, event: TextDelta | SpeechDelta | CallDelta) -> dict[str, Any]:
        match event:
            case TextDelta(is_reasoning=True):
                return {"reasoning_content": event.text}
            case TextDelta():
                return self._text(event) if self._form.is_spoken else {"content": event.text}
            case SpeechDelta():
                return {"audio": {"data": base64.b64encode(event.data).decode()}}
            case CallDelta():
                return self._call(event)

    def _text(self, event: TextDelta) -> dict[str, Any]:
        """What is spoken is written as its transcript; the first piece has its id, once: readers join what comes."""
        named = {} if event.choice in self._speaking else {"id": self._head.speech_id(event.choice)}
        self._speaking.add(event.choice)
        return {"audio": {**named, "transcript": event.text}}

    def _call(self, event: CallDelta) -> dict[str, Any]:
        """A call's first piece names it; what follows has its index and more text, and no other key."""
        if event.begins:
            self._kinds[event.choice, event.index] = event.begins.kind
            call = call_json(event.begins, event.text)
        else:
            kind = self._kinds[event.choice, event.index]
            call = {kind: {"arguments" if kind == "function" else "input": event.text}}
        if self._form.is_legacy:
            return {"function_call": call["function"]}
        return {"tool_calls": [{"index": event.index, **call}]}

    def _logprobs(self, event: TextDelta | SpeechDelta | CallDelta) -> dict[str, Any] | None:
        if not self._form.logprobs or not isinstance(event, TextDelta) or event.is_reasoning:
            return None
        return logprobs_json(event.logprobs)

    def _expiry(self, choice: int) -> dict[str, Any]:
        """Until when a choice's speech can be named, once: readers add it up."""
        return {"audio": {"expires_at": self._head.speech_expires_at}} if choice in self._speaking else {}

    def _chunk(
        self, choice: int, delta: dict[str, Any], *, logprobs: dict[str, Any] | None = None, reason: str | None = None
    ) -> bytes:
        choices = [_delta(choice, delta, logprobs, reason)]
        return self._frame(choices, b',"usage":null' if self._form.include_usage else b"")

    def _frame(self, choices: list[dict[str, Any]], usage: bytes) -> bytes:
        # Padding of random length, so that the size of a packet does not tell the length of a token.
        padding = b""
        if self._form.include_obfuscation:
            padding = b',"obfuscation":"%s"' % secrets.token_urlsafe(secrets.randbelow(12)).encode()
        return b"".join((self._before, orjson.dumps(choices), self._after, usage, padding, b"}\n\n"))


def _delta(
    choice: int, delta: dict[str, Any], logprobs: dict[str, Any] | None = None, reason: str | None = None
) -> dict[str, Any]:
    return {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
