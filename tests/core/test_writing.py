"""Tokens to text: stops, characters, log-probabilities."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.writing import ChoiceWriter, StopCutter
from antiphon.domain.events import TokenLogprob


def write(pieces, stops=()):
    """Write pieces until a stop; give the text, the log-probability entries and whether it stopped."""
    writer, texts, entries = ChoiceWriter(0, stops), [], []
    for piece in pieces:
        delta, stopped = writer.add(piece, TokenLogprob("", piece, -1.0))
        if delta:
            texts.append(delta.text)
            entries += delta.logprobs
        if stopped:
            break
    else:
        stopped = False
    if delta := writer.finish():
        texts.append(delta.text)
        entries += delta.logprobs
    return texts, entries, stopped


def cut(text, size):
    return [text[i : i + size] for i in range(0, len(text), size)]


@given(st.text(max_size=60), st.integers(1, 7))
def test_any_cut_of_the_bytes_gives_the_same_text_and_no_piece_is_broken(text, size):
    texts, entries, _ = write(cut(text.encode(), size))
    assert "".join(texts) == text
    assert b"".join(entry.bytes for entry in entries) == text.encode()


@given(st.text("abc", max_size=40), st.lists(st.text("abc", min_size=1, max_size=4), max_size=4), st.integers(1, 5))
def test_a_stop_string_is_found_across_any_cut_and_no_part_of_it_is_shown(text, stops, size):
    texts, entries, stopped = write(cut(text.encode(), size), tuple(stops))
    ends = [text.find(stop) for stop in stops if stop in text]
    assert stopped == bool(ends)
    shown = "".join(texts)
    assert b"".join(entry.bytes for entry in entries) == shown.encode()
    # Of several stop strings the first to be complete ends the text, at the earliest of those complete by then.
    assert all(stop not in shown for stop in stops)
    assert text.startswith(shown)
    if not ends:
        assert shown == text


def test_what_might_begin_a_stop_string_is_held_back_and_given_when_it_does_not():
    cutter = StopCutter(("STOP",))
    assert cutter.feed("a ST") == ("a ", False)
    assert cutter.feed("AR") == ("STAR", False)
    assert cutter.feed("S") == ("", False)
    assert cutter.flush() == "S"


def test_a_character_cut_off_by_the_end_is_dropped_with_its_entry():
    texts, entries, _ = write([b"a", "é".encode()[:1]])
    assert ("".join(texts), [entry.bytes for entry in entries]) == ("a", [b"a"])


def test_bytes_that_are_no_text_become_a_replacement_character():
    texts, _, _ = write([b"a\xff", b"b"])
    assert "".join(texts) == "a�b"


def test_an_entry_comes_with_the_delta_that_shows_its_text():
    writer = ChoiceWriter(0)
    first, second = "€".encode()[:1], "€".encode()[1:]
    assert writer.add(first, TokenLogprob("", first, -1.0)) == (None, False)
    delta, _ = writer.add(second, TokenLogprob("", second, -1.0))
    assert (delta.text, delta.tokens, len(delta.logprobs)) == ("€", 2, 2)


def test_the_token_that_a_stop_string_begins_in_is_trimmed_to_what_is_shown():
    texts, entries, stopped = write([b"one t", b"wo three"], (" two",))
    assert ("".join(texts), stopped) == ("one", True)
    assert [entry.bytes for entry in entries] == [b"one"]


def test_no_byte_of_a_stop_string_shows_behind_a_broken_character():
    writer = ChoiceWriter(0, (" ",))
    writer.add(b"\xf0\x9f", TokenLogprob("\ufffd", b"\xf0\x9f", -1.0))
    delta, stopped = writer.add(b" ", TokenLogprob(" ", b" ", -1.0))
    assert stopped
    assert delta.text == "\ufffd"
    assert all(b" " not in entry.bytes for entry in delta.logprobs)
