"""Grammars over one model's vocabulary: which tokens may come next, by llguidance.

A grammar is a client's, so every fault of it is an answer to that client; the library reports faults as states and is
bounded in the work it does for one token. Compiling is not: what is new is tried elsewhere first.
"""

from functools import cached_property

import llguidance
import numpy as np
from numpy.typing import NDArray

from antiphon.engines.llamacpp.model import Vocabulary
from antiphon.engines.llamacpp.protocol import Grammar
from antiphon.engines.llamacpp.trial import Trial

REMEMBERED = 1_000
"""Verdicts on parts that are kept: a client sends the same tools with every request."""

Mask = NDArray[np.bool_]


class GrammarUnfit(Exception):
    """A grammar cannot be enforced; `param` is the field it came by."""

    def __init__(self, param: str) -> None:
        super().__init__(f"'{param}' uses something that this model's engine cannot enforce.")
        self.param = param


class Grammars:
    """Compiles grammars. For one thread; what it gives may go to another."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._fit: dict[str, bool] = {}
        self._trial = Trial()

    def compile(self, grammar: Grammar) -> "Matcher":
        """Compile.

        Raises:
            GrammarUnfit: naming the part that is at fault.
        """
        unknown = [part for _, part in grammar.parts if part not in self._fit]
        if unknown and (unfit := self._trial.first_unfit(unknown)) is not None:
            self._remember(unknown[unfit], is_fit=False)
        for param, part in grammar.parts:
            if not self._is_fit(part):
                raise GrammarUnfit(param)
        whole = llguidance.LLMatcher(self._tokenizer, grammar.text, log_level=0)
        if whole.is_error():
            raise GrammarUnfit(grammar.parts[0][0])
        return Matcher(whole, self._no_end)

    def _is_fit(self, part: str) -> bool:
        """Whether a client's part can be enforced, and allows anything: a schema that is only itself does not."""
        if part not in self._fit:
            matcher = llguidance.LLMatcher(self._tokenizer, part, log_level=0)
            is_fit = not matcher.is_error() and any(matcher.compute_bitmask()) and not matcher.is_error()
            self._remember(part, is_fit=is_fit)
        return self._fit[part]

    def _remember(self, part: str, *, is_fit: bool) -> None:
        if len(self._fit) >= REMEMBERED:
            self._fit.clear()
        self._fit[part] = is_fit

    @cached_property
    def _tokenizer(self) -> llguidance.LLTokenizer:
        """Made when it is first needed: 200 ms that a server without constrained answers never pays."""
        wrapper = llguidance.TokenizerWrapper(_Tokens(self._vocabulary))
        ends = sorted(self._vocabulary.ends)
        return llguidance.LLTokenizer(wrapper, n_vocab=self._vocabulary.size, eos_token=ends)

    @cached_property
    def _no_end(self) -> Mask:
        """Every token but those that end a turn."""
        mask = np.ones(self._vocabulary.size, np.bool_)
        mask[list(self._vocabulary.ends)] = False
        return mask


class Matcher:
    """One choice's place in its grammar."""

    def __init__(self, matcher: llguidance.LLMatcher, no_end: Mask) -> None:
        self._matcher = matcher
        self.no_end = no_end
        """Every token but those that end a turn: shape (vocabulary,)."""

    def copy(self) -> "Matcher":
        """Give another one at the same place."""
        return Matcher(self._matcher.deep_copy(), self.no_end)

    def mask(self) -> Mask:
        """Give which tokens may come next: shape (vocabulary,); none once the grammar has become too complex."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():  # The library would have the answer end here, as if it were whole.
            return np.zeros_like(self.no_end)
        return np.unpackbits(bits, bitorder="little")[: len(self.no_end)].astype(np.bool_)

    def take(self, token: int) -> bool:
        """Go on past a token; False when the grammar cannot go on, being too complex at this place."""
        return bool(self._matcher.consume_token(token))

    def forced(self) -> list[int]:
        """Give the tokens that are bound to come next."""
        return list(self._matcher.compute_ff_tokens())

    @property
    def is_over(self) -> bool:
        """Whether nothing but the end of the turn may follow."""
        return bool(self._matcher.is_stopped())


class _Tokens:
    """A vocabulary as llguidance wants to see it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.eos_token_id = min(vocabulary.ends)
        self.bos_token_id = vocabulary.bos
        controls = sorted(vocabulary.control.values())
        self.special_token_ids = controls
        self.tokens = list(vocabulary.pieces)
        for token in controls:
            self.tokens[token] = vocabulary.text(token).encode()
        self._vocabulary = vocabulary

    def __call__(self, text: str) -> list[int]:
        return self._vocabulary.tokenize(text, control=False)
