"""What an engine says while it answers: one stream that the reply, the record and the log all read.

The grammar is `Accepted (TextDelta | CallDelta | SpeechDelta | ChoiceFinished)* Finished`. `Accepted` is the commit
point: before it a refusal still gets its true status. Every choice finishes exactly once, and says nothing afterwards.
"""

from collections.abc import Sequence
from typing import Literal

from antiphon.domain.tools import ToolKind
from antiphon.domain.values import value

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


@value
class TokenLogprob:
    """A token and how likely the model found it."""

    token: str
    """The token as text; bytes that are no text by themselves show as U+FFFD."""
    bytes: bytes
    logprob: float
    """In nats, under the model's own distribution: before temperature, truncation, bias and penalties."""
    top: tuple["TokenLogprob", ...] = ()
    """The likeliest tokens at this place, likeliest first; their own `top` is empty."""


@value
class Accepted:
    """The engine has taken the request: it fits, and is being read."""

    prompt_tokens: int
    cached_tokens: int
    """How many of the prompt's tokens did not have to be read again."""
    is_thinking: bool = False
    """Whether the prompt itself has opened the model's thinking, so that the text begins inside it."""
    audio_tokens: int = 0
    """How many of the prompt's tokens are sound."""


@value
class CallHead:
    """What names one tool call."""

    id: str
    kind: ToolKind
    name: str


@value
class Drafts:
    """Tokens taken from the client's prediction and put to the model."""

    accepted: int = 0
    """Those it would have said itself."""
    rejected: int = 0
    """Those it would not: they cost time, and are counted, and are no part of the answer."""

    def __add__(self, other: "Drafts") -> "Drafts":
        """Give both together."""
        return Drafts(self.accepted + other.accepted, self.rejected + other.rejected)


NO_DRAFTS = Drafts()


@value
class TextDelta:
    """More text of one choice: whole characters, never any part of a stop string."""

    choice: int
    text: str
    tokens: int
    """How many tokens were generated for the choice since its last event."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """One entry for each token that ends in this text, when log-probabilities were asked for."""
    is_reasoning: bool = False
    """Whether this is thinking, and no part of the answer."""
    drafts: Drafts = NO_DRAFTS
    """What became of the prediction since the last event."""


@value
class CallDelta:
    """A tool call begins, or its arguments go on."""

    choice: int
    index: int
    """Which of the choice's calls, from 0, in order."""
    text: str
    """More of its arguments, which are JSON, or of a custom tool's input."""
    tokens: int
    begins: CallHead | None = None
    """On the call's first piece only."""
    drafts: Drafts = NO_DRAFTS


@value
class SpeechDelta:
    """More of a choice's text, spoken."""

    choice: int
    data: bytes
    """In the format that was asked for. Joined, a choice's pieces are one file; each but the last has a length that
    three divides, so that their base64 can be joined as well."""
    tokens: int
    """How many tokens it counts as."""


@value
class ChoiceFinished:
    """A choice has all its text and calls."""

    choice: int
    reason: FinishReason
    completion_tokens: int
    """How many tokens were generated for it, its end-of-turn token included; rejected drafts are not among them."""
    drafts: Drafts | None = None
    """Everything that became of the prediction, where the engine drafts."""


@value
class Usage:
    """What a call cost. Every counter is a whole number of tokens; the details are parts of the totals."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    prompt_audio_tokens: int = 0
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together; the prompt counts once however many choices share it."""
        return self.prompt_tokens + self.completion_tokens


@value
class Finished:
    """Every choice has finished."""

    usage: Usage | None = None
    """What the answer cost, from an engine that knows it only now; it stands instead of all that was counted before."""


Event = Accepted | TextDelta | CallDelta | SpeechDelta | ChoiceFinished | Finished

Batch = Sequence[Event]
"""Events that came together, in their order: they are passed on together, and at once. May be empty."""


@value
class CompletedCall:
    """One tool call, whole or as far as it came."""

    head: CallHead
    text: str
    """Its arguments, or its input."""


@value
class CompletedChoice:
    """One choice, whole or as far as it came."""

    text: str
    logprobs: tuple[TokenLogprob, ...]
    reason: FinishReason | None
    """None while it is unfinished."""
    reasoning: str = ""
    calls: tuple[CompletedCall, ...] = ()
    speech: bytes | None = None
    """The text, spoken; None where it is not."""


@value
class Completion:
    """An answer, whole or as far as it came."""

    choices: tuple[CompletedChoice, ...]
    usage: Usage
