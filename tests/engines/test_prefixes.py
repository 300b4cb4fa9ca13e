"""What is remembered of ended sequences, for whom, and for how long."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.llamacpp.prefixes import Prefix, Prefixes, common

TOKENS = st.lists(st.integers(0, 3), max_size=12)


def remember(prefixes, account, tokens):
    if prefixes.wants(account, tokens):
        prefixes.add(Prefix(account, tokens, np.zeros(1, np.uint8)))


def kept(prefixes):
    return [prefix.tokens for prefix in prefixes._kept]


@given(TOKENS, TOKENS)
def test_the_common_beginning_is_the_longest_one(one, other):
    length = common(one, other)
    assert one[:length] == other[:length]
    assert length in {len(one), len(other)} or one[length] != other[length]


def test_a_prefix_is_found_for_its_own_account_only_and_leaves_the_last_token_to_read():
    prefixes = Prefixes(100)
    remember(prefixes, "a", [1, 2, 3, 4])
    assert prefixes.best("a", [1, 2, 3, 9], whole=False)[1] == 3
    assert prefixes.best("a", [1, 2, 3, 4], whole=False)[1] == 3
    assert prefixes.best("b", [1, 2, 3, 4], whole=False) == (None, 0)


def test_a_memory_that_cannot_be_cut_back_uses_a_prefix_to_its_last_token_or_not_at_all():
    prefixes = Prefixes(100)
    remember(prefixes, "a", [1, 2, 3])
    assert prefixes.best("a", [1, 2, 9, 9], whole=True) == (None, 0)
    assert prefixes.best("a", [1, 2, 3], whole=True) == (None, 0)
    assert prefixes.best("a", [1, 2, 3, 4], whole=True)[1] == 3


def test_what_another_one_begins_with_is_not_kept_twice():
    prefixes = Prefixes(100)
    for account, tokens in (("a", [1, 2]), ("a", [1, 2, 3]), ("a", [1]), ("b", [1, 2])):
        remember(prefixes, account, tokens)
    assert sorted(kept(prefixes)) == [[1, 2], [1, 2, 3]]


def test_what_was_used_longest_ago_is_forgotten_first():
    prefixes = Prefixes(4)
    remember(prefixes, "a", [1, 1])
    remember(prefixes, "a", [2, 2])
    prefixes.best("a", [1, 1, 5], whole=False)
    remember(prefixes, "a", [3, 3])
    assert kept(prefixes) == [[1, 1], [3, 3]]


@given(st.lists(TOKENS, max_size=12), st.integers(0, 20))
def test_no_more_tokens_are_kept_than_there_is_room_for(lines, room):
    prefixes = Prefixes(room)
    for tokens in lines:
        remember(prefixes, "a", tokens)
        assert sum(map(len, kept(prefixes))) <= room
