"""A prediction to a row, and a row to a record."""

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from uuid import UUID

import orjson

from antiphon.core.running import Running
from antiphon.domain.events import Completion, Usage
from antiphon.domain.prediction import CancelReason, Prediction, Status
from antiphon.domain.record import Failure, Record, Timings, Webhook
from antiphon.wire.openai import Form, ReplyHead, completion_body

PLAIN_BYTES = 4_096
"""A longer body is compressed; JSON of chats becomes a third to a fifth of its size."""
_BLANK = b" \t\r\n"
LARGE_BYTES = 65_536
"""A longer one is not packed on the event loop: it takes a millisecond and more."""
FAST = 1
"""The zlib level: above it, much more time for little less space."""


Pack = Callable[[bytes], bytes | None]
"""Gives a JSON body as it is kept; None when it is not."""


def whole_row(running: Running, state: Prediction, instance: str, pack: Pack) -> dict[str, Any]:
    """Give every column of a prediction that stands in `state`.

    Args:
        running: the prediction.
        state: how it stands; `running` may be further already.
        instance: the process that runs it.
        pack: for the request and the answer.
    """
    call, hook = running.call, running.call.webhook
    request = call.work.request
    return {
        "id": state.id.hex,
        "account": state.account,
        "created_us": state.created_us,
        "model": state.model,
        "version": state.version,
        "engine": call.resolved.version.engine,
        "instance": instance,
        "cancel_us": None,
        "receipt": ", ".join(state.receipt) or None,
        "is_streamed": call.is_streamed,
        "metadata": orjson.dumps(dict(request.metadata)).decode() if request.metadata else None,
        "webhook_url": hook and hook.url,
        "webhook_secret": hook and hook.secret,
        "request": pack(call.body),
        **moved_row(running, state, pack),
    }


def moved_row(running: Running, state: Prediction, pack: Pack) -> dict[str, Any]:
    """Give the columns that a move changes."""
    is_over, timings = state.status.is_terminal, running.timings(state.status)
    failure = running.error if is_over else None
    answer = running.fold.completion if is_over else None
    has_answer = is_over and (state.status is Status.SUCCEEDED or any(c.tokens for c in running.fold.choices))
    return {
        "status": state.status.value,
        "updated_us": state.created_us + int(1e6 * (running.begun[state.status] - running.begun[Status.PENDING])),
        "reason": state.reason and state.reason.value,
        "queue_us": _us(timings.queue_s),
        "setup_us": _us(timings.setup_s),
        "execution_us": _us(timings.execution_s),
        "failure_code": failure and failure.said_code,
        "failure_message": failure and failure.message.replace("\0", "\ufffd"),
        "usage": orjson.dumps(answer.usage).decode() if answer else None,
        "is_stored": running.call.work.request.store and state.status is Status.SUCCEEDED,
        "output": _kept(running, answer, pack) if answer and has_answer else None,
    }


def large_bodies(running: Running, state: Prediction, *, is_new: bool) -> Iterator[Callable[[], bytes]]:
    """Give what gives each body of a row that takes long to be packed, or even to be rendered."""
    if is_new and len(running.call.body) > LARGE_BYTES:
        yield lambda: running.call.body
    if state.status.is_terminal and running.fold.size_bytes > LARGE_BYTES:
        yield lambda: _answer(running, running.fold.completion)


def _kept(running: Running, answer: Completion, pack: Pack) -> bytes | None:
    """An answer as it is kept; where its speech is too much, its words are still."""
    kept = pack(_answer(running, answer))
    if kept is None and any(choice.speech for choice in answer.choices):
        mute = tuple(replace(choice, speech=choice.speech and b"") for choice in answer.choices)
        kept = pack(_rendered(running, replace(answer, choices=mute)))
    return kept


def _answer(running: Running, answer: Completion) -> bytes:
    if running.answer is None:
        running.answer = _rendered(running, answer)
    return running.answer


def _rendered(running: Running, answer: Completion) -> bytes:
    request, resolved = running.call.work.request, running.call.resolved
    head = ReplyHead(running.completion_id, running.created, request.model_text, resolved.fingerprint)
    return completion_body(head, answer, Form.of(request))


def _us(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1e6)


def packed(body: bytes, most_bytes: int) -> bytes | None:
    """Give a JSON body as it is kept: as it is, compressed when it is long, and not at all when it is too long."""
    kept = plain(body)
    if len(kept) > PLAIN_BYTES:
        kept = zlib.compress(kept, FAST)
    return kept if len(kept) <= most_bytes else None


def plain(body: bytes) -> bytes:
    """Give a JSON body that begins with a brace: what clients send may begin with blanks."""
    return body.lstrip(_BLANK)


def unpacked(kept: bytes | None) -> bytes | None:
    """Give a kept body as it was: JSON of an object begins with a brace, what zlib writes does not."""
    return kept if kept is None or kept.startswith(b"{") else zlib.decompress(kept)


def record_of(row: Mapping[Any, Any]) -> Record:
    """Read a row; one without `request` and `output` gives a record without them."""
    return Record(
        id=UUID(row["id"]),
        account=row["account"],
        model=row["model"],
        version=row["version"],
        engine=row["engine"],
        status=Status(row["status"]),
        created_us=row["created_us"],
        updated_us=row["updated_us"],
        reason=CancelReason(row["reason"]) if row["reason"] else None,
        request=unpacked(row.get("request")),
        output=unpacked(row.get("output")),
        usage=Usage(**orjson.loads(row["usage"])) if row["usage"] else Usage(),
        failure=Failure(row["failure_code"], row["failure_message"]) if row["failure_code"] else None,
        timings=Timings(
            *(None if row[name] is None else row[name] / 1e6 for name in ("queue_us", "setup_us", "execution_us"))
        ),
        receipt=tuple(row["receipt"].split(", ")) if row["receipt"] else (),
        is_streamed=row["is_streamed"],
        is_stored=row["is_stored"],
        metadata=MappingProxyType(orjson.loads(row["metadata"]) if row["metadata"] else {}),
        webhook=Webhook(row["webhook_url"], row["webhook_secret"]) if row["webhook_url"] else None,
    )
