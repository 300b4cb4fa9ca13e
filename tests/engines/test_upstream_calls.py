"""An upstream's tool calls, in the pieces that servers really send, come out whole, apart and in order."""

import msgspec
import pytest

from antiphon.domain.errors import EngineFailed
from antiphon.domain.events import CallDelta
from antiphon.engines.upstream.calls import CallPieces
from antiphon.engines.upstream.schema import Call

ROME, OSLO = '{"city": "Rome"}', '{"city": "Oslo"}'


def piece(index=None, call_id=None, name=None, text=None):
    function = {"name": name, "arguments": text}
    return msgspec.convert({"index": index, "id": call_id, "function": function}, Call)


def read(*chunks):
    """Feed chunks of pieces; give each event's index, and what clients make of them all."""
    calls = CallPieces(0, frozenset({"weather", "weather_at", "time"}))
    events: list[CallDelta] = []
    for chunk in chunks:
        for place, one in enumerate(chunk):
            events += calls.take(one, place)
    events += calls.finish()
    told: list[tuple[str, str, str]] = []
    for event in events:
        if event.begins:
            told.append((event.begins.id, event.begins.name, ""))
        call_id, name, text = told[event.index]
        told[event.index] = call_id, name, text + event.text
    assert [event.index for event in events] == sorted(event.index for event in events)
    assert sum(event.tokens for event in events) == sum(map(len, chunks))
    return told


TWO = [("a", "weather", ROME), ("b", "time", OSLO)]


@pytest.mark.parametrize(
    "chunks",
    [
        [[piece(0, "a", "weather", ROME)], [piece(0, "b", "time", OSLO)]],
        [[piece(None, "a", "weather", ROME)], [piece(None, "b", "time", OSLO)]],
        [[piece(0, "a", "weather", ROME), piece(0, "b", "time", OSLO)]],
        [[piece(0, "a", "weather", ""), piece(1, "b", "time", "")], [piece(0, text=ROME)], [piece(1, text=OSLO)]],
        [[piece(0, "a", "weather", ROME[:5])], [piece(1, "b", "time", OSLO)], [piece(0, text=ROME[5:])]],
        [
            *([piece(None, "a", "weather", ROME[:5])], [piece(None, "b", "time", OSLO[:5])]),
            *([piece(None, "a", None, ROME[5:])], [piece(None, "b", None, OSLO[5:])]),
        ],
        [[piece(3, "a", "weather", ROME)], [piece(7, "b", "time", OSLO)]],
    ],
    ids=["one-index", "no-index", "one-index-whole", "in-turns", "late-rest", "by-id", "gaps"],
)
def test_two_calls_come_apart_however_they_are_numbered_and_mixed(chunks):
    assert read(*chunks) == TWO


@pytest.mark.parametrize(
    "chunks",
    [
        [[piece(0, "a", "weather", ROME[:5])], [piece(0, "a", "weather", ROME[5:])]],
        [[piece(0, "a", "weather", ROME[:5])], [piece(0, "other", "weather", ROME[5:])]],
        [[piece(0, "a", "wea", "")], [piece(0, None, "ther", ROME)]],
        [[piece(0, "a", None, ROME[:5])], [piece(0, None, "weather", ROME[5:])]],
        [[piece(0, "a")], [piece(0, None, "weather", ROME)]],
        [[piece(0, "a", "weather", ROME)], [piece(0, None, "weather", "")]],
    ],
    ids=["all-repeated", "new-ids", "split-name", "text-first", "id-first", "empty-end"],
)
def test_one_call_stays_one_however_it_is_split(chunks):
    assert read(*chunks) == [("a", "weather", ROME)]


def test_a_name_that_goes_on_from_another_is_waited_for():
    assert read([piece(0, "a", "weather")], [piece(0, None, "_at")], [piece(0, text=ROME)]) == [
        ("a", "weather_at", ROME)
    ]


def test_a_call_is_told_as_it_comes_also_behind_one_that_is_whole():
    calls = CallPieces(0, frozenset({"weather", "time"}))
    assert [event.text for event in calls.take(piece(0, "a", "time"), 0)] == [""]
    assert [event.text for event in calls.take(piece(0, text=ROME), 0)] == [ROME]
    assert [event.text for event in calls.take(piece(1, "b", "weather", OSLO[:5]), 0)] == [OSLO[:5]]
    assert [event.text for event in calls.take(piece(1, text=OSLO[5:]), 0)] == [OSLO[5:]]


@pytest.mark.parametrize(
    "chunks",
    [
        [[piece(0, "a", None, ROME)]],
        [[piece(0, "a", "weather", ROME)], [piece(1, "b", "time", OSLO)], [piece(0, text="more")]],
    ],
    ids=["no-name", "more-of-a-whole-one"],
)
def test_what_cannot_be_told_apart_is_a_failure(chunks):
    with pytest.raises(EngineFailed):
        read(*chunks)
