"""An answer taken up again: for every place in every answer, what was told and what is told then is the whole."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.fold import Fold
from antiphon.core.follow import START, FoldReader, Place, ends, is_within
from antiphon.domain.events import (
    Accepted,
    CallDelta,
    CallHead,
    ChoiceFinished,
    Finished,
    SpeechDelta,
    TextDelta,
    TokenLogprob,
)
from antiphon.wire.openai import Form, ReplyHead, completion_body
from antiphon.wire.places import place_id, read_place_id
from antiphon.wire.stored import read_kept

TEXTS = st.text("aé😀\n\u2028.-", max_size=4)
PIECES = st.one_of(
    st.tuples(st.just("thinking"), TEXTS),
    st.tuples(st.just("text"), TEXTS),
    st.tuples(st.just("scored"), TEXTS),
    st.tuples(st.sampled_from(["function", "custom"]), TEXTS),
    st.tuples(st.just("piece"), TEXTS),
    st.tuples(st.just("speech"), TEXTS),
)


@st.composite
def answers(draw):
    """The events of an answer of one to three choices, whole or broken off."""
    count = draw(st.integers(1, 3))
    events, begun = [Accepted(7, 2)], [0] * count
    for choice, (kind, text) in draw(st.lists(st.tuples(st.integers(0, count - 1), PIECES), max_size=14)):
        number = len(events)
        match kind:
            case "thinking" | "text":
                events.append(TextDelta(choice, text, 1, is_reasoning=kind == "thinking"))
            case "scored":
                entry = TokenLogprob(text, text.encode(), -float(number))
                events.append(TextDelta(choice, text, 1, (entry,)))
            case "speech":
                events.append(SpeechDelta(choice, text.encode(), 1))
            case "piece" if begun[choice]:
                events.append(CallDelta(choice, begun[choice] - 1, text, 1))
            case "function" | "custom":
                head = CallHead(f"call_{number}", kind, f"f{number}")
                events.append(CallDelta(choice, begun[choice], text, 1, head))
                begun[choice] += 1
    if draw(st.booleans()):
        events += [ChoiceFinished(choice, "stop", 5) for choice in draw(st.permutations(range(count)))] + [Finished()]
    return count, events


def folded(count, events):
    fold = Fold(count)
    for event in events:
        fold.add(event)
    return fold


def said(count, events):
    """What events say of each choice, however they are cut; an end must be the last thing of its choice."""
    told = [
        {"thinking": "", "text": "", "calls": [], "logprobs": [], "speech": b"", "reason": None} for _ in range(count)
    ]
    for event in events:
        if isinstance(event, Accepted | Finished):
            continue
        one = told[event.choice]
        assert one["reason"] is None, "told after its end"
        match event:
            case TextDelta():
                one["thinking" if event.is_reasoning else "text"] += event.text
                one["logprobs"] += event.logprobs
            case CallDelta():
                if event.begins:
                    one["calls"].append([event.begins, ""])
                assert event.index == len(one["calls"]) - 1
                one["calls"][-1][1] += event.text
            case SpeechDelta():
                one["speech"] += event.data
            case ChoiceFinished():
                one["reason"] = event.reason
    return told


def read_while_it_grows(count, events, turns):
    """Read a fold that grows by some events before each event that is told; give what was told, and each place."""
    fold, left = Fold(count), list(events)
    reader, told, places = FoldReader(fold), [], []

    def grow(most):
        for event in left[:most]:
            fold.add(event)
        del left[:most]

    turns = iter(turns)
    while left:
        grow(next(turns, 1))
        for event in reader.more():
            told.append(event)
            places.append(reader.places)
            assert is_within(reader.places, fold)
            grow(next(turns, 1))
    for event in reader.more():
        told.append(event)
        places.append(reader.places)
    return fold, told, places


@given(answers(), st.lists(st.integers(0, 3), max_size=20))
def test_a_reader_tells_everything_once_however_the_answer_grows_meanwhile(answer, turns):
    count, events = answer
    fold, told, _ = read_while_it_grows(count, events, [*turns, 1])
    assert said(count, told) == said(count, events)
    assert isinstance(told[0], Accepted)
    assert isinstance(told[-1], Finished) == fold.is_finished
    assert sum(isinstance(event, Finished) for event in told) == fold.is_finished


def test_a_call_that_goes_on_while_its_piece_is_sent_is_told_whole_before_the_next_begins():
    head = CallHead("call_1", "function", "f")
    events = [Accepted(1, 0), CallDelta(0, 0, "a", 1, head), CallDelta(0, 0, "b", 1), CallDelta(0, 1, "c", 1, head)]
    events += [ChoiceFinished(0, "tool_calls", 4), Finished()]
    # Accepted and the call's first piece; nothing while they are told; then all the rest at once.
    _, told, _ = read_while_it_grows(1, events, [2, 0, 0, 4])
    assert said(1, told) == said(1, events)


@given(answers(), st.lists(st.integers(0, 3), max_size=20))
def test_what_was_told_until_any_event_and_what_is_told_after_it_are_the_whole(answer, turns):
    """While it runs and in this process: the fold itself is read again."""
    count, events = answer
    fold, told, places = read_while_it_grows(count, events, [*turns, 1])
    for number, place in enumerate(places, 1):
        rest = list(FoldReader(fold, place).more())
        assert not any(isinstance(event, Accepted) for event in rest)
        assert said(count, told[:number] + rest) == said(count, events)


@given(answers(), st.lists(st.integers(0, 3), max_size=20))
def test_an_answer_that_was_kept_goes_on_at_the_ids_it_gave_while_it_ran(answer, turns):
    """After a restart: all there is is the answer's JSON and the text of the id."""
    count, events = answer
    fold, told, places = read_while_it_grows(count, events, [*turns, 1])
    body = completion_body(ReplyHead("id", 1, "a/b", "fp"), fold.completion, Form(logprobs=True))
    kept = Fold.of(read_kept(body).completion)
    assert kept.completion.choices == fold.completion.choices
    for number, place in enumerate(places, 1):
        numbers = read_place_id(place_id([(*vars_of(one),) for one in place]), count)
        again = [Place(*each) for each in numbers]
        assert again == place
        assert is_within(again, kept)
        assert said(count, told[:number] + list(FoldReader(kept, again).more())) == said(count, events)


def vars_of(place):
    return place.reasoning, place.text, place.calls, place.call, place.logprobs, place.speech, place.is_finished


@given(answers())
def test_at_its_end_nothing_is_left_to_tell(answer):
    count, events = answer
    fold = folded(count, events)
    assert is_within(ends(fold), fold)
    assert said(count, FoldReader(fold, ends(fold)).more()) == said(count, [])


@given(answers(), st.sampled_from(["reasoning", "text", "calls", "call", "logprobs"]), st.integers(0, 2))
def test_a_place_that_an_answer_has_not_reached_is_not_within_it(answer, name, choice):
    count, events = answer
    fold, choice = folded(count, events), choice % count
    beyond = ends(fold)
    beyond[choice] = replace(beyond[choice], **{name: getattr(beyond[choice], name) + 1}, is_finished=False)
    assert not is_within(beyond, fold)


def test_an_end_that_was_not_told_whole_is_no_place():
    fold = folded(1, [Accepted(1, 0), TextDelta(0, "ab", 1), ChoiceFinished(0, "stop", 1), Finished()])
    assert is_within([Place(text=2, is_finished=True)], fold)
    assert not is_within([Place(text=1, is_finished=True)], fold)
    assert not is_within([Place(text=2, call=1)], fold)


def test_nothing_is_told_before_the_engine_has_accepted():
    fold = Fold(2)
    assert list(FoldReader(fold).more()) == []
    fold.add(Accepted(1, 0))
    assert list(FoldReader(fold).more()) == [Accepted(1, 0)]
    assert list(FoldReader(fold, [START, START]).more()) == []


@pytest.mark.parametrize("places", [[START], [START] * 3])
def test_a_reader_wants_one_place_for_each_choice(places):
    with pytest.raises(ValueError, match="zip"):
        FoldReader(Fold(2), places)
