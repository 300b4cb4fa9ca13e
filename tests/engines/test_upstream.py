"""Antiphon in front of another server: what that lacks, breaks or leaks reaches no client."""

import base64
import io
import itertools
import json
import socket
import time
import wave

import openai
import pytest
from PIL import Image

from tests import mock_upstream as mock
from tests.conftest import serving, until
from tests.mock_upstream import CLOSE, END, HOLD, RESET, STREAM, MockUpstream, delta, event, piece, plain, said, stream
from tests.streams import CLIENT

SECRET = "sk-upstream-secret-0123456789"
KINDS = ("openai", "vllm", "llama-server", "ollama")
MODELS = 150


@pytest.fixture(scope="module")
def upstream():
    server = MockUpstream()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _usual(upstream):
    upstream.asked.clear()
    upstream.cue = mock.usual


def toml(value):
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {toml(one)}' for key, one in value.items())} }}"
    return json.dumps(value)


def version(name, url, kind="openai", **options):
    lines = {"engine": "upstream", "model": "there", "base_url": url, "kind": kind, "probe_s": 0.0} | options
    body = "".join(f"{key} = {toml(value)}\n" for key, value in lines.items())
    return f'[models."{name}"]\nslots = 16\n[[models."{name}".versions]]\nnumber = 1\n{body}'


@pytest.fixture(scope="module")
def front(tmp_path_factory, upstream):
    """A server whose models are all the mock's: `up/N`, each with a breaker of its own, and one of each kind."""
    options = {"api_key_env": "UPSTREAM_KEY", "headers": {"x-team": "chat"}}
    config = "".join(version(f"up/{number}", upstream.url, **options) for number in range(MODELS))
    config += "".join(version(f"kind/{kind}", upstream.url, kind=kind) for kind in KINDS)
    config += version("up/sees", upstream.url, has=["image_url", "input_audio"])
    config += version("up/thinks", upstream.url, thinking="think")
    config += version("up/silent", upstream.url, silence_s=1.5)
    with serving(tmp_path_factory.mktemp("front"), config, UPSTREAM_KEY=SECRET) as server:
        yield server


@pytest.fixture(scope="module")
def numbers():
    return itertools.count()


@pytest.fixture
def model(numbers):
    """A model whose breaker nobody has touched."""
    return f"up/{next(numbers)}"


@pytest.fixture(scope="module")
def picture_bytes():
    out = io.BytesIO()
    Image.effect_noise((40, 30), 50).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def wav_bytes():
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\1\0" * 8000)
    return out.getvalue()


def frames(response):
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def text_of(events):
    return "".join(
        choice["delta"].get("content") or "" for one in events if one != "[DONE]" for choice in one.get("choices", [])
    )


def assert_hides(response, upstream):
    shown = response.text + str(response.headers)
    for secret in (SECRET, upstream.url, f":{upstream.port}", "org-", "Traceback"):  # a bare port may stand in an id
        assert secret not in shown


# -- the usual


def test_a_whole_answer_is_the_upstreams_under_our_ids_names_and_counts(front, upstream, model):
    answer = front.chat(model).json()
    assert answer["choices"][0]["message"]["content"] == "Hello!"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["model"] == model
    assert answer["id"].startswith("chatcmpl-")
    assert answer["usage"]["total_tokens"] == 8
    (asked,) = upstream.asked
    assert asked.body["model"] == "there"
    assert "stream" not in asked.body


def test_a_stream_is_streamed_and_ends_with_its_usage(front, upstream, model):
    events = frames(front.chat(model, stream=True, stream_options={"include_usage": True}))
    assert text_of(events) == "Hello!"
    assert events[-1] == "[DONE]"
    assert events[-2]["usage"]["completion_tokens"] == 3
    assert upstream.asked[0].body["stream_options"] == {"include_usage": True}


def test_the_key_and_the_headers_go_there_and_the_clients_own_go_nowhere(front, upstream, model):
    front.chat(model, user="alice", metadata={"a": "b"}, safety_identifier="x", headers={"x-mine": "1"})
    (asked,) = upstream.asked
    assert asked.headers["authorization"] == f"Bearer {SECRET}"
    assert asked.headers["x-team"] == "chat"
    assert "x-mine" not in asked.headers
    assert not {"user", "metadata", "safety_identifier", "store"} & set(asked.body)


def test_every_parameter_is_passed_on_with_its_value(front, upstream, model):
    fields = {
        "temperature": 0.5, "top_p": 0.9, "frequency_penalty": 0.1, "presence_penalty": -0.2, "seed": 7,
        "logit_bias": {"5": -100.0}, "max_completion_tokens": 9, "stop": ["x"], "logprobs": True, "top_logprobs": 2,
        "reasoning_effort": "low", "verbosity": "high", "prediction": {"type": "content", "content": "Hello"},
    }  # fmt: skip
    front.chat(model, **fields)  # It fails in the end: the mock gives no log-probabilities.
    assert {name: upstream.asked[0].body.get(name) for name in fields} == fields


def test_what_is_neutral_here_is_said_since_servers_have_defaults_of_their_own(front, upstream, model):
    front.chat(model)
    assert {name: upstream.asked[0].body[name] for name in ("temperature", "top_p")} == {"temperature": 1, "top_p": 1}


def test_openais_client_reads_it(front, model):
    client = openai.OpenAI(base_url=f"{front.url}/v1", api_key=front.key, http_client=CLIENT)
    told = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}], stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in told if chunk.choices) == "Hello!"


# -- what some lack


def test_choices_that_the_server_cannot_give_are_asked_for_one_by_one(front, upstream):
    upstream.cue = lambda asked: plain(said(f"seed {asked.body['seed']}"))
    answer = front.chat("kind/ollama", n=3, seed=5)
    assert [one["message"]["content"] for one in answer.json()["choices"]] == ["seed 5", "seed 6", "seed 7"]
    assert [one["index"] for one in answer.json()["choices"]] == [0, 1, 2]
    assert answer.json()["usage"] | {"completion_tokens": 9} == answer.json()["usage"]
    assert answer.json()["usage"]["prompt_tokens"] == 5
    assert answer.headers["x-antiphon-parameters"] == "n=asked one by one"
    assert all("n" not in asked.body for asked in upstream.asked)


def test_one_of_several_choices_that_fails_fails_them_all_and_stops_the_others(front, upstream):
    turns = itertools.count()

    def cue(asked):
        if next(turns) != 1:
            return [HOLD]
        until(lambda: len(upstream.asked) == 3)  # What fails sooner keeps the last from being asked.
        return plain({}, 500)

    upstream.cue = cue
    answer = front.chat("kind/ollama", n=3)
    assert answer.status_code == 502
    until(lambda: sum(asked.was_left for asked in upstream.asked) == 2)


def test_a_bias_that_the_server_would_ignore_is_refused_by_name(front, upstream):
    answer = front.chat("kind/ollama", logit_bias={"5": 1})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "logit_bias"
    assert upstream.asked == []


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"$ref": "#/$defs/City"}}, "required": ["city"],
                       "$defs": {"City": {"type": "string"}}},
    },
}  # fmt: skip
CALL = {
    "index": 0,
    "id": "call_a",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
}


@pytest.mark.parametrize("kind", ["ollama", "llama-server"])
def test_a_call_that_the_server_cannot_be_made_to_make_is_forced_by_a_schema(front, upstream, kind):
    upstream.play(*plain(said('{"name": "weather", "arguments": {"city": "Rome"}}')))
    answer = front.chat(f"kind/{kind}", tools=[WEATHER], tool_choice="required")
    (choice,) = answer.json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Rome"}'}
    body = upstream.asked[0].body
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["arguments"]["properties"] == {"city": {"$ref": "#/$defs/City"}}
    assert schema["$defs"] == {"City": {"type": "string"}}
    assert "tools" not in body
    assert "weather" in body["messages"][0]["content"]


def test_a_forced_call_that_is_not_made_is_no_success(front, upstream, model):
    upstream.play(*plain(said("I would rather not.")))
    for name in ("kind/ollama", model):
        assert front.chat(name, tools=[WEATHER], tool_choice="required").status_code == 502


def test_calls_come_through_whole_and_streamed(front, upstream, model):
    upstream.play(*plain(said(None, "stop", tool_calls=[CALL])))
    (choice,) = front.chat(model, tools=[WEATHER]).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [{k: v for k, v in CALL.items() if k != "index"}]
    first = CALL | {"function": {"name": "weather", "arguments": ""}}
    rest = {"index": 0, "function": {"arguments": '{"city": "Rome"}'}}
    upstream.play(*stream(delta(tool_calls=[first]), delta(tool_calls=[rest]), delta(finish="stop")))
    events = frames(front.chat(model, tools=[WEATHER], stream=True))
    calls = [call for one in events[:-1] for choice in one["choices"] for call in choice["delta"].get("tool_calls", [])]
    assert calls[0]["id"] == "call_a"
    assert "".join(call["function"]["arguments"] for call in calls) == '{"city": "Rome"}'
    assert events[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert upstream.asked[0].body["parallel_tool_calls"] is False


def test_a_second_call_is_dropped_where_there_may_be_one(front, upstream, model):
    second = CALL | {"index": 1, "id": "call_b"}
    upstream.play(*plain(said(None, tool_calls=[CALL, second])))
    one = front.chat(model, tools=[WEATHER]).json()["choices"][0]["message"]["tool_calls"]
    both = front.chat(model, tools=[WEATHER], parallel_tool_calls=True).json()["choices"][0]["message"]["tool_calls"]
    assert [call["id"] for call in one] == ["call_a"]
    assert [call["id"] for call in both] == ["call_a", "call_b"]


def test_arguments_that_are_an_object_and_ids_that_are_none_are_put_right(front, upstream, model):
    broken = {"function": {"name": "weather", "arguments": {"city": "Rome"}}}
    upstream.play(*plain(said("", "stop", tool_calls=[broken])))
    (call,) = front.chat(model, tools=[WEATHER]).json()["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Rome"}
    assert call["id"].startswith("call_")


def test_a_call_of_what_was_not_offered_is_no_success(front, upstream, model):
    upstream.play(*plain(said(None, tool_calls=[CALL | {"function": {"name": "rm", "arguments": "{}"}}])))
    assert front.chat(model, tools=[WEATHER]).status_code == 502


def test_a_schema_is_asked_for_and_held_to(front, upstream, model):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    upstream.play(*plain(said('{"a": 1}')))
    assert front.chat(model, response_format=form).json()["choices"][0]["message"]["content"] == '{"a": 1}'
    assert upstream.asked[0].body["response_format"]["json_schema"]["schema"] == schema
    upstream.play(*plain(said('{"a": "1"}')))
    assert front.chat(model, response_format=form).status_code == 502


def test_a_stop_string_that_the_server_lets_through_is_cut_and_the_server_is_left(front, upstream, model):
    upstream.play(STREAM, *(piece(event(delta(part))) for part in ("one ST", "OP two", " three")), HOLD)
    events = frames(front.chat(model, stream=True, stop=["STOP"]))
    assert text_of(events) == "one "
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    until(lambda: upstream.asked[0].was_left)


def test_calls_behind_a_stop_string_are_not_made(front, upstream, model):
    upstream.play(*plain(said("one STOP two", "tool_calls", tool_calls=[CALL])))
    (choice,) = front.chat(model, tools=[WEATHER], stop=["STOP"]).json()["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", "one ")
    assert "tool_calls" not in choice["message"]


def test_thinking_is_told_apart_however_it_comes(front, upstream, model):
    upstream.play(*plain(said("Four.", reasoning_content="2+2")))
    answer = front.chat(model).json()
    assert answer["choices"][0]["message"]["reasoning_content"] == "2+2"
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 1
    upstream.play(*plain(said("<think>2+2</think>Four.")))
    answer = front.chat("up/thinks").json()
    message = answer["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("2+2", "Four.")
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 1


def test_logprobs_join_to_the_text_also_where_a_stop_string_cuts_it(front, upstream, model):
    entries = [
        {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []}
        for token in ("Hel", "lo", " END")
    ]
    upstream.play(*plain(said("Hello END") | {"choices": [
        {"index": 0, "finish_reason": "stop", "message": {"content": "Hello END"}, "logprobs": {"content": entries}},
    ]}))  # fmt: skip
    choice = front.chat(model, logprobs=True, top_logprobs=0, stop=["lo E"]).json()["choices"][0]
    shown = b"".join(bytes(entry["bytes"]) for entry in choice["logprobs"]["content"])
    assert (choice["message"]["content"], shown) == ("Hel", b"Hel")


def scored(*tokens, **rest):
    """A choice with log-probabilities, as vLLM writes them."""
    entries = [{"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []} for token in tokens]
    return {"index": 0, "finish_reason": None, "logprobs": {"content": entries}} | rest


FIRST = scored("Hé", delta={"content": "Hé"})


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        (stream({"choices": [FIRST]}, {"choices": [scored("<e>", delta={}, finish_reason="stop")]}), "Hé"),
        (
            stream(
                {"choices": [FIRST]}, {"choices": [scored("y", "<e>", delta={"content": "y"}, finish_reason="stop")]}
            ),
            "Héy",
        ),
        (plain({"choices": [scored("Hé", "y", "<e>", message={"content": "Héy"}, finish_reason="stop")]}), "Héy"),
        (stream({"choices": [scored("<e>", delta={}, finish_reason="stop")]}), ""),
    ],
    ids=["apart", "merged", "whole", "empty"],
)
def test_the_log_probability_of_the_token_that_ends_a_text_is_none_of_the_texts(front, upstream, model, steps, text):
    upstream.play(*steps)
    *told, done = frames(front.chat(model, logprobs=True, stream=True))
    entries = [
        entry
        for one in told
        for choice in one["choices"]
        for entry in (choice["logprobs"] or {"content": []})["content"]
    ]
    assert (text_of(told), b"".join(bytes(entry["bytes"]) for entry in entries).decode(), done) == (
        text,
        text,
        "[DONE]",
    )


def test_log_probabilities_that_come_before_their_text_keep_to_it(front, upstream, model):
    pieces = [(None, ["Hey"]), ("H", [" yo"]), ("ey y", ["u"]), ("o", []), ("u, lé", [",", " lé", "on"])]
    choices = [scored(*tokens, delta={"content": text}) for text, tokens in pieces]
    upstream.play(*stream(*({"choices": [one]} for one in (*choices, scored("<e>", delta={}, finish_reason="stop")))))
    *told, _ = frames(front.chat(model, logprobs=True, stop=["on"], stream=True))
    told = [choice for one in told for choice in one["choices"] if choice["logprobs"]]
    tokens = [entry["token"] for choice in told for entry in choice["logprobs"]["content"]]
    assert tokens == ["Hey", " yo", "u", ",", " lé"]
    assert "".join(choice["delta"]["content"] for choice in told) == "Hey you, lé"


@pytest.mark.parametrize("is_streamed", [False, True])
def test_log_probabilities_that_do_not_come_are_a_failure_and_no_empty_list(front, upstream, model, is_streamed):
    upstream.play(*(stream(delta("Hel"), delta("lo"), delta(finish="stop")) if is_streamed else plain(said("Hello"))))
    answer = front.chat(model, logprobs=True, stream=is_streamed)
    failed = frames(answer)[-1]["error"] if is_streamed else answer.json()["error"]
    assert failed["code"] == "engine_failed"
    assert front.chat(model, stream=is_streamed).status_code == 200


# -- media


def test_a_picture_arrives_as_the_bytes_it_was_with_its_detail(front, upstream, picture_bytes):
    encoded = base64.b64encode(picture_bytes).decode()
    parts = [
        {"type": "text", "text": "Before."},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}", "detail": "low"}},
        {"type": "text", "text": "After."},
    ]
    body = {"model": "up/sees", "messages": [{"role": "user", "content": parts}]}
    assert front.post(json.dumps(body)).status_code == 200
    before, image, after = upstream.asked[0].body["messages"][0]["content"]
    assert before["text"].strip() == "Before."
    assert after["text"].strip() == "After."
    assert image["image_url"]["detail"] == "low"
    kind, _, data = image["image_url"]["url"].partition(",")
    assert (kind, base64.b64decode(data)) == ("data:image/png;base64", picture_bytes)


def test_a_picture_that_cannot_be_decoded_is_refused_before_anybody_is_asked(front, upstream, picture_bytes):
    url = f"data:image/png;base64,{base64.b64encode(picture_bytes[:60]).decode()}"
    parts = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}]
    answer = front.post(json.dumps({"model": "up/sees", "messages": [{"role": "user", "content": parts}]}))
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "messages", 0, "content", 1]
    assert upstream.asked == []


def test_the_pages_of_a_paper_arrive_as_pictures_behind_its_text(front, upstream):
    paper = io.BytesIO()
    Image.new("RGB", (200, 100), "red").save(paper, "PDF")
    data = f"data:application/pdf;base64,{base64.b64encode(paper.getvalue()).decode()}"
    parts = [{"type": "text", "text": "Read:"}, {"type": "file", "file": {"filename": "a.pdf", "file_data": data}}]
    body = {"model": "up/sees", "messages": [{"role": "user", "content": parts}]}
    assert front.post(json.dumps(body)).status_code == 200
    sent = upstream.asked[0].body["messages"][0]["content"]
    assert "a.pdf" in sent[0]["text"]
    page = Image.open(io.BytesIO(base64.b64decode(sent[-1]["image_url"]["url"].removeprefix("data:image/png;base64,"))))
    assert page.format == "PNG"
    assert page.getpixel((page.width // 2, page.height // 2))[0] > 200


def test_a_sound_arrives_as_a_recording_of_the_same_length(front, upstream, wav_bytes):
    sound = {"data": base64.b64encode(wav_bytes).decode(), "format": "wav"}
    parts = [{"type": "input_audio", "input_audio": sound}]
    body = {"model": "up/sees", "messages": [{"role": "user", "content": parts}]}
    assert front.post(json.dumps(body)).status_code == 200
    (part,) = upstream.asked[0].body["messages"][0]["content"]
    heard = base64.b64decode(part["input_audio"]["data"])
    assert heard[:4] == b"RIFF"
    assert len(heard) - 44 == 16_000 * 2


# -- ENG: what goes wrong there


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize(
    "steps",
    [
        [RESET],
        [CLOSE],
        [STREAM, RESET],
        [STREAM, CLOSE],
        [STREAM, *[piece(event(delta("a"))) for _ in range(5)], RESET],
        [STREAM, *[piece(event(delta("a"))) for _ in range(5)], CLOSE],
        [STREAM, *[piece(event(delta("a"))) for _ in range(5)], END],
        [STREAM, piece(event(delta("a"))), piece(event(delta(finish="stop"))), END],
        [STREAM, piece(event(delta("a"))), piece(mock.DONE), END],
        [STREAM, piece(mock.DONE), END],
        plain(b"<html>502</html>", kind="text/html"),
        plain(b"\xff\xfe"),
        plain({"error": {"message": f"org-1 {SECRET}", "code": "boom"}}),
        plain({"choices": [{"index": 0, "message": {"content": 5}}]}),
        plain({"choices": []}),
        plain(said(finish="abort")),
        plain(said(finish=None)),
        [STREAM, piece(b"data: " + b"x" * (11 << 20)), END],
        [STREAM, *([piece(b"x" * (1 << 20))] * 4), CLOSE],
        [*stream(delta("a"), {"error": {"message": SECRET, "code": 500}}, done=False), CLOSE],
    ],
    ids=range(20),
)
def test_an_answer_that_is_none_is_a_failure_and_never_a_short_success(front, upstream, model, steps, is_streamed):
    upstream.play(*steps)
    answer = front.chat(model, stream=is_streamed, timeout=20)
    assert_hides(answer, upstream)
    if answer.status_code == 200:
        assert is_streamed
        events = frames(answer)
        assert events[-1]["error"]["code"] == "engine_failed"
        assert not [one for one in events[:-1] for choice in one["choices"] if choice["finish_reason"]]
    else:
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_failed")
    assert front.prediction(answer.headers["x-request-id"])["status"] == "failed"


@pytest.mark.parametrize(
    "raw",
    [
        event(delta("Grüße")).replace(b"\n", b"\r\n"),
        b": a comment\nevent: message\nid: 1\n" + event(delta("Grüße")),
        b'data: {"choices": [{"index": 0,\ndata: "delta": {"content": "Gr\xc3\xbc\xc3\x9fe"}}]}\n\n',
        event({"choices": [{"delta": {"content": "Grüße", "tool_calls": None}, "logprobs": None}], "usage": None}),
        event(delta([{"type": "text", "text": "Grüße"}])),
        event(delta("x", index=99)) + event(delta("Grüße")) + event({"choices": None}),
        b"\xef\xbb\xbf" + event(delta("Grüße")),
        event(delta("Grüße", finish="")),
    ],
    ids=["crlf", "comments", "lines", "nulls", "parts", "index", "bom", "no-reason"],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_stream_is_read_however_it_is_written_and_cut(front, upstream, model, raw, size):
    whole = raw + event(delta(finish="stop")) + mock.DONE
    upstream.play(STREAM, *(piece(whole[at : at + size]) for at in range(0, len(whole), size)), END)
    assert text_of(frames(front.chat(model, stream=True))) == "Grüße"


@pytest.mark.parametrize("end", [mock.DONE.strip(), b""], ids=["done", "nothing"])
def test_only_the_end_that_is_said_ends_an_answer_with_or_without_a_line_break(front, upstream, model, end):
    upstream.play(STREAM, piece(event(delta("a"))), piece(event(delta(finish="stop")).strip() + b"\n\n" + end), END)
    events = frames(front.chat(model, stream=True))
    assert events[-1] == "[DONE]" if end else events[-1]["error"]["code"] == "engine_failed"


@pytest.mark.parametrize("first", [delta("a STOP b"), delta("a ", finish="stop")], ids=["cut", "ended"])
def test_a_server_that_goes_on_when_all_is_said_is_left_soon(front, upstream, model, first):
    dripping = [step for _ in range(40) for step in (piece(event(delta("more"))), 0.1)]
    upstream.play(STREAM, piece(event(first)), *dripping, piece(mock.DONE) + END)
    begun = time.monotonic()
    assert text_of(frames(front.chat(model, stream=True, stop=["STOP"]))) == "a "
    assert time.monotonic() - begun < 2


def test_a_call_in_the_deprecated_way_is_a_call(front, upstream, model):
    upstream.play(*plain(said(None, "function_call", function_call=CALL["function"])))
    (choice,) = front.chat(model, tools=[WEATHER]).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == CALL["function"]


TOO_LONG = ("context_length_exceeded", "messages")


def named(param):
    return {"error": {"message": "org-1", "param": param}}


@pytest.mark.parametrize(
    ("status", "body", "expected", "code", "param"),
    [
        (401, {"error": {"message": f"bad key {SECRET}"}}, 502, "engine_failed", None),
        (403, {"error": {"message": "org-123 may not"}}, 502, "engine_failed", None),
        (404, {"error": {"message": "no such model at http://127.0.0.1"}}, 502, "engine_failed", None),
        (429, {"error": {"message": "org-123 is over its limit"}}, 503, "engine_unavailable", None),
        (500, b"Traceback (most recent call last)", 502, "engine_failed", None),
        (529, {}, 503, "engine_unavailable", None),
        (302, {}, 502, "engine_failed", None),
        (400, named("messages[0].content"), 400, "unsupported_value", "messages[0].content"),
        (400, named("messages[0].team_secret.name"), 400, "unsupported_value", "messages[0]"),
        (400, named("model/../secret"), 400, "unsupported_value", None),
        (400, named("their_own_field"), 400, "unsupported_value", None),
        (422, b"not json " + SECRET.encode(), 400, "unsupported_value", None),
        (400, {"error": {"message": "The maximum context length is 5."}}, 400, *TOO_LONG),
        (400, {"error": {"type": "exceed_context_size_error", "message": ""}}, 400, *TOO_LONG),
    ],
    ids=range(14),
)  # fmt: skip
@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_refusal_becomes_ours_and_tells_nothing_of_theirs(
    front, upstream, model, status, body, expected, code, param, is_streamed
):
    upstream.play(*plain(body, status, location="http://127.0.0.1:9/"))
    answer = front.chat(model, stream=is_streamed)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (expected, code, param)
    assert_hides(answer, upstream)


def test_a_server_that_says_when_to_come_back_is_passed_on(front, upstream, model):
    upstream.play(*plain({}, 429, retry_after=17))
    answer = front.chat(model)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "17"
    assert len(upstream.asked) == 1


@pytest.mark.parametrize(
    "steps", [plain({}, 503), [CLOSE], plain({}, 429, retry_after=1)], ids=["503", "closed", "429"]
)
def test_what_was_never_begun_is_tried_once_more(front, upstream, model, steps):
    turns = itertools.count()
    upstream.cue = lambda asked: steps if next(turns) == 0 else mock.usual(asked)
    answer = front.chat(model)
    assert answer.json()["choices"][0]["message"]["content"] == "Hello!"
    first, second = upstream.asked
    # A timer of the server's loop may ring a millisecond early.
    assert second.at - first.at >= (0.99 if b" 429 " in steps[0][:40] else 0.09) if steps != [CLOSE] else True


@pytest.mark.parametrize("steps", [plain({}, 503), [CLOSE]], ids=["503", "closed"])
def test_it_is_tried_twice_and_no_more(front, upstream, model, steps):
    upstream.play(*steps)
    assert front.chat(model).status_code in {502, 503}
    assert len(upstream.asked) == 2


def test_nothing_is_tried_again_once_an_answer_has_begun(front, upstream, model):
    upstream.play(STREAM, CLOSE)
    assert front.chat(model, stream=True).status_code == 502
    assert len(upstream.asked) == 1


def test_tries_end_with_the_deadline(front, upstream, model):
    upstream.play(*plain({}, 503, retry_after=2))
    begun = time.monotonic()
    answer = front.chat(model, headers={"x-request-timeout-seconds": "0.5"})
    assert answer.status_code == 504
    assert time.monotonic() - begun < 1.5


def test_a_server_that_fails_again_and_again_is_left_alone_and_then_tried_once(front, upstream, model):
    upstream.play(*plain({}, 500))
    for _ in range(5):
        assert front.chat(model).status_code == 502
    asked = len(upstream.asked)
    answers, took = [], []
    for _ in range(3):  # Within the second for which it is left alone, on a busy machine too.
        begun = time.monotonic()
        answers.append(front.chat(model))
        took.append(time.monotonic() - begun)
    assert min(took) < 0.05
    assert {answer.status_code for answer in answers} == {503}
    assert answers[0].headers["retry-after"] == "1"
    assert len(upstream.asked) == asked
    assert front.get("/readyz").status_code == 503
    upstream.cue = mock.usual
    time.sleep(1.1)
    assert front.chat(model).status_code == 200
    assert front.chat(model).status_code == 200
    assert front.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    "counts",
    [
        None,
        {"prompt_tokens": -5, "completion_tokens": 3},
        {"prompt_tokens": 5, "completion_tokens": 10**30},
        {"prompt_tokens": True, "completion_tokens": "3"},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 99}},
        {"prompt_tokens": 5, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 99}},
        {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": 5, "completion_tokens_details": None},
    ],
    ids=range(8),
)
def test_counts_that_are_none_are_replaced_and_all_add_up(front, upstream, model, counts):
    upstream.play(*plain(said() | {"usage": counts}))
    used = front.chat(model).json()["usage"]  # `chat` sees that they add up
    assert 0 < used["prompt_tokens"] < 100
    assert 0 < used["completion_tokens"] < 100


def test_thinking_that_is_counted_beside_the_completion_is_part_of_it_here(front, upstream, model):
    counts = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 108}
    upstream.play(*plain(said() | {"usage": counts | {"completion_tokens_details": {"reasoning_tokens": 100}}}))
    used = front.chat(model).json()["usage"]
    assert (used["completion_tokens"], used["completion_tokens_details"]["reasoning_tokens"]) == (103, 100)
    assert used["total_tokens"] == 108


def test_no_more_likely_tokens_are_told_than_were_asked_for(front, upstream, model):
    top = [{"token": token, "logprob": -1.0, "bytes": None} for token in "abc"]
    entry = {"token": "a", "logprob": -1.0, "bytes": None, "top_logprobs": top}
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": "a"}, "logprobs": {"content": [entry]}}
    upstream.play(*plain({"choices": [choice]}))
    (told,) = front.chat(model, logprobs=True, top_logprobs=2).json()["choices"][0]["logprobs"]["content"]
    assert [one["token"] for one in told["top_logprobs"]] == ["a", "b"]


def test_a_line_of_a_megabyte_is_read_and_one_of_two_is_not(front, upstream, model):
    upstream.play(*stream(delta("x" * 1_000_000), delta(finish="stop")))
    assert len(text_of(frames(front.chat(model, stream=True)))) == 1_000_000
    upstream.play(*stream(delta("x" * 2_100_000), delta(finish="stop")))
    assert front.chat(model, stream=True).status_code == 502


def test_a_million_logprobs_are_too_many(front, upstream, model):
    entries = [{"token": "x", "logprob": -1.0, "bytes": [120], "top_logprobs": []}] * 1_000_000
    body = {
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"content": "x"}, "logprobs": {"content": entries}}
        ]
    }
    upstream.play(*plain(body))
    assert front.chat(model, logprobs=True, timeout=60).status_code == 502


def test_a_server_that_falls_silent_is_given_up(front, upstream):
    upstream.play(STREAM, piece(event(delta("a"))), HOLD)
    events = frames(front.chat("up/silent", stream=True))
    assert events[-1]["error"]["code"] == "engine_failed"
    upstream.play(HOLD)
    assert front.chat("up/silent").status_code == 502
    assert len(upstream.asked) == 1


def test_silence_counts_from_the_last_word(front, upstream):
    words = [step for _ in range(4) for step in (piece(event(delta("a"))), 0.3)]
    upstream.play(STREAM, *words, HOLD)
    begun = time.monotonic()
    events = frames(front.chat("up/silent", stream=True))
    assert events[-1]["error"]["code"] == "engine_failed"
    assert text_of(events) == "aaaa"
    assert 3 * 0.3 + 0.5 <= time.monotonic() - begun < 4 * 0.3 + 2.5  # of a machine that is busy, too


def test_a_server_that_waits_for_ever_meets_the_deadline_and_is_left(front, upstream, model):
    for steps in ([HOLD], [STREAM, HOLD], [STREAM, piece(event(delta("a"))), HOLD]):
        upstream.play(*steps)
        answer = front.chat(model, stream=len(steps) > 1, headers={"x-request-timeout-seconds": "1"})
        assert answer.status_code == 504 or frames(answer)[-1]["error"]["code"] == "deadline_exceeded"
        until(lambda: upstream.asked[0].was_left)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_client_that_leaves_closes_the_upstreams_connection_at_once(front, upstream, model, is_streamed):
    upstream.play(*([STREAM, piece(event(delta("a")))] if is_streamed else []), HOLD)
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": is_streamed}
    link = front.open_chat(body)
    until(lambda: upstream.asked)
    time.sleep(0.1)
    link.close()
    begun = time.monotonic()
    until(lambda: upstream.asked[0].was_left)
    assert time.monotonic() - begun < 1.0


def test_who_joins_a_stream_hears_what_comes_when_it_comes(front, upstream, model):
    ends = [piece(event(delta(finish="stop"))), piece(mock.DONE) + END]
    upstream.play(STREAM, piece(event(delta("first"))), 3.0, *ends)
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    links = []
    for _ in range(2):
        link = socket.create_connection(("127.0.0.1", front.port))
        link.settimeout(10)
        link.sendall(front.request_bytes(body, "Idempotency-Key: joined"))
        links.append(link)
        time.sleep(0.3)
    begun = time.monotonic()
    heard = b""
    while b"first" not in heard:
        heard += links[1].recv(65536)
    assert time.monotonic() - begun < 1.5
    assert len(upstream.asked) == 1
    for link in links:
        link.close()


def test_a_connection_is_used_again(front, upstream, model):
    front.chat(model, stream=True)
    connections = upstream.connections
    for number in range(6):
        front.chat(model, stream=number % 2 == 0)
    assert upstream.connections == connections
