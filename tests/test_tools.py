"""Tools on the real model: what is forced is of its schema or grammar, and what cannot be is refused by name."""

import json
import re

import pytest

from tests.conftest import REAL

CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}


def function(parameters):
    return {"type": "function", "function": {"name": "f", "parameters": parameters}}


def asked(house, **fields):
    return house.chat(REAL, "What is the weather?", **({"temperature": 0, "max_tokens": 100} | fields))


@pytest.mark.parametrize("pattern", [r"a\\/b", r"a/b\/c", r"// #x", r"a\\\/[0-9]{2}/"])
def test_a_pattern_with_slashes_and_backslashes_is_kept(house, pattern):
    form = {"type": "grammar", "grammar": {"syntax": "regex", "definition": pattern}}
    tools = [{"type": "custom", "custom": {"name": "c", "format": form}}]
    response = asked(house, tools=tools, tool_choice="required")
    assert response.status_code == 200, response.text
    (call,) = response.json()["choices"][0]["message"]["tool_calls"]
    assert re.fullmatch(pattern, call["custom"]["input"])


@pytest.mark.parametrize(
    "parameters",
    [{"anyOf": [{"type": "string"}]}, {"$defs": {"s": {"type": "string"}}, "$ref": "#/$defs/s"}, {"enum": ["a"]}],
)
def test_parameters_that_are_no_object_are_refused_at_their_tool(house, parameters):
    for _ in range(2):
        response = asked(house, tools=[function(parameters)], tool_choice="required")
        assert response.status_code in {400, 422}
        assert response.json()["error"]["param"] == "tools[0].function.parameters"
    assert asked(house, tools=[function({"anyOf": [CITY]})], tool_choice="required").status_code == 200


@pytest.mark.parametrize("choice", ["auto", "required"])
@pytest.mark.parametrize(
    "form", [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "x", "schema": CITY}}]
)
def test_with_tools_and_a_schema_an_answer_is_a_call_or_json_and_never_prose(house, choice, form):
    response = asked(house, tools=[function(CITY)], tool_choice=choice, response_format=form)
    assert response.status_code == 200, response.text
    message = response.json()["choices"][0]["message"]
    assert bool(message.get("tool_calls")) or choice == "auto"
    for text in [call["function"]["arguments"] for call in message.get("tool_calls", ())] or [message["content"]]:
        assert text.startswith("{")
        assert "json_schema" not in form or json.loads(text)["city"] in {"Oslo", "Rome"}
