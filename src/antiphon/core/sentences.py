"""A text that is still being written, cut into pieces that can be said: sentences, or parts of very long ones."""

import re

MOST_CHARS = 240
"""A longer piece is cut where it is least heard: at a clause, else between words, else anywhere."""

_END = re.compile(r"[.!?…]+[\"'”’)\]*_]*\s+|\n+\s*")
_CLAUSE = re.compile(r"[,;:—)]\s+(?=\S)")
_SPACE = re.compile(r"\s+(?=\S)")
_NO_END = re.compile(
    # What a full stop often stands behind without ending a sentence: titles and short forms, initials, "e.g.", and the
    # number of a list's item.
    r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof|St|Jr|Sr|vs|etc|approx|No|Fig|Eq|Inc|Ltd|Mt|Gen|Capt|cf|al)|(?:^|[\s(])[A-Za-z](?:\.[A-Za-z])*|"
    r"(?:^|\n)\s*\d{1,3})\.\s+\Z"
)


class Sentences:
    """Takes a text piece by piece. What it gives, joined, is that text, but for blanks at its very end."""

    def __init__(self) -> None:
        self._held = ""
        self._looked = 0
        """Up to where there is no end."""

    def feed(self, text: str) -> list[str]:
        """Take more text; give the sentences that are whole: what is behind a sentence must have begun."""
        self._held += text
        given = []
        while (cut := self._end()) is not None:
            given.append(self._held[:cut])
            self._held, self._looked = self._held[cut:], 0
        return given

    def finish(self) -> list[str]:
        """Give what is left."""
        rest, self._held, self._looked = self._held, "", 0
        return [rest] if rest.strip() else []

    def _end(self) -> int | None:
        """Where the first piece ends; None when that cannot be told yet."""
        for match in _END.finditer(self._held, self._looked):
            end = match.end()
            if end == len(self._held):
                break  # more blanks may come, and belong to it
            if end <= MOST_CHARS and not _NO_END.search(self._held, 0, end) and self._held[:end].strip():
                return end
            if end > MOST_CHARS:
                break
        if len(self._held) <= MOST_CHARS:
            # An end may begin in what is here already.
            self._looked = max(0, len(self._held.rstrip()) - 8)
            return None
        return _last(_CLAUSE, self._held) or _last(_SPACE, self._held) or MOST_CHARS


def _last(pattern: re.Pattern[str], text: str) -> int | None:
    ends = [match.end() for match in pattern.finditer(text, MOST_CHARS // 3, MOST_CHARS)]
    return ends[-1] if ends else None
