"""Events to a completion: the one place that adds an answer up, whole or partial."""

from dataclasses import dataclass, field

from antiphon.domain.errors import EngineFailed
from antiphon.domain.events import (
    Accepted,
    ChoiceFinished,
    CompletedChoice,
    Completion,
    Event,
    Finished,
    FinishReason,
    TextDelta,
    TokenLogprob,
    Usage,
)


@dataclass(slots=True)
class Choice:
    """One choice so far."""

    texts: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    tokens: int = 0
    reason: FinishReason | None = None

    @property
    def completed(self) -> CompletedChoice:
        """The choice as a value."""
        return CompletedChoice("".join(self.texts), tuple(self.logprobs), self.reason)


class Fold:
    """Takes an answer's events in order; may be read at any point, so a cancelled answer has its partial text."""

    def __init__(self, choices: int) -> None:
        self.choices = [Choice() for _ in range(choices)]
        self.accepted: Accepted | None = None
        self.is_finished = False

    def add(self, event: Event) -> None:
        """Take the next event.

        Raises:
            EngineFailed: when the event breaks the grammar `Accepted (TextDelta | ChoiceFinished)* Finished`.
        """
        if self.is_finished or (self.accepted is None) != isinstance(event, Accepted):
            raise EngineFailed("The engine answered out of order.")
        match event:
            case Accepted():
                self.accepted = event
            case TextDelta():
                choice = self._open(event.choice)
                choice.texts.append(event.text)
                choice.logprobs.extend(event.logprobs)
                choice.tokens += event.tokens
            case ChoiceFinished():
                choice = self._open(event.choice)
                choice.reason = event.reason
                choice.tokens = event.completion_tokens
            case Finished():
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
        if self.accepted is None:
            return Usage()
        return Usage(
            prompt_tokens=self.accepted.prompt_tokens,
            cached_tokens=self.accepted.cached_tokens,
            completion_tokens=sum(choice.tokens for choice in self.choices),
        )

    @property
    def completion(self) -> Completion:
        """The answer so far; whole once `is_finished`."""
        return Completion(tuple(choice.completed for choice in self.choices), self.usage)
