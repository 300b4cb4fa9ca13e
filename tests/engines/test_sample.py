"""Draws follow what their parameters mean."""

import math

import numpy as np
import pytest

from antiphon.engines.llamacpp.protocol import Start
from antiphon.engines.llamacpp.sample import Sampler, score

LOGITS = np.array([2.0, 1.0, 0.0, -1.0, -2.0, -30.0], np.float32)


def start(**fields):
    neutral = {
        "id": b"", "account": "", "turns": (), "n": 1, "max_tokens": None, "stop": (), "temperature": 1.0, "top_p": 1.0,
        "frequency_penalty": 0.0, "presence_penalty": 0.0, "logit_bias": {}, "seed": 1, "logprobs": -1,
    }  # fmt: skip
    return Start(**(neutral | fields))


def shares(draws=4000, logits=LOGITS, **fields):
    """The share of each token in many first draws."""
    counts = np.zeros(len(logits))
    for seed in range(draws):
        counts[Sampler(start(seed=seed, **fields), 0).draw(logits)[0]] += 1
    return counts / draws


def softmax(logits):
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def assert_follows(observed, expected, draws=4000):
    """Chi-square at a level that one run in a million fails by chance."""
    rare = expected * draws < 5
    assert (observed[rare] * draws < 30).all()
    expected, observed = expected[~rare] * draws, observed[~rare] * draws
    assert ((observed - expected) ** 2 / expected).sum() < 40


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_draws_are_in_proportion_to_the_softmax_at_the_temperature(temperature):
    assert_follows(shares(temperature=temperature), softmax(LOGITS.astype(float) / temperature))


@pytest.mark.parametrize(("top_p", "kept"), [(0.5, 1), (0.64, 2), (0.9, 3), (0.96, 4)])
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p, kept):
    expected = softmax(LOGITS.astype(float))
    expected[kept:] = 0
    assert_follows(shares(top_p=top_p), expected / expected.sum())


def test_top_p_finds_its_set_in_a_flat_distribution_of_many_tokens_too():
    flat = np.zeros(50_000, np.float32)
    drawn = {Sampler(start(seed=seed, top_p=0.5), 0).draw(flat)[0] for seed in range(300)}
    assert max(drawn) < 25_001
    assert len(drawn) > 250


def test_temperature_zero_takes_the_likeliest_token_whatever_the_seed():
    assert shares(50, temperature=0.0)[0] == 1


def test_a_bias_is_added_to_the_logit():
    biased = LOGITS.astype(float)
    biased[2] += 1.5
    assert_follows(shares(logit_bias={2: 1.5}), softmax(biased))
    assert shares(200, logit_bias={0: -100})[0] == 0


@pytest.mark.parametrize(("frequency", "presence"), [(0.7, 0.0), (0.0, 0.7), (0.5, -1.0), (-0.5, 0.0)])
def test_penalties_count_what_was_drawn_and_nothing_else(frequency, presence):
    """Draw token 1 three times and token 4 once, then compare the next draw's distribution with the formula."""
    observed = np.zeros(len(LOGITS))
    forced = [np.where(np.arange(6) == token, 50, -50).astype(np.float32) for token in (1, 1, 4, 1)]
    for seed in range(4000):
        sampler = Sampler(start(seed=seed, frequency_penalty=frequency, presence_penalty=presence), 0)
        for logits in forced:
            sampler.draw(logits)
        observed[sampler.draw(LOGITS)[0]] += 1
    expected = LOGITS.astype(float)
    expected[1] -= 3 * frequency + presence
    expected[4] -= frequency + presence
    assert_follows(observed / 4000, softmax(expected))


def test_a_seed_repeats_a_choice_and_choices_differ():
    def draws(choice, seed=9):
        sampler = Sampler(start(seed=seed, temperature=2.0), choice)
        return [sampler.draw(LOGITS)[0] for _ in range(40)]

    assert draws(0) == draws(0)
    assert draws(0) != draws(1)
    assert draws(0) != draws(0, -9)
    assert draws(0, None) != draws(0, None)


def test_log_probabilities_are_of_the_logits_as_they_came():
    sampler = Sampler(start(logprobs=3, temperature=0.1, logit_bias={3: 100.0}), 0)
    token, scored = sampler.draw(LOGITS)
    expected = np.log(softmax(LOGITS.astype(float)))
    assert token == scored.token == 3
    assert math.isclose(scored.logprob, expected[3], abs_tol=1e-5)
    assert [i for i, _ in scored.top] == [0, 1, 2]
    assert np.allclose([p for _, p in scored.top], expected[:3], atol=1e-5)
    assert score(LOGITS, 0, 0).top == ()


def test_the_logits_are_left_as_they_were():
    before = LOGITS.copy()
    Sampler(start(logit_bias={0: 5.0}, frequency_penalty=1.0), 0).draw(LOGITS)
    assert (before == LOGITS).all()
