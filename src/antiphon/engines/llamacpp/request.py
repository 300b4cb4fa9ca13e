"""A request and its choices, as the loop runs them."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from antiphon.core.writing import ChoiceWriter
from antiphon.engines.llamacpp.constrain import Matcher
from antiphon.engines.llamacpp.drafts import Drafter, Predicted
from antiphon.engines.llamacpp.layout import NO_PIECES, Floats, Layout
from antiphon.engines.llamacpp.protocol import Start
from antiphon.engines.llamacpp.sample import Sampler, Scored
from antiphon.engines.llamacpp.schedule import Line
from antiphon.engines.llamacpp.thinking import CLOSER, OPENER, Thinking


class NothingFits(Exception):
    """The grammar allows no token at all: it gave up."""


@dataclass(eq=False, slots=True)
class Request:
    """A request with its prompt made."""

    connection: Hashable
    start: Start
    prompt: list[int]
    matcher: Matcher | None = None
    predicted: Predicted | None = None
    thinking: Thinking | None = None
    marks: Mapping[int, bytes] = field(default_factory=dict)
    """The control tokens that are shown, to how they are written: they tell the parts of the answer apart."""
    layout: Layout = NO_PIECES
    """Where its pictures and sounds are."""
    choices: list["Choice"] = field(default_factory=list)
    """Those that have not ended; empty until it begins."""
    is_cancelled: bool = False

    def choice(self, index: int, line: Line) -> "Choice":
        """Make one of its choices, on the line that reads the prompt."""
        return Choice(
            self,
            line,
            Sampler(self.start, index),
            ChoiceWriter(index, self.start.stop),
            self.matcher.copy() if self.matcher else None,
            Drafter(self.predicted) if self.predicted else None,
            self.thinking.copy() if self.thinking else None,
        )


@dataclass(eq=False, slots=True)
class Choice:
    """One choice while it runs."""

    request: Request
    line: Line
    sampler: Sampler
    writer: ChoiceWriter
    matcher: Matcher | None = None
    drafter: Drafter | None = None
    thinking: Thinking | None = None
    accepted: int = 0
    rejected: int = 0
    """What became of the tokens guessed from the prediction."""
    _is_predicted: bool = False
    """Whether the running guess is from the prediction, rather than what the grammar forces."""
    _told: tuple[int, int] = (0, 0)

    def guess(self, most: int) -> list[int]:
        """Give at most `most` tokens that probably come next."""
        if self.thinking is not None and self.thinking.is_open:
            return []
        self._is_predicted = False
        if self.matcher is not None and (forced := self.matcher.forced()):
            return forced[:most]
        self._is_predicted = True
        return self.drafter.guess(most) if self.drafter else []

    def draw(self, logits: Floats) -> tuple[int, Scored | None]:
        """Draw the next token.

        Raises:
            NothingFits: the grammar allows none.
        """
        if self.thinking is not None and (forced := self.thinking.forced()) is not None:
            return self.sampler.take(forced, logits)
        if self.matcher is None:
            return self.sampler.draw(logits)
        # An answer that must be something cannot end before it has begun.
        is_thinking = self.thinking is not None and self.thinking.is_open
        mask = self.matcher.no_end if is_thinking else self.matcher.mask()
        if not mask.any():
            raise NothingFits
        return self.sampler.draw(logits, mask)

    def mark(self, token: int) -> bytes:
        """Give how a token is written that tells the parts of the answer apart; empty when it does not, here."""
        mark = self.request.marks.get(token, b"")
        is_stray = mark in {OPENER, CLOSER} and not (self.thinking and self.thinking.expects(mark))
        return b"" if is_stray else mark

    def follow(self, token: int, piece: bytes) -> bool:
        """Go on past a token that was drawn; give whether the grammar is at its end."""
        if self.drafter is not None:
            self.drafter.follow(token)
        was_thinking = self.thinking is not None and self.thinking.is_open
        if self.thinking is not None:
            self.thinking.follow(piece)
        if self.matcher is None or was_thinking:
            return False
        return self.matcher.take(token) and self.matcher.is_over

    def count(self, token: int, draft: Sequence[int], *, ends: bool) -> None:
        """Note whether a token was the one that was guessed; what is left of a guess that is over was for nothing."""
        if not draft or not self._is_predicted:
            return
        hit = token == draft[0]
        self.accepted += hit
        if ends or not hit:
            self.rejected += len(draft) - hit

    def learn(self, guessed: int, confirmed: int) -> None:
        """Take how a guess fared."""
        if self.drafter is not None and self._is_predicted:
            self.drafter.learn(guessed, confirmed)

    def news(self) -> tuple[int, int]:
        """Give what was accepted and rejected since it was last told."""
        before, self._told = self._told, (self.accepted, self.rejected)
        return self.accepted - before[0], self.rejected - before[1]
