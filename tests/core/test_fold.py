"""The grammar of events, and the sums."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.fold import Fold
from antiphon.domain.errors import EngineFailed
from antiphon.domain.events import Accepted, ChoiceFinished, Finished, TextDelta, Usage

ACCEPTED = Accepted(5, 2)


def folded(*events, choices=1):
    fold = Fold(choices)
    for event in events:
        fold.add(event)
    return fold


@pytest.mark.parametrize(
    "events",
    [
        (TextDelta(0, "x", 1),),
        (Finished(),),
        (ACCEPTED, ACCEPTED),
        (ACCEPTED, Finished()),
        (ACCEPTED, ChoiceFinished(0, "stop", 1), ChoiceFinished(0, "stop", 1)),
        (ACCEPTED, ChoiceFinished(0, "stop", 1), TextDelta(0, "x", 1)),
        (ACCEPTED, TextDelta(1, "x", 1)),
        (ACCEPTED, TextDelta(-1, "x", 1)),
        (ACCEPTED, ChoiceFinished(0, "stop", 1), Finished(), Finished()),
    ],
    ids=range(9),
)
def test_an_engine_that_breaks_the_grammar_has_failed(events):
    with pytest.raises(EngineFailed):
        folded(*events)


@given(st.lists(st.tuples(st.integers(0, 2), st.text(max_size=5), st.integers(0, 3)), max_size=20))
def test_texts_and_tokens_add_up_per_choice_in_any_interleaving(deltas):
    fold = folded(ACCEPTED, *(TextDelta(*delta) for delta in deltas), choices=3)
    for index, choice in enumerate(fold.completion.choices):
        assert choice.text == "".join(text for at, text, _ in deltas if at == index)
    assert fold.usage.completion_tokens == sum(tokens for *_, tokens in deltas)
    assert fold.usage.total_tokens == 5 + fold.usage.completion_tokens


def test_a_partial_answer_has_its_text_and_what_it_cost_so_far():
    fold = folded(ACCEPTED, TextDelta(0, "half an", 2))
    assert fold.completion.choices[0].text == "half an"
    assert fold.completion.choices[0].reason is None
    assert fold.usage == Usage(prompt_tokens=5, cached_tokens=2, completion_tokens=2)


def test_what_was_never_accepted_cost_nothing():
    assert Fold(2).usage == Usage()
