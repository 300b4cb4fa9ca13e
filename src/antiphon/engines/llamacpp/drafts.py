"""Guesses at what comes next, for the model to confirm several at once.

A guess is taken from the client's prediction: the place where it goes on like the answer does. A confirmed token is one
the model drew by itself, so guesses change how fast an answer comes and never what it is.
"""

from bisect import bisect_left
from collections.abc import Sequence

MOST = 24
"""Tokens guessed in one batch, by all lines together. Below 64 in a batch llama.cpp computes each token's logits to the
bit as it does alone."""
_FIRST = 8
_GRAM = 3
"""How many tokens must agree before a lost place in the prediction is believed to be found again."""
_PAUSE = 64
"""The longest pause, in tokens, after guesses that were all wrong."""


class Predicted:
    """A prediction's tokens and where they can be entered: made once, for all choices."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = list(tokens)
        self.places: dict[tuple[int, ...], list[int]] = {}
        """After which tokens it goes on where."""
        for end in range(_GRAM, len(self.tokens)):
            self.places.setdefault(tuple(self.tokens[end - _GRAM : end]), []).append(end)


class Drafter:
    """Follows one choice through its prediction."""

    def __init__(self, predicted: Predicted) -> None:
        self._predicted, self._places = predicted.tokens, predicted.places
        self._at: int | None = 0
        """Where the answer is in the prediction: the index of the token expected next; None when that is lost."""
        self._length = _FIRST
        self._misses = self._pause = 0
        self._last: list[int] = []

    def follow(self, token: int) -> None:
        """Take the next token of the answer."""
        self._last = [*self._last[1 - _GRAM :], token]
        self._pause = max(0, self._pause - 1)
        if self._at is not None and self._at < len(self._predicted) and self._predicted[self._at] == token:
            self._at += 1
        else:
            before, self._at = self._at or 0, None
            found = self._places.get(tuple(self._last), ())
            if found:  # the nearest one ahead, else the last one behind
                self._at = found[min(bisect_left(found, before), len(found) - 1)]

    def guess(self, most: int) -> list[int]:
        """Give at most `most` tokens that may come next."""
        if self._at is None or self._pause:
            return []
        return self._predicted[self._at : self._at + min(most, self._length)]

    def learn(self, guessed: int, accepted: int) -> None:
        """Take how a guess fared: guess more after success, less after failure, for a while not at all after many."""
        if accepted == guessed:
            self._length, self._misses = min(MOST, 2 * self._length), 0
        elif accepted:
            self._length, self._misses = max(4, accepted + accepted // 2), 0
        else:
            self._misses += 1
            self._length = max(2, self._length // 4)
            self._pause = min(_PAUSE, 4**self._misses) if self._misses > 1 else 0
