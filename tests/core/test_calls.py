"""Calls and thinking in a model's raw text: each family's format, cut anywhere."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.calls import Began, CallReader, Content, Piece
from antiphon.core.thinking import ChannelReader, ThinkReader
from antiphon.domain.tools import CALL_FORMATS, HARMONY, HERMES, Tool, Tools

WEATHER, NOW, SQL = Tool("weather"), Tool("now"), Tool("sql", "custom")
ARGUMENTS = '{"city": "Pa\\"ris}", "days": [1, {"a": 2}]}'


def tools(*, parallel=True, required=False):
    offered = (WEATHER, NOW, SQL)
    return Tools(offered, offered, is_required=required, is_parallel=parallel)


def read(reader, text, cuts=()):
    """Feed a text in pieces; give (content, reasoning, calls)."""
    parts, at = [], 0
    for cut in [*sorted(cuts), len(text)]:
        parts += reader.feed(text[at:cut])
        at = cut
    parts += reader.finish()
    content = "".join(part.text for part in parts if isinstance(part, Content) and not part.is_reasoning)
    reasoning = "".join(part.text for part in parts if isinstance(part, Content) and part.is_reasoning)
    calls = []
    for part in parts:
        if isinstance(part, Began):
            calls.append([part.kind, part.name, ""])
        elif isinstance(part, Piece):
            calls[-1][2] += part.text
    return content, reasoning, [tuple(call) for call in calls]


TWO_HERMES_CALLS = (
    f'Let me see.\n<tool_call>\n{{"name": "weather", "arguments": {ARGUMENTS}}}\n</tool_call>\n'
    '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
)
CASES = {
    "hermes": (
        "hermes",
        TWO_HERMES_CALLS,
        "Let me see.\n",
    ),
    "llama3": (
        "llama3",
        f'{{"name": "weather", "parameters": {ARGUMENTS}}}; {{"name": "now", "parameters": {{}}}}',
        "",
    ),
    "llama3 with its tag": (
        "llama3",
        f'<|python_tag|>{{"name": "weather", "parameters": {ARGUMENTS}}};{{"name": "now", "parameters": {{}}}}',
        "",
    ),
    "mistral": (
        "mistral",
        f'[TOOL_CALLS][{{"name": "weather", "arguments": {ARGUMENTS}}}, {{"name": "now", "arguments": {{}}}}]',
        "",
    ),
}


@pytest.mark.parametrize("case", CASES)
@given(st.data())
def test_each_familys_calls_are_read_however_the_text_is_cut(case, data):
    form, text, content = CASES[case]
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=12))
    said = read(CallReader(tools(), CALL_FORMATS[form]), text, cuts)
    assert said == (content, "", [("function", "weather", ARGUMENTS), ("function", "now", "{}")])


@pytest.mark.parametrize("case", CASES)
def test_where_one_call_is_allowed_the_first_is_all_there_is(case):
    form, text, content = CASES[case]
    said = read(CallReader(tools(parallel=False), CALL_FORMATS[form]), text, range(len(text)))
    assert said == (content, "", [("function", "weather", ARGUMENTS)])


@given(st.data())
def test_a_custom_calls_input_is_taken_as_it_is(data):
    text = 'Now: <custom_call name="sql">SELECT "<a>" </custom_\n</custom_call>\nDone.'
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=12))
    content, _, calls = read(CallReader(tools(), HERMES), text, cuts)
    assert calls == [("custom", "sql", 'SELECT "<a>" </custom_\n')]
    assert content.startswith("Now: ")


@pytest.mark.parametrize(
    "text",
    [
        "Just text.",
        "a < b and <tool_calm> and <custom_ca",
        "<tool_call>no JSON</tool_call>",
        '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>',
        '<custom_call name="unknown">x</custom_call>',
        '{"name": "weather"} is how JSON looks',
        "<tool_call>" + "x" * 1200,
        "",
    ],
)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_what_is_no_call_is_content_as_it_was_written(text, step):
    content, _, calls = read(CallReader(tools(), HERMES), text, range(0, len(text), step))
    assert (content, calls) == (text, [])


def test_a_call_whose_keys_come_in_another_order_is_read_when_it_is_whole():
    text = '<tool_call>{"arguments": {"city": "Oslo"}, "name": "weather"}</tool_call>'
    _, _, ((_, name, arguments),) = read(CallReader(tools(), HERMES), text, range(len(text)))
    assert (name, json.loads(arguments)) == ("weather", {"city": "Oslo"})


@pytest.mark.parametrize("step", [1, 1000])
def test_arguments_written_as_a_string_are_the_json_in_it(step):
    text = '<tool_call>{"name": "weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}</tool_call>'
    _, _, ((_, _, arguments),) = read(CallReader(tools(), HERMES), text, range(0, len(text), step))
    assert json.loads(arguments) == {"city": "Oslo"}


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ('{"arguments": {}, "name": ["weather"]}', None),
        ('{"name": "a\\q", "arguments": {}}', None),
        ('{"arguments": ' + "[" * 100_000 + ', "name": "weather"}', None),
        ('{"arguments": {"a": "\\ud800"}, "name": "weather"}', '{"a": "?"}'),
        ('{"name": "weather", "arguments": null}', "{}"),
        ('{"name": "weather"}', "{}"),
    ],
    ids=range(6),
)
def test_no_call_however_odd_breaks_the_reader(call, arguments):
    text = f"<tool_call>{call}</tool_call>"
    content, _, calls = read(CallReader(tools(), HERMES), text)
    assert (content, calls) == ((text, []) if arguments is None else ("", [("function", "weather", arguments)]))


def test_a_bare_list_of_calls_is_read_where_an_opener_begins_like_it():
    text = f'[{{"name": "weather", "arguments": {ARGUMENTS}}}]'
    for step in (1, 1000):
        said = read(CallReader(tools(required=True), CALL_FORMATS["mistral"]), text, range(0, len(text), step))
        assert said == ("", "", [("function", "weather", ARGUMENTS)])


@pytest.mark.parametrize("text", ["<tool", "<tool_call>", '<tool_call>\n{"name": "wea'])
def test_a_required_call_for_whose_name_there_was_no_room_is_not_content(text):
    assert read(CallReader(tools(required=True), HERMES), text) == ("", "", [])


def test_an_opener_that_is_a_control_token_is_never_content():
    for text in ("[TOOL_CALLS]no", "[TOOL_CALLS][TOOL_CALLS]", "[TOOL_CALLS]" + "x" * 1200):
        content, _, calls = read(CallReader(tools(), CALL_FORMATS["mistral"]), text)
        assert (content, calls) == (text.replace("[TOOL_CALLS]", ""), [])


def test_a_call_that_is_cut_short_is_told_as_far_as_it_came():
    text = '<tool_call>\n{"name": "weather", "arguments": {"city": "Os'
    assert read(CallReader(tools(), HERMES), text)[2] == [("function", "weather", '{"city": "Os')]


@given(st.data())
def test_thinking_between_tags_is_no_content(data):
    text = "\n<think>\nFirst < this.\n</think>\n\nThe answer: <think> is a word."
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=12))
    content, reasoning, _ = read(ThinkReader(None, is_thinking=False), text, cuts)
    assert (content, reasoning) == ("The answer: <think> is a word.", "First < this.\n")


def test_thinking_that_the_prompt_opened_begins_at_once_and_may_never_end():
    assert read(ThinkReader(None, is_thinking=True), "hm</think>yes", range(13)) == ("yes", "hm", [])
    assert read(ThinkReader(None, is_thinking=True), "hm, hm</thi", range(11)) == ("", "hm, hm</thi", [])


def test_a_model_that_did_not_think_has_said_only_content():
    assert read(ThinkReader(None, is_thinking=False), "<thing> is content", range(18)) == (
        "<thing> is content",
        "",
        [],
    )


def test_a_call_behind_thinking_is_read():
    text = '<think>x</think>\n<tool_call>{"name": "now", "arguments": {}}</tool_call>'
    reader = ThinkReader(CallReader(tools(), HERMES), is_thinking=False)
    assert read(reader, text, range(len(text))) == ("", "x", [("function", "now", "{}")])


@given(st.data())
def test_channels_are_thinking_content_and_calls(data):
    text = (
        "<|channel|>analysis<|message|>Hm < 3.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|end|>"
        "<|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>"
        '{"city": "Oslo"}<|call|>'
    )
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=12))
    said = read(ChannelReader(CallReader(tools(), HARMONY), tools()), text, cuts)
    assert said == ("Yes.", "Hm < 3.", [("function", "weather", '{"city": "Oslo"}')])


def test_a_recipient_before_the_channel_is_called():
    text = "<|start|>assistant to=functions.weather<|channel|>commentary json<|message|>{}<|call|>"
    assert read(ChannelReader(None, tools()), text, range(len(text)))[2] == [("function", "weather", "{}")]


def test_a_custom_call_in_the_final_channel_is_one_and_none_is_made_of_a_message_to_it():
    for text, calls in (
        ('<|channel|>final<|message|><custom_call name="sql">SELECT</custom_call>', [("custom", "sql", "SELECT")]),
        ("<|channel|>commentary to=functions.sql<|message|>SELECT", []),
    ):
        reader = ChannelReader(CallReader(tools(), HARMONY), tools())
        assert read(reader, text, range(len(text)))[2] == calls


def test_where_one_call_is_allowed_the_first_message_to_a_function_is_all_there_is():
    one = "<|start|>assistant<|channel|>commentary to=functions.now<|message|>{}<|end|>"
    reader = ChannelReader(None, tools(parallel=False))
    assert read(reader, one + one, range(len(one))) == ("", "", [("function", "now", "{}")])


def test_a_model_that_forgot_its_channels_has_said_only_content():
    assert read(ChannelReader(None, tools()), "Yes < no.", range(9)) == ("Yes < no.", "", [])
