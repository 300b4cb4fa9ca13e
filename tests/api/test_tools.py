"""Calls, schemas and thinking as clients see them, on engines that say exactly this: the scripted ones."""

import json

import pytest

from tests.conftest import serving

WEATHER = {
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
TOOLS = [{"type": "function", "function": WEATHER}, {"type": "function", "function": {"name": "now"}}]
SAYS = {
    "hermes": (
        "hermes",
        "",
        ["Sure.", "<tool_", 'call>\n{"name": "weather", ', '"arguments": {"ci', 'ty": "Oslo"}}', "\n</tool_call>"],
    ),
    "llama": ("llama3", "", ['{"name": "weather", "parameters": ', '{"city": ', '"Oslo"}}']),
    "mistral": ("mistral", "", ['[TOOL_CALLS][{"name": "weather", "arguments": ', '{"city": "Oslo"}', "}]"]),
    "several": (
        "mistral",
        "",
        ['[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Oslo"}}, ', '{"name": "now", "arguments": {}}]'],
    ),
    "custom": ("hermes", "", ['<custom_call name="sql">SELECT ', "1", "</custom_call>"]),
    "wrong": ("hermes", "", ['<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}</tool_call>']),
    "text": ("hermes", "", ["Just ", "text."]),
    "thinks": ("hermes", "think", ["<think>", "\nHm.", "\n</think>", "\n\nYes."]),
    "channels": (
        "hermes",
        "channels",
        ["<|channel|>analysis<|message|>", "Hm.", "<|end|><|start|>assistant<|channel|>final<|message|>", "Yes."],
    ),
    "json": ("hermes", "", ['{"city": ', '"Oslo"', "}"]),
    "bad-json": ("hermes", "", ['{"city": ', '"Paris"', "}"]),
}


@pytest.fixture(scope="module")
def says(tmp_path_factory):
    config = ""
    for name, (calls, thinking, tokens) in SAYS.items():
        script = f'{{ calls = "{calls}", thinking = "{thinking}", tokens = {json.dumps(tokens)} }}'
        config += f'[models."say/{name}"]\n[[models."say/{name}".versions]]\nnumber = 1\nengine = "scripted"\n'
        config += f"script = {script}\n"
    with serving(tmp_path_factory.mktemp("says"), config) as server:
        yield server


def whole(says, name, **fields):
    response = says.chat(f"say/{name}", **fields)
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]


def chunks(says, name, **fields):
    response = says.chat(f"say/{name}", stream=True, **fields)
    lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", ["hermes", "llama", "mistral"])
def test_each_familys_call_comes_whole_in_openais_shape(says, name):
    choice = whole(says, name, tools=TOOLS)
    (call,) = choice["message"]["tool_calls"]
    assert call["id"].startswith("call_")
    assert call == {
        "id": call["id"],
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
    }
    assert choice["message"]["content"] == ("Sure." if name == "hermes" else None)
    assert choice["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("name", ["hermes", "llama", "mistral"])
def test_a_streamed_call_is_named_once_and_its_arguments_come_in_pieces(says, name):
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(says, name, tools=TOOLS)]
    pieces = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    first, *rest = pieces
    assert set(first) == {"index", "id", "type", "function"}
    assert first["function"] == {"name": "weather", "arguments": ""}
    assert all(set(piece) == {"index", "function"} and set(piece["function"]) == {"arguments"} for piece in rest)
    assert "".join(piece["function"]["arguments"] for piece in rest) == '{"city": "Oslo"}'
    assert len(rest) > 1 or name == "mistral"
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert deltas[-1] == {}


def test_parallel_tool_calls_lets_several_through_and_its_default_only_one(says):
    names = [call["function"]["name"] for call in whole(says, "several", tools=TOOLS)["message"]["tool_calls"]]
    assert names == ["weather"]
    both = whole(says, "several", tools=TOOLS, parallel_tool_calls=True)["message"]["tool_calls"]
    assert [call["function"]["name"] for call in both] == ["weather", "now"]
    assert len({call["id"] for call in both}) == 2
    streamed = chunks(says, "several", tools=TOOLS, parallel_tool_calls=True)
    indexes = [
        call["index"]
        for chunk in streamed
        for call in chunk["choices"][0]["delta"].get("tool_calls", [])
        if "id" in call
    ]
    assert indexes == [0, 1]


def test_a_custom_call_has_its_input_as_it_is(says):
    tools = [{"type": "custom", "custom": {"name": "sql"}}]
    (call,) = whole(says, "custom", tools=tools)["message"]["tool_calls"]
    assert (call["type"], call["custom"]) == ("custom", {"name": "sql", "input": "SELECT 1"})


def test_the_deprecated_functions_answer_as_function_call(says):
    choice = whole(says, "hermes", functions=[WEATHER])
    assert choice["message"]["function_call"] == {"name": "weather", "arguments": '{"city": "Oslo"}'}
    assert choice["finish_reason"] == "function_call"


def test_without_tools_a_call_is_text(says):
    choice = whole(says, "hermes", tools=TOOLS, tool_choice="none")
    assert choice["message"]["content"] == "".join(SAYS["hermes"][2])
    assert "tool_calls" not in choice["message"]


def test_a_named_function_finishes_with_stop_and_a_required_one_with_tool_calls(says):
    named = {"type": "function", "function": {"name": "weather"}}
    assert whole(says, "llama", tools=TOOLS, tool_choice=named)["finish_reason"] == "stop"
    assert whole(says, "llama", tools=TOOLS, tool_choice="required")["finish_reason"] == "tool_calls"


STRICT = [{"type": "function", "function": {**WEATHER, "strict": True}}]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("wrong", {"tools": STRICT}),
        ("wrong", {"tools": TOOLS, "tool_choice": "required"}),
        ("text", {"tools": TOOLS, "tool_choice": "required"}),
        (
            "bad-json",
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": WEATHER["parameters"]}}},
        ),
        ("text", {"response_format": {"type": "json_object"}}),
    ],
)
def test_an_engine_that_breaks_what_was_promised_has_failed(says, name, fields):
    """SO-09."""
    response = says.chat(f"say/{name}", **fields)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "engine_failed")
    streamed = chunks(says, name, **fields)
    assert streamed[-1]["error"]["code"] == "engine_failed"
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in streamed[:-1])


@pytest.mark.parametrize("form", [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "x"}}])
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_a_call_in_the_place_of_json_is_no_broken_promise(says, form, choice):
    said = whole(
        says, "hermes" if choice == "required" else "llama", tools=TOOLS, tool_choice=choice, response_format=form
    )
    assert said["message"]["tool_calls"][0]["function"]["arguments"] == '{"city": "Oslo"}'
    assert said["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"functions": [WEATHER], "function_call": {"name": "nobody"}}, "function_call"),
        ({"functions": [WEATHER, WEATHER]}, "functions[1]"),
        ({"tools": [*TOOLS, TOOLS[0]]}, "tools[2]"),
    ],
)
def test_a_function_that_is_not_there_or_is_there_twice_is_refused_by_name(says, fields, param):
    response = says.chat("say/hermes", **fields)
    assert (response.status_code, response.json()["error"]["param"]) == (422, param)


def test_a_call_that_nobody_promised_anything_of_is_passed_on(says):
    (call,) = whole(says, "wrong", tools=TOOLS)["message"]["tool_calls"]
    assert call["function"]["arguments"] == '{"city": "Paris"}'


def test_a_schema_is_kept_or_cut_and_says_which(says):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": WEATHER["parameters"], "strict": True}}
    assert whole(says, "json", response_format=form)["finish_reason"] == "stop"
    assert whole(says, "json", response_format=form, max_tokens=2)["finish_reason"] == "length"
    assert whole(says, "json", response_format=form, stop=["Oslo"])["finish_reason"] == "length"


@pytest.mark.parametrize("name", ["thinks", "channels"])
def test_thinking_is_told_apart_from_the_answer_and_counted(says, name):
    response = says.chat(f"say/{name}")
    message = response.json()["choices"][0]["message"]
    assert message["content"] == "Yes."
    assert message["reasoning_content"].strip() == "Hm."
    details = response.json()["usage"]["completion_tokens_details"]
    assert 0 < details["reasoning_tokens"] < response.json()["usage"]["completion_tokens"]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(says, name)]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas).strip() == "Hm."
    assert "".join(delta.get("content") or "" for delta in deltas) == "Yes."
    assert not any("think" in (delta.get("content") or "") for delta in deltas)


def test_log_probabilities_are_those_of_the_content(says):
    choice = whole(says, "text", tools=TOOLS, logprobs=True)
    joined = b"".join(bytes(entry["bytes"]) for entry in choice["logprobs"]["content"])
    assert joined.decode() == choice["message"]["content"] == "Just text."
