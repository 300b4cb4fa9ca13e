"""Predicted outputs on the real engine, counted in the engine's own state: what was guessed, and what it saved."""

import time

import pytest

from tests.conftest import REAL

STORY = "Write a story about a lighthouse keeper and his dog."


def ask(house, **fields):
    """Ask; give the text, the usage, and how many steps and rows the engine took."""
    before = house.engine_state()
    response = house.chat(REAL, STORY, **({"temperature": 0, "max_tokens": 150} | fields))
    after = house.engine_state()
    assert response.status_code == 200, response.text
    body = response.json()
    text = body["choices"][0]["message"]["content"]
    return text, body["usage"], after.steps - before.steps, after.read_tokens - before.read_tokens


@pytest.fixture(scope="module")
def plain(house):
    ask(house)
    return ask(house)


def content(text):
    return {"prediction": {"type": "content", "content": text}}


def counts(usage):
    details = usage["completion_tokens_details"]
    return details["accepted_prediction_tokens"], details["rejected_prediction_tokens"]


def test_an_exact_prediction_gives_the_same_text_in_a_fraction_of_the_steps(house, plain):
    text, usage, steps, _ = ask(house, **content(plain[0]))
    assert text == plain[0]
    assert steps < plain[2] / 5
    accepted, rejected = counts(usage)
    assert accepted > 0.8 * plain[1]["completion_tokens"]
    assert rejected == 0


@pytest.mark.parametrize("change", ["one word", "a part is missing", "a part is new", "all of it"])
def test_accepted_and_rejected_are_all_that_was_put_to_the_model(house, plain, change):
    words = plain[0].split(" ")
    middle = len(words) // 2
    predicted = {
        "one word": " ".join([*words[:middle], "XYZ", *words[middle + 1 :]]),
        "a part is missing": " ".join(words[:10] + words[30:]),
        "a part is new": " ".join([*words[:middle], "and so it went on and on until", *words[middle:]]),
        "all of it": "This will not be said. " * 30,
    }[change]
    text, usage, steps, rows = ask(house, **content(predicted))
    accepted, rejected = counts(usage)
    assert text == plain[0]
    visible = usage["completion_tokens"] - rejected
    assert visible == plain[1]["completion_tokens"]
    read = usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]
    assert rows == read + visible - 1 + rejected, "every row is a token of the prompt, the answer or a wrong guess"
    assert steps < plain[2] / 2 or change == "all of it"
    assert accepted > visible / 2 or change == "all of it"


def test_a_useless_prediction_costs_few_wrong_guesses(house, plain):
    _, usage, _, _ = ask(house, **content("Nothing of this is ever said. " * 40))
    assert counts(usage)[1] < 0.15 * plain[1]["completion_tokens"]


def test_a_prediction_of_megabytes_holds_nobody_up(house, plain):
    begun = time.perf_counter()
    text, *_ = ask(house, max_tokens=20, **content(plain[0] + "lorem ipsum dolor sit amet " * 140_000))
    assert plain[0].startswith(text)
    assert time.perf_counter() - begun < 8, "its tokens alone took 15 s, on the thread that makes everyone's prompt"


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 1.0, "seed": 7},
        {"n": 3},
        {"stop": ["dog", "sea"]},
        {"logprobs": True, "top_logprobs": 2},
        {"frequency_penalty": 1.0},
        {"stream": True},
        {"response_format": {"type": "json_object"}, "max_tokens": 60},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_prediction_changes_no_answer_whatever_else_is_asked(house, plain, fields):
    def answer(**more):
        response = house.chat(REAL, STORY, **({"temperature": 0, "max_tokens": 60} | fields | more))
        assert response.status_code == 200, response.text
        if fields.get("stream"):
            pieces = [line for line in response.text.splitlines() if '"content":' in line]
            return [piece.split('"delta":')[1] for piece in pieces]
        return [choice["message"]["content"] for choice in response.json()["choices"]]

    assert answer(**content(plain[0])) == answer()
