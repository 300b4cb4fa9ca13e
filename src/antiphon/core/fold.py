"""Events to a completion: the one place that adds an answer up, whole or partial."""

from dataclasses import dataclass, field, replace

from antiphon.domain.errors import EngineFailed
from antiphon.domain.events import (
    NO_DRAFTS,
    Accepted,
    CallDelta,
    CallHead,
    ChoiceFinished,
    CompletedCall,
    CompletedChoice,
    Completion,
    Drafts,
    Event,
    Finished,
    FinishReason,
    SpeechDelta,
    TextDelta,
    TokenLogprob,
    Usage,
)

LOGPROB_BYTES = 80
"""About what one log probability takes as JSON."""


@dataclass(slots=True)
class Call:
    """One tool call so far."""

    head: CallHead
    texts: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Choice:
    """One choice so far."""

    texts: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    tokens: int = 0
    reasoning_tokens: int = 0
    speech: list[bytes] = field(default_factory=list)
    audio_tokens: int = 0
    drafts: Drafts = NO_DRAFTS
    reason: FinishReason | None = None

    def say(self, event: TextDelta) -> None:
        """Take more text."""
        (self.reasoning if event.is_reasoning else self.texts).append(event.text)
        self.tokens += event.tokens
        if event.logprobs:
            self.logprobs.extend(event.logprobs)
        if event.is_reasoning:
            self.reasoning_tokens += event.tokens
        if event.drafts is not NO_DRAFTS:
            self.drafts += event.drafts

    def call(self, event: CallDelta) -> None:
        """Take a piece of a call.

        Raises:
            EngineFailed: the call was never begun, or is begun twice.
        """
        if event.begins:
            self.calls.append(Call(event.begins))
        if event.index != len(self.calls) - 1:
            raise EngineFailed("The engine mixed its calls up.")
        self.calls[-1].texts.append(event.text)
        self.tokens += event.tokens
        self.drafts += event.drafts

    def speak(self, event: SpeechDelta) -> None:
        """Take more speech."""
        self.speech.append(event.data)
        self.audio_tokens += event.tokens

    def finish(self, event: ChoiceFinished) -> None:
        """Take the end."""
        self.reason = event.reason
        self.tokens = event.completion_tokens
        self.drafts = event.drafts or self.drafts

    @property
    def size_bytes(self) -> int:
        """About how many bytes of JSON it is."""
        said = sum(map(len, self.texts)) + sum(map(len, self.reasoning)) + sum(map(len, self.speech))
        said += sum(len(text) for call in self.calls for text in call.texts)
        return said + LOGPROB_BYTES * sum(1 + len(one.top) for one in self.logprobs)

    @property
    def completed(self) -> CompletedChoice:
        """The choice as a value."""
        calls = tuple(CompletedCall(call.head, "".join(call.texts)) for call in self.calls)
        text, reasoning = "".join(self.texts), "".join(self.reasoning)
        speech = b"".join(self.speech) if self.speech else None
        return CompletedChoice(text, tuple(self.logprobs), self.reason, reasoning, calls, speech)


class Fold:
    """Takes an answer's events in order; may be read at any point, so a cancelled answer has its partial text."""

    def __init__(self, choices: int) -> None:
        self.choices = [Choice() for _ in range(choices)]
        self.accepted: Accepted | None = None
        self.is_finished = False
        self.counted: Usage | None = None
        """What the engine counted in the end, where it does."""
        self._usage: Usage | None = None
        """What it cost, once it has finished."""

    @property
    def size_bytes(self) -> int:
        """About how many bytes of JSON the answer is so far."""
        return sum(choice.size_bytes for choice in self.choices)

    @classmethod
    def of(cls, completion: Completion) -> "Fold":
        """Give the fold of an answer that was kept: it reads as if its events had just been added."""
        fold = cls(len(completion.choices))
        fold.accepted = Accepted(completion.usage.prompt_tokens, completion.usage.cached_tokens)
        for choice, kept in zip(fold.choices, completion.choices, strict=True):
            choice.texts, choice.reasoning, choice.logprobs = [kept.text], [kept.reasoning], list(kept.logprobs)
            choice.calls = [Call(call.head, [call.text]) for call in kept.calls]
            choice.speech = [] if kept.speech is None else [kept.speech]
            choice.reason = kept.reason
        fold.is_finished = all(choice.reason for choice in fold.choices)
        return fold

    def add(self, event: Event) -> None:
        """Take the next event.

        Raises:
            EngineFailed: when the event breaks the grammar of domain.events.
        """
        if self.is_finished or (self.accepted is None) != isinstance(event, Accepted):
            raise EngineFailed("The engine answered out of order.")
        match event:
            case TextDelta():
                self._open(event.choice).say(event)
            case Accepted():
                self.accepted = event
            case CallDelta():
                self._open(event.choice).call(event)
            case SpeechDelta():
                self._open(event.choice).speak(event)
            case ChoiceFinished():
                self._open(event.choice).finish(event)
            case Finished():
                self._finish()
                self.counted = event.usage

    def _finish(self) -> None:
        if any(choice.reason is None for choice in self.choices):
            raise EngineFailed("The engine ended before every choice had finished.")
        self.is_finished = True

    def _open(self, index: int) -> Choice:
        if not 0 <= index < len(self.choices) or self.choices[index].reason is not None:
            raise EngineFailed("The engine answered for a choice that is not open.")
        return self.choices[index]

    @property
    def usage(self) -> Usage:
        """What the answer cost so far."""
        if self._usage is None:
            usage = self._added_up()
            if not self.is_finished:
                return usage
            self._usage = usage
        return self._usage

    def _added_up(self) -> Usage:
        if self.accepted is None:
            return Usage()
        audio_tokens = sum(choice.audio_tokens for choice in self.choices)
        if self.counted:
            return self._completed(self.counted, audio_tokens)
        drafts = sum((choice.drafts for choice in self.choices), NO_DRAFTS)
        return Usage(
            prompt_tokens=self.accepted.prompt_tokens,
            cached_tokens=self.accepted.cached_tokens,
            # OpenAI counts rejected predictions among the completion's tokens.
            completion_tokens=sum(choice.tokens for choice in self.choices) + audio_tokens + drafts.rejected,
            prompt_audio_tokens=self.accepted.audio_tokens,
            reasoning_tokens=sum(choice.reasoning_tokens for choice in self.choices),
            audio_tokens=audio_tokens,
            accepted_prediction_tokens=drafts.accepted,
            rejected_prediction_tokens=drafts.rejected,
        )

    def _completed(self, counted: Usage, audio_tokens: int) -> Usage:
        """What the engine counted, with what only we know: the speech that was added, and thinking we told apart."""
        if not audio_tokens and all(choice.reasoning_tokens == 0 for choice in self.choices):
            return counted
        others = counted.audio_tokens + counted.accepted_prediction_tokens + counted.rejected_prediction_tokens
        seen = sum(choice.reasoning_tokens for choice in self.choices)
        return replace(
            counted,
            completion_tokens=counted.completion_tokens + audio_tokens,
            audio_tokens=counted.audio_tokens + audio_tokens,
            reasoning_tokens=counted.reasoning_tokens or min(seen, counted.completion_tokens - others),
        )

    @property
    def completion(self) -> Completion:
        """The answer so far; whole once `is_finished`."""
        return Completion(tuple(choice.completed for choice in self.choices), self.usage)
