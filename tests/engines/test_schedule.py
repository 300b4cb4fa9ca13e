"""What goes into a batch, and which sequences are kept."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.llamacpp.schedule import SMALLEST_CHUNK, Line, Lines, Pace, common, plan


def line(number, unread, read=0):
    return Line(number, "a", list(range(read + unread)), read, arrival=number)


@given(st.lists(st.integers(0, 300), max_size=12), st.integers(16, 128))
def test_a_batch_never_overflows_repeats_a_line_or_forgets_one_that_decodes(unread, batch):
    lines = [line(number, count) for number, count in enumerate(unread)]
    chunks = plan(lines, Pace(batch))
    assert sum(chunk.count for chunk in chunks) <= batch
    assert len({chunk.line.id for chunk in chunks}) == len(chunks)
    assert all(1 <= chunk.count <= chunk.line.unread for chunk in chunks)
    decoding = [one.id for one in lines if one.unread == 1][:batch]
    assert [chunk.line.id for chunk in chunks[: len(decoding)]] == decoding
    if any(unread):
        assert chunks


def test_a_long_prompt_and_a_short_one_share_the_room():
    first, short = line(1, 1000), line(2, 20)
    counts = {chunk.line.id: chunk.count for chunk in plan([first, short], Pace(64))}
    assert counts == {1: 44, 2: 20}


def test_beside_decoding_a_prompt_is_read_in_chunks_that_take_the_target_time():
    pace = Pace(512)
    for _ in range(50):
        pace.learn(100, 0.2)
    assert pace.room(decoding=False) == 512
    assert 55 <= pace.room(decoding=True) <= 60
    for _ in range(50):
        pace.learn(1, 1.0)
    assert pace.room(decoding=True) == SMALLEST_CHUNK


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
def test_the_common_beginning_is_the_longest_one(one, other):
    length = common(one, other)
    assert one[:length] == other[:length]
    assert length in {len(one), len(other)} or one[length] != other[length]


def finished(lines, account, tokens):
    opened = lines.open(account, list(tokens))
    opened.read = len(tokens)
    lines.close(opened)


def test_a_prefix_is_found_for_its_own_account_only_and_leaves_the_last_token_to_read():
    lines = Lines(8)
    finished(lines, "a", [1, 2, 3, 4])
    assert lines.best_prefix("a", [1, 2, 3, 9])[1] == 3
    assert lines.best_prefix("a", [1, 2, 3, 4])[1] == 3
    assert lines.best_prefix("b", [1, 2, 3, 4]) == (None, 0)


def test_a_line_that_another_one_covers_is_not_kept_twice():
    lines = Lines(8)
    finished(lines, "a", [1, 2])
    finished(lines, "a", [1, 2, 3])
    finished(lines, "a", [1])
    finished(lines, "b", [1, 2])
    assert sorted(kept.tokens for kept in lines.remembered.values()) == [[1, 2], [1, 2, 3]]


def test_what_was_used_longest_ago_is_forgotten_first():
    lines = Lines(8)
    finished(lines, "a", [1])
    finished(lines, "a", [2])
    lines.touch(lines.best_prefix("a", [1, 5])[0])
    assert lines.forget_oldest().tokens == [2]


@given(st.lists(st.sampled_from(["open", "close", "forget"]), max_size=40))
def test_sequence_ids_are_neither_lost_nor_given_twice(steps):
    lines, opened = Lines(4), []
    for counter, step in enumerate(steps):
        if step == "open" and (new := lines.open("a", [counter])):
            new.read = 1
            opened.append(new)
        elif step == "close" and opened:
            lines.close(opened.pop(0))
        elif step == "forget":
            lines.forget_oldest()
        used = [*lines.live, *lines.remembered]
        assert len(set(used)) == len(used) <= 4
        assert len(lines._free) + len(used) == 4
