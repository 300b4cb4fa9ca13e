"""A model's thinking while it is generated: where it ends, and the end it is given when it has thought enough."""

from collections.abc import Sequence

OPENER, CLOSER = b"<think>", b"</think>"


class Thinking:
    """Follows one choice's thinking, which the prompt has opened or the answer opens."""

    def __init__(self, close: Sequence[int], budget: int | None, *, is_open: bool) -> None:
        """Follow one choice.

        Args:
            close: the tokens that end thinking.
            budget: how many tokens there may be; None for any number.
            is_open: whether the prompt has opened it.
        """
        self._close, self._budget, self.is_open = list(close), budget, is_open
        self._opened_by_prompt = is_open
        self._seen = b""
        self._tokens = 0
        self._due: list[int] = []

    def copy(self) -> "Thinking":
        """Give another one at the beginning."""
        return Thinking(self._close, self._budget, is_open=self._opened_by_prompt)

    def follow(self, piece: bytes) -> None:
        """Take the next token's bytes."""
        self._tokens += 1
        self._seen = (self._seen + piece)[-64:]
        if self.is_open:
            self.is_open = bool(self._due) or CLOSER not in self._seen  # all that closes it belongs to it
        elif self._seen.lstrip() == OPENER:
            self.is_open = True

    def expects(self, mark: bytes) -> bool:
        """Whether a control token of this name would open or close thinking here; anywhere else it means nothing."""
        return mark == CLOSER if self.is_open else mark == OPENER and not self._seen.strip()

    def forced(self) -> int | None:
        """Give the token that must come now, if one must: those that end thinking, once it has had its budget."""
        if self.is_open and not self._due and self._budget is not None and self._tokens >= self._budget:
            self._due = list(self._close)
        return self._due.pop(0) if self._due else None
