"""What a rule of reading is: a pattern, and how one says what it finds.

Every pattern must be linear in a text's length: what may repeat is bounded or possessive, and cannot begin anywhere.
"""

import re
from collections.abc import Callable, Iterable

Say = Callable[[re.Match[str]], str]
Rule = tuple[re.Pattern[str], Say | str]

NUMBER = r"(?:\d{1,3}(?:,\d{3})++(?!\d)|\d++)(?:\.\d++)?"
"""A number as it is written, without a sign."""


def rule(pattern: str, say: Say | str, flags: int = 0) -> Rule:
    """Make one; a `say` that is a string may name groups as `re.sub` has it."""
    return re.compile(pattern, flags), say


def apply(rules: Iterable[Rule], text: str) -> str:
    """Apply rules one after another: each takes what the ones before it left."""
    for pattern, say in rules:
        text = pattern.sub(say, text)
    return text


def is_end(match: re.Match[str]) -> bool:
    """Whether nothing but blanks and closing marks follows: a full stop there ends a sentence too."""
    return not match.string[match.end() : match.end() + 8].strip(" \t\r\n\"')")


def any_word(words: str) -> str:
    """Make a pattern for one of the words of a row with blanks between them."""
    return any_of(words.split())


def any_of(words: Iterable[str]) -> str:
    """Make a pattern for the longest of some texts."""
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))
