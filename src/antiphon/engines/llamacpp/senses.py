"""What a model with a projector sees and hears: each picture and sound encoded once, and known again.

In a prompt each place is a negative number that stands for this row of this picture or sound: so prompts that share one
share a beginning, and two never look alike.
"""

import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from antiphon.domain.media import HEARD_HZ
from antiphon.engines.llamacpp.binding import LibraryUnfit, ModelUnfit
from antiphon.engines.llamacpp.layout import Floats, Piece
from antiphon.engines.llamacpp.mtmd import NotTaken, Projector
from antiphon.engines.llamacpp.protocol import Picture, Sound

KEPT_BYTES = 64 * 1024 * 1024
"""How much of what was encoded is remembered: a conversation sends its pictures again with every turn."""
_TEST_SIDE = 64
_LARGE_SIDES = ((2048, 2048), (2048, 512), (512, 2048))
"""Pictures that take as many places as any do."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A picture or a sound as it stands in a prompt."""

    tokens: list[int]
    """Tokens of the model's own around it, and a negative number for each of its places."""
    pieces: Mapping[int, Piece]
    """What these numbers stand for, by the number of the piece's first place; those of the others go down from it."""

    @property
    def size(self) -> int:
        """Bytes of its rows."""
        return sum(piece.rows.nbytes for piece in self.pieces.values())


class Senses:
    """Encodes pictures and sounds. For one thread, which may be another than decodes."""

    def __init__(self, projector: Projector) -> None:
        """Encode something of each kind twice.

        Raises:
            LibraryUnfit: the library is another build.
            ModelUnfit: the projector encodes nothing.
        """
        self._projector = projector
        self._numbers = itertools.count(-1, -1)
        self._kept: OrderedDict[bytes, Taken] = OrderedDict()
        self._bytes = 0
        self.sees = projector.sees
        # What is taken in comes at this rate; a projector that wants another is not given it.
        self.hears = projector.hears_hz == HEARD_HZ
        if not self.sees and not self.hears:
            raise ModelUnfit("the mmproj neither sees nor hears")
        try:
            if self.sees:
                shades = np.linspace(0, 255, _TEST_SIDE * _TEST_SIDE * 3).astype(np.uint8).tobytes()
                self._check(Picture(0, _TEST_SIDE, _TEST_SIDE, shades))
            if self.hears:
                self._check(Sound(0, (np.sin(np.arange(HEARD_HZ) / 8) * 9000).astype("<i2").tobytes()))
            self.most_at_once = self._most_at_once() if self.sees else 1
        except NotTaken:
            raise ModelUnfit("the mmproj cannot encode a picture or a sound") from None

    def take(self, medium: Picture | Sound) -> Taken:
        """Encode a picture or a sound; one that came before is known again.

        Raises:
            NotTaken: it cannot be.
        """
        digest = _digest(medium)
        taken = self._kept.pop(digest, None)
        if taken is None:
            taken = self._encode(medium)
            self._bytes += taken.size
        self._kept[digest] = taken
        while self._bytes > KEPT_BYTES and len(self._kept) > 1:
            _, forgotten = self._kept.popitem(last=False)
            self._bytes -= forgotten.size
        return taken

    def _encode(self, medium: Picture | Sound) -> Taken:
        if not (self.sees if isinstance(medium, Picture) else self.hears):
            raise NotTaken
        tokens: list[int] = []
        pieces: dict[int, Piece] = {}
        for part in self._projector.encode(medium):
            if isinstance(part, Piece):
                numbers = list(itertools.islice(self._numbers, part.places))
                if part.is_whole and part.places > self.most_at_once:
                    raise NotTaken  # llama.cpp ends the process over a batch that its buffers do not hold
                pieces[numbers[0]] = part
                tokens += numbers
            else:
                tokens += part
        return Taken(tokens, pieces)

    def _check(self, medium: Picture | Sound) -> None:
        """Encode one medium twice, and see that both agree: this vouches for the structs' layout and the kernels."""
        one, other = (self._rows(medium) for _ in range(2))
        if not (one.size and np.isfinite(one).all() and np.abs(one - other).max() < 1e-3):  # noqa: PLR2004
            raise LibraryUnfit("the llama.cpp library does not encode the same picture or sound alike")

    def _rows(self, medium: Picture | Sound) -> Floats:
        pieces = [part for part in self._projector.encode(medium) if isinstance(part, Piece)]
        if any(piece.axes is not None and (piece.axes.steps[0] != 1).any() for piece in pieces):
            raise LibraryUnfit("the llama.cpp library tells other positions of a picture")
        rows: Floats = np.concatenate([piece.rows for piece in pieces])
        return rows

    def _most_at_once(self) -> int:
        blank = bytes(max(width * height for width, height in _LARGE_SIDES) * 3)
        return max(self._projector.most_at_once(Picture(0, *sides, blank)) for sides in _LARGE_SIDES)


def _digest(medium: Picture | Sound) -> bytes:
    if isinstance(medium, Picture):
        return hashlib.sha256(b"%d %d " % (medium.width, medium.height) + medium.rgb).digest()
    return hashlib.sha256(b"sound " + medium.pcm).digest()
