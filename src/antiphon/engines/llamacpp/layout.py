"""Where pictures and sounds stand in a prompt, and what that does to the positions of what follows.

Each of their places holds a cell of the context's memory, as a token does. Positions are another count: in models whose
positions have several axes a picture of 28 by 14 places moves the position on by 28 only.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """Positions of several axes, for a piece that stands at position p: `base + steps * p`."""

    base: Ints
    """Shape (axes, places)."""
    steps: Ints
    """Of the same shape: 1 where an axis counts from the piece's own position, 0 where it counts from its corner."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A picture, a part of one, or a sound, as rows of numbers that stand where tokens' own rows would."""

    rows: Floats
    """Shape (places, width of the model's input), float32."""
    positions: int
    """How far it moves the position on."""
    axes: Axes | None = None
    """None: its places follow each other, as tokens do."""
    is_whole: bool = False
    """Whether its places see each other both ways, so that they must be read in one batch."""
    is_sound: bool = False

    @property
    def places(self) -> int:
        """How many cells it takes."""
        return len(self.rows)

    def at(self, position: int, first: int, count: int) -> Ints:
        """Give the positions of some of its places, axis after axis, as a batch has them: shape (axes * count,).

        Args:
            position: where the piece stands.
            first: the first of these places.
            count: how many.
        """
        if self.axes is None:
            return np.arange(position + first, position + first + count, dtype=np.int32)
        places = slice(first, first + count)
        return (self.axes.base[:, places] + self.axes.steps[:, places] * position).ravel()


@dataclass(frozen=True, slots=True)
class Placed:
    """A piece in its place."""

    start: int
    """How many tokens and places come before it."""
    position: int
    piece: Piece

    @property
    def end(self) -> int:
        """What comes right behind it."""
        return self.start + self.piece.places


class Layout:
    """The pieces of one prompt. Whatever follows the prompt are tokens."""

    def __init__(self, tokens: Sequence[int] = (), pieces: Mapping[int, Piece] | None = None) -> None:
        """Find the pieces.

        Args:
            tokens: a prompt; each place of a piece is a negative number of its own.
            pieces: each piece, by the number of its first place.
        """
        self._placed: list[Placed] = []
        saved = 0
        for start, token in enumerate(tokens) if pieces else ():
            if pieces and token < 0 and (piece := pieces.get(token)):
                self._placed.append(Placed(start, start - saved, piece))
                saved += piece.places - piece.positions
        self._starts = [placed.start for placed in self._placed]

    @property
    def sound_places(self) -> int:
        """How many places are of sounds."""
        return sum(placed.piece.places for placed in self._placed if placed.piece.is_sound)

    def find(self, index: int) -> Placed | None:
        """Give the piece that has a place; None where a token stands."""
        placed = self._before(index)
        return placed if placed and index < placed.end else None

    def position(self, index: int) -> int:
        """Give the position of a token, or of the piece that begins there."""
        placed = self._before(index)
        if placed is None or placed.start == index:
            return placed.position if placed else index
        return placed.position + placed.piece.positions + index - placed.end

    def whole(self, length: int) -> int:
        """Give how much of a beginning can stand alone: up to the piece it ends inside of.

        The places of a piece may all have the same position, by which alone the memory can be cut.
        """
        placed = self._before(length)
        return placed.start if placed and placed.start < length < placed.end else length

    def run(self, index: int, end: int) -> int:
        """Give how many tokens, or places of one piece, stand from `index` on, before `end`."""
        if placed := self.find(index):
            return placed.end - index
        number = bisect_right(self._starts, index)
        return (self._starts[number] if number < len(self._starts) else end) - index

    def _before(self, index: int) -> Placed | None:
        number = bisect_right(self._starts, index)
        return self._placed[number - 1] if number else None


NO_PIECES = Layout()
