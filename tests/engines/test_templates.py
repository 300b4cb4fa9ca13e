"""The real engine under other models' manners: templates that open thinking, know tools, or have knobs."""

import contextlib
import json

import pytest

from tests.conftest import REAL, real_config, serving
from tests.gguf import with_template

TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
THINKING = TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}{# </think> #}"
KNOBS = (
    "{% if tools %}<|im_start|>system\nTools: {{ tools | tojson }}\nAnswer <tool_call> JSON </tool_call><|im_end|>\n"
    "{% endif %}{% if verbosity %}<|im_start|>system\nVerbosity: {{ verbosity }}<|im_end|>\n{% endif %}"
    "{% if enable_thinking is defined and not enable_thinking %}<|im_start|>system\nnothink<|im_end|>\n{% endif %}"
    + TURNS
    + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]},
    },
}


@contextlib.contextmanager
def mannered(home, weights, template, names=None):
    """A server whose model has another template, and other names for some control tokens."""
    path = with_template(weights[0], home / "model.gguf", template, names)
    with serving(home, real_config((path, "")).replace('sha256 = ""\n', "")) as server:
        yield server


@pytest.fixture(scope="module")
def thinker(tmp_path_factory, weights):
    with mannered(tmp_path_factory.mktemp("thinker"), weights, THINKING) as server:
        yield server


@pytest.fixture(scope="module")
def knobbed(tmp_path_factory, weights):
    with mannered(tmp_path_factory.mktemp("knobbed"), weights, KNOBS) as server:
        yield server


def ask(server, **fields):
    response = server.chat(REAL, "What is the weather?", **({"temperature": 0, "max_tokens": 120} | fields))
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize(("effort", "most"), [("none", 0), ("minimal", 64), ("high", 90)])
def test_thinking_that_the_prompt_opens_keeps_its_budget_and_is_told_apart(thinker, effort, most):
    body = ask(thinker, reasoning_effort=effort, logit_bias={"2": -100}).json()
    message, usage = body["choices"][0]["message"], body["usage"]
    thought = usage["completion_tokens_details"]["reasoning_tokens"]
    assert thought <= most + 8, "the budget, and the tokens that close it"
    assert usage["completion_tokens"] == 120
    assert message["content"].strip()
    assert "think>" not in message["content"]
    assert bool(message.get("reasoning_content", "").strip()) is (most > 0)


def test_a_stop_string_ends_the_answer_and_not_the_thinking_before_it(thinker):
    choice = ask(thinker, reasoning_effort="minimal", logit_bias={"2": -100}, stop=["e"]).json()["choices"][0]
    assert "e" in choice["message"]["reasoning_content"]
    assert "e" not in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"


def test_a_schema_holds_behind_the_thinking(thinker):
    body = ask(thinker, reasoning_effort="minimal", max_tokens=300, tools=[WEATHER], tool_choice="required").json()
    (call,) = body["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"])["city"] in {"Oslo", "Rome"}


def test_a_template_that_knows_tools_is_given_them_and_nothing_is_described(knobbed):
    plain = ask(knobbed).json()["usage"]["prompt_tokens"]
    response = ask(knobbed, tools=[WEATHER], tool_choice="required")
    assert "x-antiphon-parameters" not in response.headers
    assert response.json()["usage"]["prompt_tokens"] > plain + 20
    (call,) = response.json()["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"])["city"] in {"Oslo", "Rome"}


def test_a_templates_own_knobs_are_turned_instead_of_instructions(knobbed):
    counts = [ask(knobbed, **fields).json()["usage"]["prompt_tokens"] for fields in ({}, {"verbosity": "low"})]
    assert counts[1] > counts[0]
    assert "x-antiphon-parameters" not in ask(knobbed, verbosity="low").headers
    quiet = ask(knobbed, reasoning_effort="none").json()["usage"]["prompt_tokens"]
    assert quiet > counts[0]
