"""What an upstream says an answer cost, made to add up; and what is counted where it says nothing."""

from typing import Any

from antiphon.domain.chat import ChatRequest
from antiphon.domain.events import Usage

MOST_TOKENS = 1 << 40
"""More than any answer has: a count beyond it is none."""
BYTES_A_TOKEN = 4
"""What a token of English text is taken for where nobody counts."""
MESSAGE_TOKENS = 4
"""What a message's frame is taken for."""
_PARTS = "accepted_prediction_tokens", "rejected_prediction_tokens", "audio_tokens", "reasoning_tokens"
"""What a completion's tokens are told apart in."""


def read_usage(said: dict[str, Any] | None, reasoning_tokens: int) -> Usage | None:
    """Read an upstream's usage; None when it does not count prompt and completion. No part is more than its whole.

    Args:
        said: the object, as it came.
        reasoning_tokens: how much thinking was seen, for servers that show it and do not count it.
    """
    if said is None:
        return None
    prompt, completion = _count(said, "prompt_tokens"), _count(said, "completion_tokens")
    if not prompt or completion is None:
        return None  # No prompt is empty: what says so has not counted yet.
    read, made = _details(said, "prompt_tokens_details"), _details(said, "completion_tokens_details")
    completion += _apart(said, prompt + completion, _count(made, "reasoning_tokens") or 0)
    left = completion
    parts = {}
    for name in _PARTS if made or reasoning_tokens else ():
        seen = reasoning_tokens if name == "reasoning_tokens" else 0
        parts[name] = min(_count(made, name) or seen, left)
        left -= parts[name]
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=min(_count(read, "cached_tokens") or 0, prompt),
        prompt_audio_tokens=min(_count(read, "audio_tokens") or 0, prompt),
        **parts,
    )


def guessed_prompt_tokens(request: ChatRequest) -> int:
    """Guess how long a prompt is, from the length of its text."""
    text_bytes = sum(len(message.text.encode("utf-8", "replace")) for message in request.messages)
    return -(-text_bytes // BYTES_A_TOKEN) + MESSAGE_TOKENS * len(request.messages)


def _apart(said: dict[str, Any], sum_tokens: int, reasoning_tokens: int) -> int:
    """The thinking that stands beside the completion and not in it, which only the total shows (xAI, Gemini)."""
    total = _count(said, "total_tokens")
    return reasoning_tokens if total == sum_tokens + reasoning_tokens else 0


def _details(said: dict[str, Any], name: str) -> dict[str, Any]:
    details = said.get(name)
    return details if isinstance(details, dict) else {}


def _count(said: dict[str, Any], name: str) -> int | None:
    count = said.get(name)
    return count if type(count) is int and 0 <= count <= MOST_TOKENS else None  # no bool, which is an int too
