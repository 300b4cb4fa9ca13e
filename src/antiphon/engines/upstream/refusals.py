"""What an upstream's refusal means for the client. Nothing of its text is told: it may hold URLs and keys."""

import re
from http import HTTPStatus
from typing import Any

import msgspec

from antiphon.domain.errors import AntiphonError, ContextTooLong, EngineFailed, EngineUnavailable, Unsupported

OVERLOADED = 529
"""What some answer instead of 503."""
AGAIN = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE, OVERLOADED})
"""Nothing was begun: it may be asked again."""
MOST_RETRY_AFTER_S = 3600
_CREDENTIALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.FORBIDDEN})
_INPUT = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY})
_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size|context[ _](?:length|size|window)|maximum (?:input|model) length"
    r"|prompt is too long|too many (?:input )?tokens",
    re.IGNORECASE,
)
"""How servers say that a prompt does not fit: OpenAI's and llama.cpp's codes, and the words of the others."""
_FIELD = re.compile(r"[a-z_]{1,64}(?=[.\[]|$)")
_OURS = frozenset({"messages", "tools", "response_format", "logit_bias", "stop", "top_logprobs", "reasoning_effort"})
"""Fields that are sent as they were asked: an upstream may name them."""
_PARTS = re.compile(
    r"\.(?:arguments|content|data|description|format|function|image_url|input_audio|json_schema|name|parameters|role"
    r"|schema|strict|text|tool_call_id|tool_calls|type|url)(?=[.\[]|$)|\[\d{1,5}\]"
)
"""What they are made of: any other word is theirs."""


def refusal(status: int, body: bytes, retry_after: str | None) -> AntiphonError:
    """Give the error for an answer that is none of 200.

    Args:
        status: of the answer.
        body: as much of it as was read.
        retry_after: the header, if there was one.
    """
    if status in AGAIN:
        return EngineUnavailable("The model's server is busy. Try again later.", retry_after_s=_seconds(retry_after))
    if status in _CREDENTIALS:
        return EngineFailed("The model's server does not accept this server's credentials.")
    if status == HTTPStatus.NOT_FOUND:
        return EngineFailed("The model's server does not know the model.")
    if status in _INPUT:
        return refused_input(body)
    return EngineFailed("The model's server failed.")


def error_in_answer(error: Any) -> AntiphonError:
    """Give the error for an answer of 200, or an event of a stream, that holds one instead."""
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) else HTTPStatus.INTERNAL_SERVER_ERROR
    return refusal(status, msgspec.json.encode({"error": error}), None)


def refused_input(body: bytes) -> AntiphonError:
    """Give the error for a request that an upstream finds fault with: which field, where it names one of ours."""
    if _TOO_LONG.search(body.decode("utf-8", "replace")):
        return ContextTooLong("The prompt does not fit the model's context.", param="messages")
    param = _param(body)
    message = "The model's server refuses this request." + (f" It names '{param}'." if param else "")
    return Unsupported(message, param=param, code="unsupported_value")


def retry_after_s(header: str | None) -> int | None:
    """Read a Retry-After of seconds; None for dates and anything else."""
    return int(header) if header and header.isascii() and header.isdecimal() and len(header) < 6 else None  # noqa: PLR2004


def _seconds(header: str | None) -> int:
    return min(max(1, retry_after_s(header) or 1), MOST_RETRY_AFTER_S)


def _param(body: bytes) -> str | None:
    try:
        error = msgspec.json.decode(body)["error"]
        param = error["param"]
    except (msgspec.MsgspecError, UnicodeDecodeError, LookupError, TypeError, RecursionError):
        return None
    if not isinstance(param, str) or (field := _FIELD.match(param)) is None or field[0] not in _OURS:
        return None
    end = field.end()
    while part := _PARTS.match(param, end):
        end = part.end()
    return param[:end]
