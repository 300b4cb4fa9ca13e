"""How one token is drawn from logits, with the meaning OpenAI gives each parameter.

In order: penalties and bias are added to the logits; temperature divides them; top_p keeps the smallest set of
likeliest tokens whose probability reaches it; one token is drawn from that set in proportion. Log-probabilities are
those of the model itself: of the logits as they came.
"""

import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from antiphon.engines.llamacpp.constrain import Mask
from antiphon.engines.llamacpp.layout import Floats
from antiphon.engines.llamacpp.protocol import Start

_TAIL_NATS = 12.0
"""Tokens this much less likely than the likeliest are left out of the first look for a nucleus."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A token and its log-probability in nats, with the likeliest ones at its place."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


class Sampler:
    """Draws the tokens of one choice."""

    def __init__(self, start: Start, choice: int) -> None:
        self._temperature, self._top_p = start.temperature, start.top_p
        self._frequency, self._presence = start.frequency_penalty, start.presence_penalty
        self._counts: dict[int, int] = {}
        self._bias_ids = np.fromiter(start.logit_bias, np.int64, len(start.logit_bias))
        self._bias = np.fromiter(start.logit_bias.values(), np.float32, len(start.logit_bias))
        self._alternatives = start.logprobs
        # A choice's own stream of random numbers: the same for the same seed and index, whatever runs beside it.
        seed = secrets.randbits(64) if start.seed is None else start.seed % 2**64
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, choice])))

    def draw(self, logits: Floats, mask: Mask | None = None) -> tuple[int, Scored | None]:
        """Draw the next token; give it, with its score when log-probabilities are wanted.

        Args:
            logits: shape (vocabulary,), float32; not changed.
            mask: shape (vocabulary,): which tokens may be drawn; None for all.
        """
        adjusted = self._adjusted(logits)
        if mask is not None:
            adjusted = np.where(mask, adjusted, np.float32(-np.inf))
        return self.take(self._choose(adjusted), logits)

    def take(self, token: int, logits: Floats) -> tuple[int, Scored | None]:
        """Take a token that was chosen elsewhere; give it with its score."""
        self._counts[token] = self._counts.get(token, 0) + 1
        return token, (score(logits, token, self._alternatives) if self._alternatives >= 0 else None)

    def _adjusted(self, logits: Floats) -> Floats:
        penalised = bool(self._counts) and (self._frequency != 0 or self._presence != 0)
        if not penalised and not self._bias_ids.size:
            return logits
        adjusted = logits.copy()
        adjusted[self._bias_ids] += self._bias
        if penalised:
            seen = np.fromiter(self._counts, np.int64, len(self._counts))
            times = np.fromiter(self._counts.values(), np.float32, len(self._counts))
            adjusted[seen] -= np.float32(self._frequency) * times + np.float32(self._presence)
        return adjusted

    def _choose(self, logits: Floats) -> int:
        if self._temperature == 0 or self._top_p == 0:
            return int(logits.argmax())
        # In float64 from here on, so that a tiny temperature cannot overflow and a long sum keeps its tail.
        scaled = (logits - logits.max()).astype(np.float64) / self._temperature
        weights = np.exp(scaled)
        if self._top_p >= 1:
            return self._pick(None, weights)
        return self._pick(*_nucleus(scaled, weights, self._top_p))

    def _pick(self, ids: NDArray[np.int64] | None, weights: NDArray[np.float64]) -> int:
        """Draw in proportion to the weights; from all tokens when `ids` is None."""
        sums = weights.cumsum()
        place = int(sums.searchsorted(self._random.random() * sums[-1], side="right"))
        place = min(place, len(sums) - 1)
        return place if ids is None else int(ids[place])


def _nucleus(
    scaled: NDArray[np.float64], weights: NDArray[np.float64], top_p: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Give the smallest set of likeliest tokens whose probability reaches `top_p`: ids and weights, likeliest first."""
    wanted = top_p * weights.sum()
    ids = np.flatnonzero(scaled > -_TAIL_NATS)
    if weights[ids].sum() < wanted:
        ids = np.arange(len(weights))
    ids = ids[np.argsort(-weights[ids], kind="stable")]
    sums = weights[ids].cumsum()
    count = int(sums.searchsorted(wanted, side="left")) + 1
    return ids[:count], weights[ids[:count]]


def score(logits: Floats, token: int, alternatives: int) -> Scored:
    """Give a token's log-probability under softmax(logits), in nats, and the `alternatives` likeliest tokens."""
    most = logits.max()
    norm = most + np.log(np.exp((logits - most).astype(np.float64)).sum())
    top: tuple[tuple[int, float], ...] = ()
    if alternatives > 0:
        ids = np.argpartition(-logits, alternatives - 1)[:alternatives]
        ids = ids[np.argsort(-logits[ids], kind="stable")]
        top = tuple((int(i), float(logits[i] - norm)) for i in ids)
    return Scored(token, float(logits[token] - norm), top)
