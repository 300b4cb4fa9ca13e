"""What ended sequences leave for later prompts that begin alike: their tokens, and a copy of their cells.

The copies lie outside the context's memory. A cell that is only remembered there costs every token that is decoded,
since attention goes through the whole pool; a copy costs nothing until it is wanted, and then two thousandths of what
reading its tokens again would. Measured: docs/decisions/0004-embedded-engine.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Cells = NDArray[np.uint8]
"""A sequence's cells as the library writes them out."""


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """What one ended sequence had read."""

    account: str
    tokens: Sequence[int]
    cells: Cells


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the beginning two token lists share; by halving, so that the comparing is done in C."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class Prefixes:
    """A bounded number of tokens, kept by account; what was used longest ago goes first."""

    def __init__(self, tokens: int) -> None:
        self._room = tokens
        self._kept: list[Prefix] = []
        """The one used longest ago first."""

    def __len__(self) -> int:
        return len(self._kept)

    def best(self, account: str, tokens: Sequence[int], *, whole: bool) -> tuple[Prefix | None, int]:
        """Find what shares most of a prompt's beginning; give it, and how much, and note that it was used.

        The last token is always left to read, for its logits. With `whole`, only what can be used to its last token
        counts: some kinds of memory cannot be cut back.
        """
        found, length = None, 0
        for prefix in self._kept:
            if prefix.account == account:
                shared = min(common(prefix.tokens, tokens), len(tokens) - 1)
                if shared > length and (shared == len(prefix.tokens) or not whole):
                    found, length = prefix, shared
        if found:
            self._kept.remove(found)
            self._kept.append(found)
        return found, length

    def wants(self, account: str, tokens: Sequence[int]) -> bool:
        """Whether a sequence is worth keeping: it fits, and nothing that is kept already begins with all of it."""
        return 0 < len(tokens) <= self._room and not any(
            common(prefix.tokens, tokens) == len(tokens) for prefix in self._kept if prefix.account == account
        )

    def add(self, new: Prefix) -> None:
        """Keep a prefix, in place of those that it begins with and, where there is no room, of the oldest."""
        self._kept = [
            prefix
            for prefix in self._kept
            if prefix.account != new.account or common(prefix.tokens, new.tokens) < len(prefix.tokens)
        ]
        self._kept.append(new)
        held = sum(len(prefix.tokens) for prefix in self._kept)
        while held > self._room:
            held -= len(self._kept.pop(0).tokens)
