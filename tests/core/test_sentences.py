"""Text cut into what can be said while it is being written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.sentences import MOST_CHARS, Sentences


def cut(text, size=1):
    cutter, given_out = Sentences(), []
    for at in range(0, len(text), size):
        given_out += cutter.feed(text[at : at + size])
    return given_out + cutter.finish()


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("One. Two! Three? Four", ["One. ", "Two! ", "Three? ", "Four"]),
        ("Dr. Smith met Mr. Jones. They spoke.", ["Dr. Smith met Mr. Jones. ", "They spoke."]),
        ("It is 3.5 metres. Yes.", ["It is 3.5 metres. ", "Yes."]),
        ("See https://a.example/b.c?d=e. Then go.", ["See https://a.example/b.c?d=e. ", "Then go."]),
        ("Fruit, e.g. apples. And more.", ["Fruit, e.g. apples. ", "And more."]),
        ("1. Milk\n2. Bread\n\nThat is all.", ["1. Milk\n", "2. Bread\n\n", "That is all."]),
        ('He said "no." She left.', ['He said "no." ', "She left."]),
        ("J. R. Tolkien wrote. We read.", ["J. R. Tolkien wrote. ", "We read."]),
        ("Wait... What? Oh!", ["Wait... ", "What? ", "Oh!"]),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_sentence_ends_where_a_reader_would_say(text, pieces, size):
    assert cut(text, size) == pieces


def test_a_sentence_is_given_as_soon_as_the_next_one_begins():
    cutter = Sentences()
    assert cutter.feed("It is so. ") == []
    assert cutter.feed("A") == ["It is so. "]


@given(st.text("abc .!?\n,;—…\"'1", max_size=600), st.integers(1, 50))
def test_no_letter_is_lost_and_no_piece_too_long(text, size):
    pieces = cut(text, size)
    assert "".join(pieces).rstrip() == text.rstrip()
    assert all(len(piece) <= MOST_CHARS for piece in pieces[:-1])
    assert all(piece.strip() for piece in pieces)


def test_a_text_without_an_end_is_cut_between_words():
    pieces = cut("word " * 1000)
    assert max(map(len, pieces)) <= MOST_CHARS
    assert all(piece.endswith(" ") for piece in pieces[:-1])


def test_a_text_without_a_blank_is_cut_all_the_same():
    assert max(map(len, cut("x" * 5000))) <= MOST_CHARS
