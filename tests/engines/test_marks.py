"""Models whose control tokens tell the parts of an answer apart: these are read, and no client ever sees them."""

import json

import jsonschema_rs
import pytest

from antiphon.engines.llamacpp.binding import library_path, load
from antiphon.engines.llamacpp.model import Weights
from antiphon.engines.llamacpp.preparing import Preparer
from antiphon.engines.llamacpp.protocol import Start, Turn
from antiphon.engines.llamacpp.template import ChatTemplate
from tests.engines.test_templates import THINKING, TURNS, WEATHER, ask, mannered
from tests.gguf import with_template

HARMONY = (
    "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}"
    "{% if tools %}<|start|>developer<|message|>{{ tools | tojson }}<|end|>{% endif %}"
    "<|start|>assistant{# <|channel|> #}"
)
MISTRAL = (
    TURNS + "{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}{% endif %}{# [TOOL_CALLS] #}<|im_start|>assistant\n"
)
LLAMA3 = TURNS + '{% if tools %}{"parameters": {{ tools | tojson }}{% endif %}<|im_start|>assistant\n'
NAMES = {
    "<repo_name>": "<|start|>",
    "<file_sep>": "<|channel|>",
    "<filename>": "<|message|>",
    "<gh_stars>": "<|end|>",
    "<issue_start>": "<|constrain|>",
    "<issue_comment>": "<|call|>",
    "<issue_closed>": "<|return|>",
    "<jupyter_start>": "<think>",
    "<jupyter_text>": "</think>",
    "<jupyter_code>": "[TOOL_CALLS]",
    "<jupyter_output>": "<|python_tag|>",
}
TOOL_CALLS = "13"
CITY = WEATHER["function"]["parameters"] | {"additionalProperties": False}
SQL = {
    "type": "custom",
    "custom": {
        "name": "sql",
        "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "SELECT [a-z]{1,8}"}},
    },
}


@pytest.fixture(scope="module")
def channelled(tmp_path_factory, weights):
    with mannered(tmp_path_factory.mktemp("channelled"), weights, HARMONY, NAMES) as server:
        yield server


def start(*turns, tools):
    return Start(b"x", "", turns, 1, None, (), 0, 1, 0, 0, {}, None, -1, tools)


def streamed(server, **fields):
    """Give a stream's content, thinking and arguments."""
    lines = ask(server, stream=True, **fields).text.split("\n")
    deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in lines if line.startswith("data: {")]
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    return (
        "".join(delta.get("content") or "" for delta in deltas),
        "".join(delta.get("reasoning_content") or "" for delta in deltas),
        "".join(call.get("function", {}).get("arguments", "") for call in calls),
    )


@pytest.mark.parametrize("effort", ["none", "low"])
def test_a_call_that_is_required_of_a_model_with_channels_satisfies_its_schema(channelled, effort):
    fields = {"tools": [WEATHER], "tool_choice": "required", "reasoning_effort": effort, "max_tokens": 400}
    if effort == "low":  # its thinking never ends by itself: the model was not trained on channels
        fields["logit_bias"] = {"7": 100}
    choice = ask(channelled, **fields).json()["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"])["city"] in {"Oslo", "Rome"}
    assert choice["message"]["content"] is None
    assert choice["finish_reason"] == "tool_calls"
    assert streamed(channelled, **fields)[2] == call["function"]["arguments"]


def test_a_custom_call_that_is_required_of_a_model_with_channels_is_of_its_grammar(channelled):
    message = ask(channelled, tools=[SQL], tool_choice="required", reasoning_effort="none").json()["choices"][0][
        "message"
    ]
    (call,) = message["tool_calls"]
    assert call["type"] == "custom"
    assert call["custom"]["input"].startswith("SELECT ")


def test_json_from_a_model_with_channels_satisfies_its_schema(channelled):
    form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": CITY}}
    message = ask(channelled, response_format=form, reasoning_effort="none").json()["choices"][0]["message"]
    assert jsonschema_rs.is_valid(CITY, json.loads(message["content"]))


@pytest.mark.parametrize("fields", [{}, {"tools": [WEATHER]}, {"logit_bias": {"5": 100}}, {"logit_bias": {"6": 90}}])
def test_no_channel_mark_is_ever_content(channelled, fields):
    message = ask(channelled, **fields, max_tokens=40).json()["choices"][0]["message"]
    told = (message["content"] or "") + message.get("reasoning_content", "")
    assert "<|" not in told
    content, reasoning, _ = streamed(channelled, **fields, max_tokens=40)
    assert content + reasoning == told


def test_a_model_that_forgets_its_channels_has_answered_all_the_same(channelled):
    assert ask(channelled, max_tokens=10).json()["choices"][0]["message"]["content"]


def test_thinking_between_control_tokens_is_told_apart(tmp_path, weights):
    with mannered(tmp_path, weights, THINKING, NAMES) as server:
        body = ask(server, reasoning_effort="minimal", logit_bias={"2": -100}).json()
        message = body["choices"][0]["message"]
        assert message["reasoning_content"].strip()
        assert message["content"].strip()
        assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] <= 64 + 8
        stray = ask(server, reasoning_effort="none", logit_bias={"11": 100, "12": 100}, max_tokens=20).json()
        assert "think>" not in (stray["choices"][0]["message"]["content"] or "")


def test_an_opener_that_opens_no_call_is_not_content(tmp_path, weights):
    with mannered(tmp_path, weights, MISTRAL, NAMES) as server:
        for fields in ({"tools": [WEATHER]}, {}, {"tools": [WEATHER], "tool_choice": "none"}):
            choice = ask(server, **fields, logit_bias={TOOL_CALLS: 100}, max_tokens=8).json()["choices"][0]
            assert not choice["message"]["content"]
        (call,) = ask(server, tools=[WEATHER], tool_choice="required").json()["choices"][0]["message"]["tool_calls"]
        assert json.loads(call["function"]["arguments"])["city"] in {"Oslo", "Rome"}


@pytest.mark.parametrize(
    ("template", "marks", "call_marks"),
    [
        (HARMONY, {5, 6, 3, 7, 8, 9, 10}, {5, 6, 3, 7, 8, 9, 10}),
        (THINKING, {11, 12}, {11, 12}),
        (MISTRAL, set(), {13}),
        (LLAMA3, set(), {14}),
        (TURNS, set(), set()),
    ],
)
def test_only_the_marks_of_a_templates_own_kind_are_shown(tmp_path, weights, template, marks, call_marks):
    path = with_template(weights[0], tmp_path / "model.gguf", template, NAMES)
    vocabulary = Weights(load(library_path(), lambda level, line: None), path).vocabulary
    preparer = Preparer(vocabulary, ChatTemplate(template, bos="", eos=""), 1000)
    forged = (Turn("user", "".join(NAMES.values())),)
    for tools, shown in (("", marks), (json.dumps([WEATHER]), call_marks)):
        request = preparer.prepare(None, start(*forged, tools=tools))
        assert set(request.marks) == shown
        plain = preparer.prepare(None, start(Turn("user", "-"), tools=tools))
        controls = [[t for t in made.prompt if t in vocabulary.control.values()] for made in (request, plain)]
        assert controls[0] == controls[1], "what a user writes is never read as control"
