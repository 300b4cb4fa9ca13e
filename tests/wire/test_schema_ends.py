"""References that lead nowhere, and those that do."""

import time

import pytest

from antiphon.wire.schema_ends import references_end

LEAF = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["next"]}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
        {"type": "array", "minItems": 1, "items": {"$ref": "#"}},
        {"allOf": [{"$ref": "#"}]},
    ],
)
def test_what_no_finite_json_satisfies_is_found(schema):
    assert not references_end(schema)


@pytest.mark.parametrize(
    "schema",
    [
        LEAF,
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {"type": "array", "items": {"$ref": "#"}},
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "string"}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"enum": [1]}}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"$ref": "#x"}}, "required": ["a"], "$defs": {"x": {"$anchor": "x"}}},
    ],
)
def test_what_has_an_end_is_left_alone(schema):
    assert references_end(schema)


@pytest.mark.parametrize(
    "odd",
    [{"$ref": "#/allOf/²"}, {"$ref": "#/allOf/" + "9" * 5_000}, {"type": "object", "properties": {}, "required": [[]]}],
    ids=["superscript", "huge", "list"],
)
def test_what_looks_like_a_schema_and_is_none_is_no_error(stage, odd):
    """Validators do not look into defaults, so anything may stand there."""
    function = {"name": "f", "parameters": {"type": "object", "allOf": [{}], "default": odd}}
    answer = stage.chat("test/hello", tools=[{"type": "function", "function": function}])
    assert answer.status_code in {200, 400}, answer.text


def test_a_long_chain_of_references_is_followed_in_no_time():
    chain = {f"a{number}": {"$ref": f"#/$defs/a{number + 1}"} for number in range(2_000)}
    begun = time.process_time()
    assert references_end({"$defs": {**chain, "a2000": {"type": "null"}}, "$ref": "#/$defs/a0"})
    assert not references_end({"$defs": {**chain, "a2000": {"$ref": "#/$defs/a0"}}, "$ref": "#/$defs/a0"})
    assert time.process_time() - begun < 1, "it took 12 s when each round asked every schema again"
