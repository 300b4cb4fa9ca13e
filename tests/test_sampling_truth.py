"""What the sampling fields do to the odds, seen from outside: draws counted over HTTP against what each field means.

The reference is the model's own distribution as `logprobs` tells it. Seeds are fixed, so a run repeats itself.
"""

import json
import math
from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from antiphon.engines.llamacpp.binding import library_path, load
from antiphon.engines.llamacpp.model import Weights
from tests.conftest import REAL, real_config, serving

pytestmark = pytest.mark.long

PROMPT = [{"role": "system", "content": "Yes or no?"}]  # the shortest there is: a seeded answer reads it every time
CHOICES = 64
REQUESTS = 32
DRAWS = CHOICES * REQUESTS
CHAINS = 4 * CHOICES
TOP = 20
ALWAYS = 100
Z = 3.719  # what a normal draw exceeds once in 10,000 times


@pytest.fixture(scope="module")
def crowd(tmp_path_factory, weights):
    """A server that gives 64 choices at once: 2,000 draws in 4 s instead of 27."""
    config = real_config(weights).replace("slots = 8", f"slots = {CHOICES}")
    with serving(tmp_path_factory.mktemp("crowd"), config) as server:
        yield server


def asked(server, **fields):
    body = {"model": REAL, "messages": PROMPT, "max_completion_tokens": 1, "logprobs": True, **fields}
    response = server.post(json.dumps(body))
    assert response.status_code == 200, response.text
    return response.json()["choices"]


def piece(entry):
    return bytes(entry["bytes"])


def drawn(choice):
    """The bytes of each token of a choice; nothing stands for the end of the turn."""
    return tuple(piece(entry) for entry in choice["logprobs"]["content"]) or (b"",)


@pytest.fixture(scope="module")
def model(crowd):
    """The model's own probability of its likeliest first tokens, likeliest first."""
    (choice,) = asked(crowd, top_logprobs=TOP, temperature=0, seed=1)
    top = choice["logprobs"]["content"][0]["top_logprobs"]
    assert len({piece(entry) for entry in top}) == TOP
    return {piece(entry): math.exp(entry["logprob"]) for entry in top}


@pytest.fixture(scope="module")
def token_id(weights):
    """The id of a token by its bytes."""
    pieces = Weights(load(library_path(), lambda level, line: None), Path(weights[0])).vocabulary.pieces
    return lambda token: str(pieces.index(token))


def draws(server, requests=REQUESTS, n=CHOICES, first_seed=1, **fields):
    """First tokens, in the order of their choices."""
    seeds = range(first_seed, first_seed + requests)
    return [drawn(choice)[0] for seed in seeds for choice in asked(server, n=n, seed=seed, **fields)]


@pytest.fixture(scope="module")
def plain(crowd):
    return draws(crowd, temperature=1)


def critical(freedom):
    """What chi-square exceeds once in 10,000 times, after Wilson and Hilferty."""
    spread = 2 / (9 * freedom)
    return freedom * (1 - spread + Z * math.sqrt(spread)) ** 3


def chi_square(observed, expected):
    """The statistic and its bins less one; bins in which fewer than 8 are expected go together."""
    total, rest, seen = sum(observed.values()), 0.0, 0
    statistic, bins = 0.0, 0
    for key, share in expected.items():
        if share * total < 8:
            rest, seen = rest + share * total, seen + observed[key]
            continue
        statistic, bins = statistic + (observed[key] - share * total) ** 2 / (share * total), bins + 1
    if rest >= 8:
        statistic, bins = statistic + (seen - rest) ** 2 / rest, bins + 1
    return statistic, bins - 1


def assert_drawn_from(observed, weights):
    """The draws that fell on the weighted tokens did so in proportion to the weights."""
    total = sum(weights.values())
    counts = Counter(token for token in observed if token in weights)
    statistic, freedom = chi_square(counts, {token: weight / total for token, weight in weights.items()})
    assert freedom >= 2, "there is something to compare"
    assert statistic < critical(freedom), f"chi-square {statistic:.1f} with {freedom} degrees of freedom"


def with_rest(observed, model):
    """The same, where what is not among the likeliest counts as one thing."""
    weights = model | {None: 1 - sum(model.values())}
    return [token if token in model else None for token in observed], weights


# -- temperature and top_p


@pytest.mark.parametrize("temperature", [0.5, 1.5])
def test_temperature_raises_every_probability_to_its_inverse(crowd, model, temperature):
    # Among the likeliest: the share of the others depends on log-probabilities that no answer tells.
    observed = draws(crowd, temperature=temperature)
    assert_drawn_from(observed, {token: p ** (1 / temperature) for token, p in model.items()})


def test_temperature_one_draws_from_the_models_own_distribution(plain, model):
    assert len(plain) == DRAWS
    assert_drawn_from(*with_rest(plain, model))


@pytest.mark.parametrize("top_p", [0.6, 0.75])
def test_top_p_draws_from_the_smallest_set_that_reaches_it_and_from_nothing_else(crowd, model, top_p):
    nucleus, reached = {}, 0.0
    for token, p in model.items():
        if reached < top_p:
            nucleus[token] = p
            reached += p
    assert reached >= top_p, "the likeliest tokens that are told hold the whole set"
    observed = draws(crowd, temperature=1, top_p=top_p)
    assert set(observed) <= set(nucleus)
    assert_drawn_from(observed, nucleus)


@pytest.mark.parametrize("fields", [{"temperature": 0}, {"temperature": 2, "top_p": 0}])
def test_temperature_zero_and_top_p_zero_take_the_likeliest_token_only(crowd, model, fields):
    assert set(draws(crowd, requests=2, **fields)) == {next(iter(model))}


# -- logit_bias


@pytest.mark.parametrize(("rank", "bias"), [(1, -1.0), (7, 2.0)])
def test_logit_bias_multiplies_the_odds_of_its_token_by_a_power_of_e(crowd, model, token_id, rank, bias):
    token = list(model)[rank]
    observed, weights = with_rest(draws(crowd, temperature=1, logit_bias={token_id(token): bias}), model)
    assert_drawn_from(observed, weights | {token: model[token] * math.exp(bias)})


def test_logit_bias_of_minus_100_bans_and_of_plus_100_forces(crowd, model, token_id):
    likeliest, *others = model
    assert likeliest not in draws(crowd, requests=4, temperature=1, logit_bias={token_id(likeliest): -ALWAYS})
    assert set(draws(crowd, requests=1, temperature=1, logit_bias={token_id(others[-1]): ALWAYS})) == {others[-1]}


# -- seed and n


def test_seed_gives_the_same_draws_again_and_another_seed_gives_others(crowd, plain):
    assert draws(crowd, requests=2, temperature=1) == plain[: 2 * CHOICES]
    assert len(set(zip(*[iter(plain)] * CHOICES, strict=True))) == REQUESTS, "no two seeds drew the same"


def test_n_choices_of_one_request_are_independent_draws(plain, model):
    """Of neighbours, which share a request: a pair of tokens is as likely as the product of both."""
    names = list(model)[:3]
    shares = {name: model[name] for name in names} | {None: 1 - sum(model[name] for name in names)}
    tokens = [token if token in names else None for token in plain]
    pairs = zip(tokens[::2], tokens[1::2], strict=True)
    joint = {(one, two): shares[one] * shares[two] for one, two in product(shares, repeat=2)}
    assert_drawn_from(list(pairs), joint)


def test_n_choices_are_drawn_as_single_answers_are(crowd, plain, model):
    single = draws(crowd, requests=120, n=1, first_seed=1000, temperature=1)
    assert_drawn_from(*with_rest(single, model))
    assert [draws(crowd, requests=1, n=1, first_seed=seed, temperature=1)[0] for seed in (1, 2, 3)] == plain[
        : 3 * CHOICES : CHOICES
    ], "the first of many is the one there would have been"


# -- penalties


@pytest.fixture(scope="module")
def pair(model, token_id):
    """Two tokens with their ids. A bias that leaves only these makes two log-probabilities a whole distribution."""
    return {token: token_id(token) for token in list(model)[:2]}


def chains(server, bias, first_seed=1, requests=CHAINS // CHOICES, **fields):
    """Answers of three tokens."""
    seeds = range(first_seed, first_seed + requests)
    fields = {"max_completion_tokens": 3, "logit_bias": bias, "n": CHOICES, **fields}
    return [choice for seed in seeds for choice in asked(server, seed=seed, **fields)]


@pytest.fixture(scope="module")
def after(crowd, pair):
    """The model's own log-probability of each of the two tokens after each beginning."""
    told = {}
    for choice in chains(crowd, dict.fromkeys(pair.values(), ALWAYS), requests=2, temperature=2):
        tokens = drawn(choice)
        for at, entry in enumerate(choice["logprobs"]["content"]):
            told[tokens[:at], tokens[at]] = entry["logprob"]
    return told


PENALTIES = [
    {"frequency_penalty": 2.0},
    {"frequency_penalty": -1.2},
    {"presence_penalty": 2.0},
    {"presence_penalty": -1.2},
    {"frequency_penalty": 1.3, "presence_penalty": 0.6},
]


@pytest.mark.parametrize("fields", PENALTIES)
def test_frequency_penalty_lowers_a_logit_per_time_and_presence_penalty_once(crowd, pair, after, fields):
    """Also at the first token, where neither may do anything: the prompt does not count."""
    one, other = pair
    # The first is favoured by what one penalty takes: it comes twice in many answers, where the two fields differ.
    lean = {one: 0.0, other: -max(0.0, sum(fields.values()))}
    bias = {pair[token]: ALWAYS + lean[token] for token in pair}
    answers = [drawn(choice) for choice in chains(crowd, bias, temperature=1, **fields)]
    assert {len(answer) for answer in answers} == {3}
    statistic = freedom = 0
    for length in range(3):
        for before in product((one, other), repeat=length):
            counts = Counter(answer[length] for answer in answers if answer[:length] == before)
            logits = {token: after[before, token] + lean[token] - penalty(before, token, fields) for token in pair}
            odds = {token: math.exp(logit) for token, logit in logits.items()}
            added, bins = chi_square(counts, {token: share / sum(odds.values()) for token, share in odds.items()})
            if bins > 0:
                statistic, freedom = statistic + added, freedom + bins
    assert freedom >= 4, "most beginnings were seen often enough to judge"
    assert statistic < critical(freedom), f"chi-square {statistic:.1f} with {freedom} degrees of freedom"


def penalty(before, token, fields):
    times = before.count(token)
    return fields.get("frequency_penalty", 0) * times + fields.get("presence_penalty", 0) * (times > 0)
