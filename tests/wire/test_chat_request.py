"""Every field of a request: what is valid, what null means, and what each fault is called."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.domain.errors import AntiphonError, InvalidRequest
from antiphon.wire.chat_request import read_chat
from antiphon.wire.chat_schema import FIELDS
from antiphon.wire.json_in import Limits

MESSAGES = [{"role": "user", "content": "x"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CUSTOM = {"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def read(**fields):
    body = {"model": "a/b", "messages": MESSAGES} | fields
    return read_chat(json.dumps(body).encode(), Limits())


def faults(**fields):
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)
    return [(fault.param, fault.code) for fault in caught.value.faults]


TYPE, ABOVE, BELOW, VALUE = "invalid_type", "integer_above_max_value", "integer_below_min_value", "invalid_value"
FAULTS = [
    ("model", [(None, "missing_required_parameter"), (1, TYPE), ("a", VALUE)]),
    ("messages", [(None, "missing_required_parameter"), ([], "empty_array"), ("x", TYPE), ({}, TYPE)]),
    ("audio", [("x", TYPE)]),
    ("frequency_penalty", [(2.5, "decimal_above_max_value"), (-3, BELOW), ("1", TYPE), (True, TYPE)]),
    ("presence_penalty", [(2.5, "decimal_above_max_value"), (-3, BELOW), ("1", TYPE), (True, TYPE)]),
    ("logit_bias", [([], TYPE), (1, TYPE)]),
    ("logprobs", [(1, TYPE), ("true", TYPE)]),
    ("top_logprobs", [(21, ABOVE), (-1, BELOW), (True, TYPE), ("1", TYPE), (1, VALUE)]),
    ("max_completion_tokens", [(0, BELOW), (2**31, ABOVE), (1.5, TYPE), (True, TYPE)]),
    ("max_tokens", [(0, BELOW), (2**31, ABOVE), (1.5, TYPE), (True, TYPE)]),
    ("modalities", [([], "empty_array"), ("text", TYPE)]),
    ("n", [(0, BELOW), (129, ABOVE), ("1", TYPE), (True, TYPE), (1.5, TYPE)]),
    ("parallel_tool_calls", [(1, TYPE), ("true", TYPE), (True, VALUE)]),
    ("prediction", [("x", TYPE)]),
    ("reasoning_effort", [("huge", VALUE), (1, VALUE)]),
    ("stop", [([], "empty_array"), (["x"] * 5, "array_above_max_length"), ("", "string_below_min_length"), (1, TYPE)]),
    ("temperature", [(2.1, "decimal_above_max_value"), (-1, BELOW), ("1", TYPE), (True, TYPE)]),
    ("top_p", [(1.5, "decimal_above_max_value"), (-1, BELOW), ("1", TYPE), (True, TYPE)]),
    ("tool_choice", [("auto", VALUE), (TOOL["function"] | {"type": "function", "function": {"name": "g"}}, None)]),
    ("tools", [([], "empty_array"), ({}, TYPE)]),
    ("verbosity", [("loud", VALUE), (1, VALUE)]),
    ("stream", [(1, TYPE), ("true", TYPE)]),
    ("stream_options", [(1, TYPE), ({"include_usage": True}, VALUE)]),
    ("response_format", [("json", TYPE)]),
    ("seed", [(2**63, ABOVE), (-(2**63) - 1, BELOW), ("1", TYPE), (True, TYPE)]),
    ("user", [(1, TYPE), ("x" * 600, "string_above_max_length")]),
    ("metadata", [([], TYPE), ({str(i): "" for i in range(17)}, "object_above_max_properties")]),
    ("store", [(1, TYPE)]),
    ("service_tier", [("gold", VALUE)]),
    ("safety_identifier", [("x" * 65, "string_above_max_length")]),
    ("prompt_cache_key", [(1, TYPE)]),
    ("functions", [([], "empty_array")]),
    ("function_call", [("auto", VALUE)]),
]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        pytest.param(field, value, code, id=f"{field}-{place}")
        for field, cases in FAULTS
        for place, (value, code) in enumerate(cases)
        if code
    ],
)
def test_a_fault_names_its_field_and_what_it_is(field, value, code):
    assert (field, code) in faults(**{field: value})


def test_the_table_of_faults_has_every_field():
    assert {field for field, _ in FAULTS} == FIELDS


@pytest.mark.parametrize("field", sorted(FIELDS - {"model", "messages"}))
def test_null_is_not_asked_for_every_optional_field(field):
    assert read(**{field: None}) == read()


NEUTRAL = {
    "frequency_penalty": 0,
    "presence_penalty": 0.0,
    "logit_bias": {},
    "logprobs": False,
    "modalities": ["text"],
    "n": 1,
    "parallel_tool_calls": False,
    "temperature": 1,
    "tool_choice": "none",
    "top_p": 1.0,
    "verbosity": "medium",
    "response_format": {"type": "text"},
}


@pytest.mark.parametrize("field", sorted(NEUTRAL))
def test_a_neutral_value_asks_for_nothing(field):
    assert read(**{field: NEUTRAL[field]}).asked == ()


ASKED = {
    "audio": {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "function_call": {"functions": [TOOL["function"]], "function_call": "auto"},
    "functions": {"functions": [TOOL["function"]]},
    "logit_bias": {"logit_bias": {"1": -100}},
    "logprobs": {"logprobs": True},
    "max_completion_tokens": {"max_completion_tokens": 5},
    "modalities": {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
    "n": {"n": 2},
    "parallel_tool_calls": {"tools": [TOOL], "parallel_tool_calls": True},
    "prediction": {"prediction": {"type": "content", "content": "x"}},
    "presence_penalty": {"presence_penalty": -1},
    "reasoning_effort": {"reasoning_effort": "low"},
    "response_format": {"response_format": {"type": "json_object"}},
    "seed": {"seed": 0},
    "stop": {"stop": "x"},
    "temperature": {"temperature": 0},
    "tool_choice": {"tools": [TOOL], "tool_choice": "required"},
    "tools": {"tools": [CUSTOM]},
    "top_logprobs": {"logprobs": True, "top_logprobs": 20},
    "top_p": {"top_p": 0.5},
    "verbosity": {"verbosity": "low"},
}


@pytest.mark.parametrize("field", sorted(ASKED))
def test_a_field_with_another_value_is_asked_for_by_name(field):
    assert field in {asked.feature for asked in read(**ASKED[field]).asked}


def test_the_deprecated_name_for_the_most_tokens_is_told_as_it_was_sent_and_loses_to_the_new_one():
    (asked,) = read(max_tokens=3).asked
    assert (asked.feature, asked.param) == ("max_completion_tokens", "max_tokens")
    assert read(max_tokens=3, max_completion_tokens=5).sampling.max_tokens == 5


def test_a_whole_number_may_be_written_with_a_point():
    assert read(n=2.0, seed=3.0).sampling.n == 2


PARTS = {
    "image_url": {"url": "http://x/y.png"},
    "input_audio": {"data": "AA==", "format": "wav"},
    "file": {"file_id": "f"},
}


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"type": "image_url", "image_url": {"url": "data:,", "detail": "huge"}}, "image_url.detail"),
        ({"type": "image_url", "image_url": {"url": "data:,", "detail": 3}}, "image_url.detail"),
        ({"type": "input_audio", "input_audio": {"data": "aa", "format": "webm"}}, "input_audio.format"),
        ({"type": "input_audio", "input_audio": {"data": "aa"}}, "input_audio.format"),
        ({"type": "text", "text": 3}, "text"),
        ({"type": "file", "file": "x"}, "file"),
    ],
)
def test_what_is_wrong_within_a_part_is_found_there_only_and_not_at_the_content_too(part, place):
    content = [{"type": "text", "text": "a"}, part]
    assert [param for param, _ in faults(messages=[{"role": "user", "content": content}])] == [
        f"messages[0].content[1].{place}"
    ]


def test_content_of_a_wrong_type_is_found_at_the_content():
    assert faults(messages=[{"role": "user", "content": 3}]) == [("messages[0].content", TYPE)]


@pytest.mark.parametrize("kind", sorted(PARTS))
def test_a_content_part_that_is_not_text_is_asked_for_with_its_place(kind):
    content = [{"type": "text", "text": "x"}, {"type": kind, kind: PARTS[kind]}]
    (asked,) = read(messages=[{"role": "user", "content": content}]).asked
    assert (asked.feature, asked.param) == (kind, "messages[0].content[1]")


def test_every_role_is_read_and_text_parts_are_joined_by_line_breaks():
    messages = [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "u", "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "t", "tool_call_id": "c1"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "content": "r", "name": "f"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "user", "content": ""},
    ]
    request = read(messages=messages)
    assert [message.text for message in request.messages] == ["s", "a\nb", "u", "", "t", "", "r", "no", ""]
    assert request.messages[3].tool_calls[0].name == "f"
    assert request.asked == ()


@pytest.mark.parametrize(
    "extra",
    [
        {"annotations": [], "audio": None, "function_call": None, "tool_calls": None, "refusal": None},
        {"parsed": {"x": 1}, "tool_calls": None},
        {"content": None, "tool_calls": [CALL | {"function": CALL["function"] | {"parsed_arguments": {}}}]},
    ],
    ids=["dump", "parsed", "node"],
)
def test_what_sdks_send_back_of_an_answer_is_taken(extra):
    answer = {"role": "assistant", "content": "x"} | extra
    tail = [{"role": "tool", "content": "t", "tool_call_id": "c1"}] if extra.get("tool_calls") else []
    assert read(messages=[*MESSAGES, answer, *tail]).messages[1].role == "assistant"


TOOL_TURN = {"role": "tool", "content": "t", "tool_call_id": "c1"}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([TOOL_TURN], "messages[0].tool_call_id"),
        ([CALLING, TOOL_TURN, TOOL_TURN], "messages[2].tool_call_id"),
        ([CALLING, MESSAGES[0]], "messages[0].tool_calls"),
        ([CALLING], "messages[0].tool_calls"),
        ([CALLING, TOOL_TURN | {"tool_call_id": "other"}], "messages[1].tool_call_id"),
        ([CALLING | {"tool_calls": []}], "messages[0].tool_calls"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id"),
        ([{"role": "user", "content": []}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": [{"type": "video"}]}], "messages[0].content[0].type"),
        ([{"role": "narrator", "content": "x"}], "messages[0].role"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": "x", "name": "two words"}], "messages[0].name"),
        ([{"role": "user", "content": "x", "nmae": "x"}], "messages[0].nmae"),
        (
            [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            "messages[0].content[0].type",
        ),
    ],
    ids=range(17),
)
def test_a_message_that_cannot_be_is_refused_at_its_place(messages, param):
    assert param in [found for found, _ in faults(messages=messages)]


def nested(depth):
    return {"type": "object", "properties": {"x": nested(depth - 1)}} if depth else {"type": "string"}


@pytest.mark.parametrize("schema", [nested(20), {"description": "x" * 70_000}], ids=["deep", "large"])
def test_a_schema_too_deep_or_too_large_is_refused(schema):
    """SO-01, as far as its size."""
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    assert ("tools[0].function.parameters", VALUE) in faults(tools=[tool])
    response_format = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    assert ("response_format.json_schema.schema", VALUE) in faults(response_format=response_format)


def test_unknown_fields_are_collected_by_names_a_header_can_carry():
    assert read(top_k=1, **{"x\r\ny": 2, "é": 3}).ignored == ("?", "top_k", "x??y")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), JSON, max_size=6))
def test_any_json_in_any_field_is_read_or_refused_by_name(fields):
    """PARSE-14, for the reader alone."""
    try:
        read_chat(json.dumps({"model": "a/b", "messages": MESSAGES} | fields).encode(), Limits())
    except AntiphonError as error:
        assert error.status in {413, 422}
        assert isinstance(error, InvalidRequest)
        assert all(fault.loc[0] == "body" for fault in error.faults)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64) | st.text(alphabet='{}[]":,\\ud8001eE-+.ntf', max_size=64).map(str.encode))
def test_any_bytes_are_read_or_refused(raw):
    with pytest.raises(InvalidRequest):
        read_chat(raw, Limits())


def test_a_schema_that_was_found_wrong_is_found_wrong_wherever_it_stands_again():
    endless = {"$ref": "#"}
    tools = [{"type": "function", "function": {"name": name, "parameters": endless}} for name in "fg"]
    places = [(f"tools[{index}].function.parameters", VALUE) for index in range(2)]
    for _ in range(2):
        assert faults(tools=tools) == places
        response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": endless}}
        assert faults(response_format=response_format) == [("response_format.json_schema.schema", VALUE)]
