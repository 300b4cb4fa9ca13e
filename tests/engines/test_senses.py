"""What a model that sees or hears makes of a prompt: what llama.cpp's own helper makes of it, however it is read.

With tiny projectors and tiny models, all of random weights. These compute in whole floats, so that an answer does not
depend on what else is in a batch but in its very last bits.
"""

from functools import partial

import numpy as np
import pytest

from antiphon.engines.llamacpp.protocol import ChoiceEnded, Ended
from tests.engines import tiny_model, tiny_sight
from tests.engines.inside import Engine, picture, sound

KINDS = {
    "places in a row": ("qwen2", tiny_sight.write, picture),
    "places in a grid": ("qwen2vl", tiny_sight.write_qwen, picture),
    "places that speak to layers": ("qwen3vl", tiny_sight.write_deep, picture),
    "places that see each other": ("qwen2", tiny_sight.write_gemma, picture),
    "both": ("qwen2vl", tiny_sight.write_gemma, picture),
    "sound": ("qwen2", tiny_sight.write_hearing, sound),
    "sound among axes": ("qwen2vl", tiny_sight.write_hearing, sound),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory, weights):
    """Gives the model and the projector of a kind."""
    home = tmp_path_factory.mktemp("senses")
    models = {kind: tiny_model.write(home / f"{kind}.gguf", weights[0], kind=kind) for kind, *_ in KINDS.values()}

    def of(kind):
        model, write, _ = KINDS[kind]
        return models[model], write(home / f"{kind}.gguf", width=tiny_model.WIDTH)

    return of


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def made(kind):
    """Makes pictures, or sounds."""
    return KINDS[kind][2]


@pytest.fixture(scope="module")
def engine(files, kind):
    return Engine(*files(kind))


BESIDE = 0.1
"""How far logits may differ where a sequence's cells lie behind another's: those of words alone do by up to 0.04."""


def same(one, other, within=0.001):
    """Whether two rows of logits differ in their last bits only."""
    return np.abs(one - other).max() < within < one.std() / 10


def test_what_follows_is_what_the_helper_says(engine, made):
    parts = ("Look: ", made(1), made(2), " and here: ", made(1), " What is it?")
    said, right = engine.logits(*parts, more=6), engine.helper(*parts, more=6)
    assert said.shape == right.shape == (7, engine.weights.vocabulary.size)
    assert same(said, right)


@pytest.mark.parametrize("model", ["qwen2", "qwen2vl"])
def test_pictures_and_sounds_stand_in_one_prompt(files, tmp_path, model):
    path, _ = files("sound" if model == "qwen2" else "both")
    engine = Engine(path, tiny_sight.write_all(tmp_path / "all.gguf", width=tiny_model.WIDTH))
    parts = ("Look: ", picture(1), sound(2), " and ", sound(3), picture(4, 140, 84), picture(5), " What?")
    assert same(engine.logits(*parts, more=4), engine.helper(*parts, more=4))
    assert engine.accepted().audio_tokens == 2 * tiny_sight.SOUND_PLACES
    assert (engine.senses.sees, engine.senses.hears) == (True, True)


def test_what_is_seen_or_heard_matters(engine, made):
    said = [engine.logits("Look: ", *given, " What?") for given in ([made(1)], [made(2)], [], [made(1), made(2)])]
    for number, one in enumerate(said):
        assert all(np.abs(one - other).max() > 0.02 for other in said[:number])


def test_what_came_before_is_neither_read_nor_answered_anew(engine, made):
    parts = ("Once: ", made(3), " again: ", made(4), " What?")
    first = engine.logits(*parts)
    again = engine.logits(*parts)
    assert engine.accepted().cached_tokens == engine.accepted().prompt_tokens - 1
    assert same(first, again)


def test_a_conversation_goes_on_behind_its_earlier_turns(engine, made):
    turns = ["First: ", made(5), " said."]
    engine.logits(*turns)
    for number in (6, 7):
        read = engine.accepted().prompt_tokens
        turns += [" Then: ", made(number), " more words."]
        said = engine.logits(*turns, more=3)
        assert engine.accepted().cached_tokens in {read, read - 1}
        assert same(said, engine.helper(*turns, more=3))


def test_another_one_in_the_same_place_shares_what_is_before_it(engine, made):
    before = "A long beginning that both of them share word for word: "
    engine.logits(before, made(8), " What?")
    parts = (before, made(9), " What?")
    said = engine.logits(*parts)
    shared = engine.accepted().cached_tokens
    assert len(engine.weights.vocabulary.tokenize(before, control=False)) <= shared + 1 < 40
    assert same(said, engine.helper(*parts))


def test_what_runs_already_is_shared_while_it_runs(engine, made):
    parts = ("While one is told: ", made(10), " of this,")
    engine.add(*parts, " tell.", max_tokens=30)
    while engine.loop.state.decoding == 0:
        engine.loop.step()
    said = engine.logits(*parts, " stop.")
    assert engine.accepted().cached_tokens > engine.accepted().prompt_tokens - 8
    right = engine.helper(*parts, " stop.")
    assert any(same(one, right[0], BESIDE) for one in said)


def test_all_choices_go_on_from_the_same_picture(engine, made):
    parts = ("Three of: ", made(11), " What?")
    one = engine.logits(*parts, more=2)
    three = engine.logits(*parts, more=2, n=3, account="b").reshape(3, 3, -1)
    assert all(same(row, one[step], BESIDE) for step in range(3) for row in three[step])


def test_a_prediction_that_is_wrong_changes_nothing_behind_a_picture(engine, made):
    parts = ("Guess: ", made(12), " What?")
    plain = engine.add(*parts, max_tokens=16)
    engine.run()
    half = len(engine.text(plain)) // 2
    prediction = engine.text(plain)[:half] + " but then the wrong words"
    guessed = engine.add(*parts, max_tokens=16, prediction=prediction, account="b")
    engine.run()
    assert engine.text(guessed) == engine.text(plain)
    (ended,) = (message for message in engine.told if isinstance(message, ChoiceEnded) and message.id == guessed)
    assert ended.rejected > 0


def until_inside(engine):
    """Go on until some of a picture or a sound is read, and some is not."""
    while True:
        assert engine.loop.step()
        (line,) = engine.loop._memory.lines.live.values()
        if line.ahead and line.ahead.start < line.read:
            return line.ahead.start


LARGE = {
    "places in a grid": partial(picture, 13, 224, 168),
    "sound": partial(sound, 13),
    "sound among axes": partial(sound, 13),
}


@pytest.mark.parametrize("large", LARGE)
def test_one_that_is_broken_off_is_read_right_the_next_time(files, large):
    engine, parts = Engine(*files(large)), ("Broken off inside: ", LARGE[large](), " What?")
    name = engine.add(*parts)
    start = until_inside(engine)
    engine.loop.cancel(name)
    engine.run()
    assert Ended(name) in engine.told
    said = engine.logits(*parts)
    assert engine.accepted().cached_tokens == start
    assert same(said, engine.helper(*parts))


@pytest.mark.parametrize("large", LARGE)
def test_one_that_is_being_read_is_shared_up_to_its_beginning(files, large):
    engine, parts = Engine(*files(large)), ("Asked twice at once: ", LARGE[large](), " What?")
    engine.add(*parts)
    start = until_inside(engine)
    said = engine.logits(*parts)
    assert engine.accepted().cached_tokens == start
    assert all(same(one, engine.helper(*parts)[0], BESIDE) for one in said)


@pytest.mark.parametrize("large", LARGE)
def test_an_aborted_batch_leaves_nothing_behind_that_is_read_again(files, large):
    engine, parts = Engine(*files(large)), ("Aborted: ", LARGE[large](), " What?")
    engine.add(*parts)
    until_inside(engine)
    engine.context.abort()
    engine.run()
    assert same(np.array(engine.context.asked), engine.helper(*parts))


def test_words_are_told_as_if_nobody_looked_beside_them(engine, made):
    words = "Tell me about the sea, and about the ships on it."
    alone = engine.logits(words, more=3)
    engine.context.asked = ()
    engine.add(words, max_tokens=4, account="b")
    for number in range(14, 17):
        engine.add("Beside: ", made(number), " What?", max_tokens=5)
    engine.run()
    assert all(any(same(row, one, BESIDE) for one in engine.context.asked) for row in alone)


def test_what_was_evicted_is_read_again(files, kind, made):
    most = 100 if made is sound else 130
    engine = Engine(*files(kind), cells=256)
    for number in range(2):
        engine.add(f"Number {number}: ", made(number), " What?", max_tokens=most, account=str(number))
    engine.loop.step()
    _, evicted = lines = list(engine.loop._memory.lines.live.values())
    was_crowded = False
    while engine.loop.step():
        was_crowded |= evicted.is_parked
    assert was_crowded
    assert all(line.read > most for line in lines)
    assert same(engine.context.asked[-1], engine.read_anew(evicted), BESIDE)


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_the_self_check_at_the_start_passes_in_batches_of_any_size(files, batch):
    context = Engine(*files("places in a row"), batch=batch).context
    context.check(list(range(100, 110)))
