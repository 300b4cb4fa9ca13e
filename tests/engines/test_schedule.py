"""What goes into a batch, and which sequences are kept."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.llamacpp.drafts import MOST
from antiphon.engines.llamacpp.layout import Layout, Piece
from antiphon.engines.llamacpp.schedule import SMALLEST_CHUNK, Line, Lines, Pace, Turns, look, plan


def no_guess(line, most):
    return ()


def line(number, unread, read=0):
    return Line(number, "a", list(range(read + unread)), read, arrival=number)


@given(st.lists(st.integers(0, 300), max_size=12), st.integers(16, 128))
def test_a_batch_never_overflows_repeats_a_line_or_forgets_one_that_decodes(unread, batch):
    lines = [line(number, count) for number, count in enumerate(unread)]
    chunks = plan(lines, Pace(batch), no_guess)
    assert sum(chunk.count for chunk in chunks) <= batch
    assert len({chunk.line.id for chunk in chunks}) == len(chunks)
    assert all(1 <= chunk.count <= chunk.line.unread for chunk in chunks)
    decoding = [one.id for one in lines if one.unread == 1][:batch]
    assert [chunk.line.id for chunk in chunks[: len(decoding)]] == decoding
    if any(unread):
        assert chunks


def test_a_long_prompt_and_a_short_one_share_the_room():
    first, short = line(1, 1000), line(2, 20)
    counts = {chunk.line.id: chunk.count for chunk in plan([first, short], Pace(64), no_guess)}
    assert counts == {1: 44, 2: 20}


@given(st.integers(1, 80), st.integers(16, 512), st.floats(1e-6, 0.1))
def test_however_fast_the_machine_is_all_lines_together_guess_no_more_than_there_are_rows_for(count, batch, token_s):
    lines = [line(number, 1) for number in range(count)]
    chunks = plan(lines, Pace(batch, token_s=token_s), lambda _line, most: [7] * most)
    assert sum(len(chunk.draft) for chunk in chunks) <= MOST
    assert sum(chunk.rows for chunk in chunks) <= batch
    if count == 1:
        assert len(chunks[0].draft) == min(MOST, batch - 1)


def looking(number, words, picture, read, *, is_whole=False):
    """A line of some words, then a picture, then words again."""
    tokens = [*range(words), *range(-picture, 0), *range(words)]
    layout = Layout(tokens, {-picture: Piece(np.zeros((picture, 1), np.float32), picture, is_whole=is_whole)})
    return Line(number, "a", tokens, read, arrival=number, layout=layout)


def test_a_batch_holds_words_or_a_picture_and_never_both():
    at_words, at_picture = looking(1, 10, 50, read=0), looking(2, 10, 50, read=10)
    assert {chunk.line.id: chunk.count for chunk in plan([at_words, at_picture], Pace(64), no_guess)} == {1: 10}
    seen = look([at_words, at_picture], Pace(64, token_s=1e-6))
    assert (seen.line, seen.count, seen.is_last) == (at_picture, 50, False)
    assert look([at_words], Pace(64)) is None


def test_a_picture_that_must_be_read_at_once_is_whatever_the_pace():
    lines = [line(1, 1), looking(2, 10, 50, read=10, is_whole=True)]
    slow = Pace(16, token_s=1.0)
    assert look(lines, slow).count == 50
    assert look([lines[0], looking(3, 10, 50, read=10)], slow).count == SMALLEST_CHUNK


def test_pictures_and_words_take_turns():
    lines, turns = [line(1, 200), looking(2, 10, 60, read=10)], Turns()
    assert [turns.next(lines, Pace(64), no_guess)[0].line.id for _ in range(4)] == [2, 1, 2, 1]


def test_beside_decoding_a_prompt_is_read_in_chunks_that_take_the_target_time():
    pace = Pace(512)
    for _ in range(50):
        pace.learn(100, 0.2)
    assert pace.room(decoding=False) == 512
    assert 55 <= pace.room(decoding=True) <= 60
    for _ in range(50):
        pace.learn(1, 1.0)
    assert pace.room(decoding=True) == SMALLEST_CHUNK


def test_a_line_shares_with_one_of_its_own_account_and_leaves_the_last_token_to_read():
    lines = Lines(8)
    first = lines.open("a", [1, 2, 3, 4])
    first.read = 3
    assert lines.best_prefix("a", [1, 2, 3, 4]) == (first, 3)
    assert lines.best_prefix("a", [1, 2]) == (first, 1)
    assert lines.best_prefix("b", [1, 2, 3, 4]) == (None, 0)


@given(st.lists(st.sampled_from(["open", "close"]), max_size=40))
def test_sequence_ids_are_neither_lost_nor_given_twice(steps):
    lines, opened = Lines(4), []
    for counter, step in enumerate(steps):
        if step == "open" and len(opened) < 4:
            opened.append(lines.open("a", [counter]))
        elif step == "close" and opened:
            lines.close(opened.pop(0))
        assert sorted(lines.live) == sorted(one.id for one in opened)
        assert len({*lines.live, *lines._free}) == len(lines.live) + len(lines._free) == 4


def test_the_line_that_came_last_waits_for_memory_until_another_ends():
    lines = Lines(4)
    first, second, third = (lines.open("a", [number, 9]) for number in range(3))
    assert lines.park_youngest() is third
    assert lines.park_youngest() is second
    assert lines.park_youngest() is None
    assert lines.are_crowded
    assert [chunk.line for chunk in plan(lines.live.values(), Pace(64), no_guess)] == [first]
    lines.close(first)
    assert (second.is_parked, third.is_parked) == (False, True)
