"""Each of the seed's 20 fields on the real model: effective, or refused by name.

The table below is the promise; a field that stops having its effect fails its line.
"""

import json
from pathlib import Path

import pytest

from antiphon.engines.llamacpp.binding import library_path, load
from antiphon.engines.llamacpp.model import Weights
from antiphon.settings import read_settings
from tests.conftest import REAL

ASK = "Write one sentence about the sea."
STORY = "Write a story about a lighthouse keeper."
GREEDY = {"temperature": 0, "max_tokens": 24}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def answer(house, text=ASK, **fields):
    response = house.chat(REAL, text, **(GREEDY | fields))
    assert response.status_code == 200, response.text
    return response.json()


def said(house, text=ASK, **fields):
    return answer(house, text, **fields)["choices"][0]["message"]["content"]


def tokens(completion, choice=0):
    return [entry["token"] for entry in completion["choices"][choice]["logprobs"]["content"]]


def first_token_id(house):
    """The id of the first token of the greedy answer: the one whose ban changes it."""
    plain = answer(house, max_tokens=1, logprobs=True)
    wanted = tokens(plain)[0]
    config = read_settings(file=house.home / "antiphon.toml").models[REAL].versions[0]
    library = load(library_path(), lambda level, line: None)
    vocabulary = Weights(library, Path(config.weights.removeprefix("file:"))).vocabulary
    return vocabulary.tokenize(wanted, control=False)[0], wanted


def test_model_chooses_what_answers_and_is_named_as_it_was_asked(house):
    assert answer(house)["model"] == REAL
    assert house.chat(REAL + ":1", **GREEDY).json()["model"] == REAL + ":1"
    assert house.chat("nobody/nothing").status_code == 404


def test_messages_of_every_role_reach_the_model(house):
    turns = [
        {"role": "developer", "content": "You answer in one word."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}],
            "name": "ann",
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", **TOOL, "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "42", "tool_call_id": "c"},
        {"role": "function", "name": "f", "content": "43"},
        {"role": "user", "content": "And?"},
    ]
    counts = []
    for length in (2, 4, 5, 6):
        body = {"model": REAL, "messages": turns[:length], "max_tokens": 1}
        response = house.post(json.dumps(body))
        assert response.status_code == 200, response.text
        counts.append(response.json()["usage"]["prompt_tokens"])
    assert counts == sorted(set(counts)), "each turn adds tokens to the prompt"


def test_frequency_penalty_counts_each_repetition_in_the_completion_only(house):
    text = STORY  # no 80 tokens of which are all different
    assert said(house, text, max_tokens=80, seed=1, frequency_penalty=2) != said(house, text, max_tokens=80, seed=1)
    # One token has nothing before it in the completion: the prompt's many repetitions must not count.
    first = [answer(house, text, max_tokens=1, frequency_penalty=p, logprobs=True) for p in (-2, 0, 2)]
    assert len({tokens(completion)[0] for completion in first}) == 1


def test_presence_penalty_changes_what_follows_a_repeated_token(house):
    text = STORY
    assert said(house, text, max_tokens=80, seed=1, presence_penalty=2) != said(house, text, max_tokens=80, seed=1)
    first = [answer(house, text, max_tokens=1, presence_penalty=p, logprobs=True) for p in (-2, 0, 2)]
    assert len({tokens(completion)[0] for completion in first}) == 1


def test_logit_bias_bans_a_token_and_forces_one(house):
    token, text = first_token_id(house)
    assert not said(house, logit_bias={str(token): -100}).startswith(text)
    forced = answer(house, "Something else.", max_tokens=5, logit_bias={str(token): 100}, logprobs=True)
    assert tokens(forced) == [text] * 5
    refused = house.chat(REAL, logit_bias={"999999": 1})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "logit_bias")


def test_logprobs_join_to_the_content_and_top_logprobs_are_sorted_distributions(house):
    completion = answer(house, logprobs=True, top_logprobs=5)
    entries = completion["choices"][0]["logprobs"]["content"]
    content = completion["choices"][0]["message"]["content"]
    assert b"".join(bytes(entry["bytes"]) for entry in entries).decode() == content
    for entry in entries:
        top = [other["logprob"] for other in entry["top_logprobs"]]
        assert len(top) == 5
        assert top == sorted(top, reverse=True)
        assert entry["logprob"] == pytest.approx(top[0]), "a greedy token is the likeliest one"
    bare = answer(house, logprobs=True)["choices"][0]["logprobs"]["content"]
    assert all(entry["top_logprobs"] == [] for entry in bare)
    assert answer(house)["choices"][0]["logprobs"] is None


def test_logprobs_are_the_models_own_before_temperature_and_bias(house):
    token, _ = first_token_id(house)
    plain = answer(house, max_tokens=1, logprobs=True, top_logprobs=3)
    bent = answer(
        house, max_tokens=1, logprobs=True, top_logprobs=3, temperature=2, logit_bias={str(token): 50}, top_p=0.1
    )
    first = [c["choices"][0]["logprobs"]["content"][0]["top_logprobs"] for c in (plain, bent)]
    assert first[0] == first[1]


@pytest.mark.parametrize("field", ["max_completion_tokens", "max_tokens"])
def test_max_completion_tokens_ends_the_answer_and_says_so(house, field):
    completion = house.chat(REAL, ASK, temperature=0, **{field: 3}).json()
    assert completion["choices"][0]["finish_reason"] == "length"
    assert completion["usage"]["completion_tokens"] == 3


def test_n_gives_different_choices_that_share_one_reading_of_the_prompt(house):
    one = answer(house, temperature=1, seed=5)
    three = answer(house, temperature=1, seed=5, n=3)
    texts = [choice["message"]["content"] for choice in three["choices"]]
    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert texts[0] == one["choices"][0]["message"]["content"], "a choice does not depend on how many there are"
    assert three["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]
    refused = house.chat(REAL, n=9)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "n")


def test_stop_cuts_the_answer_and_is_no_part_of_it(house):
    whole = said(house)
    stop = whole[5:9]
    completion = answer(house, stop=[stop, "never"], logprobs=True)
    cut = completion["choices"][0]["message"]["content"]
    assert cut == whole[: whole.index(stop)]
    assert completion["choices"][0]["finish_reason"] == "stop"
    assert b"".join(bytes(e["bytes"]) for e in completion["choices"][0]["logprobs"]["content"]).decode() == cut
    assert stop not in house.chat(REAL, ASK, stream=True, stop=stop, **GREEDY).text.replace('"', "")


def test_temperature_zero_repeats_itself_and_one_does_not(house):
    assert said(house) == said(house)
    assert len({said(house, temperature=1) for _ in range(4)}) > 1


def test_top_p_near_zero_is_greedy_at_any_temperature(house):
    assert said(house, temperature=2, top_p=1e-6) == said(house)
    assert said(house, temperature=2, top_p=0) == said(house)


def test_seed_repeats_an_answer_and_another_seed_changes_it(house):
    assert said(house, temperature=1, seed=11) == said(house, temperature=1, seed=11)
    assert said(house, temperature=1, seed=11) != said(house, temperature=1, seed=-12)


SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": SCHEMA}}


def calls(house, **fields):
    return answer(house, **({"max_tokens": 200} | fields))["choices"][0]["message"].get("tool_calls", [])


def test_tools_and_tool_choice_required_always_give_one_valid_call(house):
    for temperature in (0, 2):
        (call,) = calls(house, tools=[WEATHER], tool_choice="required", temperature=temperature)
        arguments = json.loads(call["function"]["arguments"])
        assert call["function"]["name"] == "weather"
        assert arguments["city"] in {"Oslo", "Rome"}
        assert 1 <= arguments["days"] <= 9


def test_tool_choice_names_the_one_that_is_called_and_none_calls_nothing(house):
    both = [WEATHER, {"type": "function", "function": {"name": "now"}}]
    named = answer(house, tools=both, tool_choice={"type": "function", "function": {"name": "now"}}, max_tokens=100)
    (call,) = named["choices"][0]["message"]["tool_calls"]
    assert (call["function"]["name"], call["function"]["arguments"]) == ("now", "{}")
    assert named["choices"][0]["finish_reason"] == "stop"
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "weather"}}]}
    (call,) = calls(house, tools=both, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert call["function"]["name"] == "weather"
    assert calls(house, tools=both, tool_choice="none") == []


def test_parallel_tool_calls_allows_several_and_is_off_by_default(house):
    asked = {"tools": [WEATHER], "tool_choice": "required", "max_tokens": 400}
    assert len(calls(house, **asked)) == 1
    assert len(calls(house, **asked, parallel_tool_calls=True)) > 1


def test_prediction_changes_the_speed_and_never_the_text(house):
    plain = answer(house, STORY, max_tokens=120)
    text = plain["choices"][0]["message"]["content"]
    counted = plain["usage"]["completion_tokens"]
    for predicted in (text, text[:200] + " xyz " + text[200:], "Nothing like it. " * 20):
        guessed = answer(house, STORY, max_tokens=120, prediction={"type": "content", "content": predicted})
        assert guessed["choices"][0]["message"]["content"] == text
        details = guessed["usage"]["completion_tokens_details"]
        assert guessed["usage"]["completion_tokens"] == counted + details["rejected_prediction_tokens"]
        assert (details["accepted_prediction_tokens"] > counted // 2) == (predicted[:50] == text[:50])


def test_verbosity_adds_one_instruction_and_says_so(house):
    lengths = {}
    for level in ("low", "medium", "high"):
        response = house.chat(REAL, ASK, **GREEDY, verbosity=level)
        lengths[level] = response.json()["usage"]["prompt_tokens"]
        said = response.headers.get("x-antiphon-parameters")
        assert said == (None if level == "medium" else "verbosity=instruction")
    assert len(set(lengths.values())) == 3


def test_reasoning_effort_has_nothing_to_constrain_on_a_model_that_does_not_reason(house):
    response = house.chat(REAL, ASK, **GREEDY, reasoning_effort="high")
    assert response.headers["x-antiphon-parameters"] == "reasoning_effort=nothing to constrain"
    record = house.record(response.headers["x-request-id"])
    assert record["parameters"] == ["reasoning_effort=nothing to constrain"]
    assert response.json()["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


def test_response_format_gives_json_of_the_schema(house):
    named = {"name": "x", "schema": SCHEMA, "strict": True}
    said_json = said(house, response_format={"type": "json_schema", "json_schema": named}, max_tokens=100)
    assert json.loads(said_json)["city"] in {"Oslo", "Rome"}
    assert isinstance(json.loads(said(house, response_format={"type": "json_object"}, max_tokens=200)), dict)


def test_functions_and_function_call_answer_in_the_deprecated_form(house):
    asked = {"functions": [WEATHER["function"]], "function_call": {"name": "weather"}}
    choice = answer(house, **asked, max_tokens=200)["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"]["name"] == "weather"
    assert "tool_calls" not in choice["message"]


REFUSED = {
    "audio": {"audio": {"voice": "alloy", "format": "wav"}, "modalities": ["text", "audio"]},
    "modalities": {"modalities": ["audio", "text"], "audio": {"voice": "alloy", "format": "wav"}},
}


@pytest.mark.parametrize("field", sorted(REFUSED))
def test_a_field_that_cannot_be_honoured_yet_is_refused_by_name(house, field):
    response = house.chat(REAL, **REFUSED[field])
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["code"] == "unsupported_parameter"
    assert error["param"] in REFUSED[field]
    assert field == error["param"] or field == "modalities"


def test_the_table_and_the_tests_above_cover_the_seed():
    seed = {
        *("model", "messages", "audio", "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens"),
        *("modalities", "n", "parallel_tool_calls", "prediction", "presence_penalty", "reasoning_effort", "stop"),
        *("temperature", "top_p", "tool_choice", "tools", "top_logprobs", "verbosity"),
    }
    tested = {name for name in globals() if name.startswith("test_")}
    for field in seed - set(REFUSED):
        assert any(field in name for name in tested), field
