"""An upstream's tool calls in pieces, to calls one after another: however it numbers, splits and mixes them.

Some give every call the same index, or none; some repeat id and name with each piece, some split the name, some give
arguments before it; and the pieces of several calls may come in turns.
"""

import secrets
from collections.abc import Iterator

import msgspec

from antiphon.domain.errors import EngineFailed
from antiphon.domain.events import CallDelta, CallHead
from antiphon.engines.upstream.schema import Call

MOST_ID_CHARS = 64


class _Pieces:
    """One call as far as it came."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.id, self.name, self.text = "", "", ""
        self.tokens = self.told = 0
        """How many pieces were not told yet, and how much of the text was."""
        self.has_begun = False

    @property
    def is_whole(self) -> bool:
        """Whether its arguments are an object: nothing can follow one."""
        if not self.text.rstrip().endswith("}"):
            return False
        try:
            return isinstance(msgspec.json.decode(self.text), dict)
        except (msgspec.MsgspecError, RecursionError):
            return False

    def take(self, call: Call) -> None:
        self.tokens += 1
        self.id = self.id or call.id or ""
        if call.function is None:
            return
        if not self.has_begun and (name := call.function.name) and name != self.name:
            self.name += name
        arguments = call.function.arguments
        if arguments is not None:
            self.text += arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


class CallPieces:
    """Those of one choice. A call is told as it comes, once those before it are whole."""

    def __init__(self, choice: int, names: frozenset[str]) -> None:
        """Expect calls.

        Args:
            choice: of which they are.
            names: of what may be called.
        """
        self._choice, self._names = choice, names
        self._calls: list[_Pieces] = []
        self._open = 0
        """The one that is being told."""
        self._ids: set[str] = set()

    def take(self, call: Call, place: int) -> Iterator[CallDelta]:
        """Take a piece, which stood at a place of its list; give what may be told.

        Raises:
            EngineFailed: it belongs to a call that was over.
        """
        pieces = self._of(call, place)
        pieces.take(call)
        yield from self._tell()
        if pieces in self._calls[: self._open]:
            if pieces.text[pieces.told :].strip():
                raise EngineFailed("The model's server mixed its calls up.")
            pieces.told = len(pieces.text)

    def finish(self) -> Iterator[CallDelta]:
        """Give what was held back.

        Raises:
            EngineFailed: a call has no name.
        """
        for index in range(self._open, len(self._calls)):
            if not self._calls[index].name:
                raise EngineFailed("The model's server gave a call without a name.")
            yield from self._told(index)
        self._open = len(self._calls)

    def _of(self, call: Call, place: int) -> _Pieces:
        """The call that a piece belongs to; a new one when it begins one."""
        place = place if call.index is None else call.index
        known = next((one for one in reversed(self._calls) if one.place == place), None)
        if call.index is None and call.id:
            known = next((one for one in self._calls if one.id == call.id), known)
        if known is None or _is_another(call, known):
            known = _Pieces(place)
            self._calls.append(known)
        return known

    def _tell(self) -> Iterator[CallDelta]:
        while self._open < len(self._calls):
            pieces = self._calls[self._open]
            if pieces.has_begun or self._is_named(pieces):
                yield from self._told(self._open)
            if self._open == len(self._calls) - 1 or not (pieces.has_begun and pieces.is_whole):
                return
            self._open += 1

    def _is_named(self, pieces: _Pieces) -> bool:
        """Whether a name is whole: arguments follow it, or no other name goes on from it."""
        name = pieces.name
        if not name or pieces.text:
            return bool(name)
        return name in self._names and sum(one.startswith(name) for one in self._names) == 1

    def _told(self, index: int) -> Iterator[CallDelta]:
        pieces, head = self._calls[index], None
        if not pieces.has_begun:
            pieces.has_begun = True
            head = CallHead(self._id(pieces.id), "function", pieces.name)
        text, tokens = pieces.text[pieces.told :], pieces.tokens
        pieces.told, pieces.tokens = len(pieces.text), 0
        if head or tokens:
            yield CallDelta(self._choice, index, text, tokens, head)

    def _id(self, said: str) -> str:
        """The call's id: the server's own, which it may look for in later turns, unless that names nothing."""
        if not said or len(said) > MOST_ID_CHARS or said in self._ids:
            said = f"call_{secrets.token_hex(12)}"
        self._ids.add(said)
        return said


def _is_another(call: Call, known: _Pieces) -> bool:
    """Whether a piece begins a call of its own, though its place is another's."""
    if call.function is None or not call.function.name:
        return False
    has_other_id = bool(call.id) and call.id != known.id
    if not known.is_whole:
        # Some give each piece of one call another id; where there is no index, ids are all there is.
        return has_other_id and call.index is None
    return has_other_id or (not call.id and bool(call.function.arguments))
