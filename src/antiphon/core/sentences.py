"""A text that is still being written, cut into sentences that can be said."""

import re

_END = re.compile(r"[.!?…]+[\"')\]]*\s+|\n+")


class Sentences:
    """Takes a text piece by piece; what it gives, joined, is that text."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> list[str]:
        """Take more text; give the sentences that are whole."""
        self._held += text
        ends = [match.end() for match in _END.finditer(self._held)]
        cut = [self._held[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        self._held = self._held[ends[-1] :] if ends else self._held
        return cut

    def finish(self) -> list[str]:
        """Give what is left."""
        rest, self._held = self._held, ""
        return [rest] if rest.strip() else []
