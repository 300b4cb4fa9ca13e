"""How much of an answer was told, as the id of an event: a stream goes on behind any of them.

Source of the form: ours. The prediction API's clients send back as `after_id` whatever id they were given.
"""

import re
from collections.abc import Sequence

from antiphon.domain.errors import InvalidRequest
from antiphon.domain.faults import FieldFault

_PLACE = re.compile("-".join(["([0-9]{1,9})"] * 5) + "(?:-([1-9][0-9]{0,8}))?-([01])")

Numbers = tuple[int, int, int, int, int, int, bool]
"""How much of a choice was told: characters of thinking and of text, calls, characters of the last call,
log-probabilities, bytes of speech, and whether it has finished."""


def place_id(places: Sequence[Numbers]) -> str:
    """Give the id of an event: how much of each choice was told with it."""
    return ".".join("-".join(map(str, map(int, _written(*place)))) for place in places)


def _written(*numbers: int) -> tuple[int, ...]:
    """Most answers are not spoken; then their ids do not say so."""
    *_, speech, _ = numbers
    return numbers if speech else (*numbers[:-2], numbers[-1])


def read_place_id(text: str, choices: int) -> tuple[Numbers, ...]:
    """Read the id of an event of an answer of `choices` choices.

    Raises:
        InvalidRequest: it is none.
    """
    matches = [_PLACE.fullmatch(part) for part in text.split(".", choices)]
    if len(matches) != choices or not all(matches):
        raise bad_event_id()
    found = [list(map(int, match.groups("0"))) for match in matches if match]
    return tuple((r, t, c, p, logprobs, speech, bool(f)) for r, t, c, p, logprobs, speech, f in found)


def bad_event_id() -> InvalidRequest:
    """Give the error of an id that no event of the prediction has."""
    msg = "This is not an event of this prediction."
    return InvalidRequest((FieldFault(("query", "after_id"), msg, "value_error", "invalid_value"),))
