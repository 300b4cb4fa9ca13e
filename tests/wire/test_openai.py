"""The bytes of answers."""

import json

from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.fold import Fold
from antiphon.domain.events import Accepted, ChoiceFinished, Finished, SpeechDelta, TextDelta, TokenLogprob
from antiphon.wire import sse
from antiphon.wire.chunks import ChunkWriter
from antiphon.wire.openai import Form, ReplyHead, completion_body

HEAD = ReplyHead("chatcmpl-1", 5, "a/b", "fp")


def frames(events, **options):
    writer, fold = ChunkWriter(HEAD, Form(**options), 1), Fold(1)
    written = b""
    for event in events:
        fold.add(event)
        written += writer.event(event)
    return written + writer.done(fold.usage)


EVENTS = [Accepted(3, 1), TextDelta(0, "Hé", 1), ChoiceFinished(0, "stop", 2), Finished()]
START = 'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":5,"model":"a/b","choices":'
END = ',"service_tier":"default","system_fingerprint":"fp"'


def test_a_stream_is_these_bytes_exactly():
    choice = '[{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s}]'
    chunks = [
        choice % ('{"role":"assistant","content":"","refusal":null}', "null"),
        choice % ('{"content":"Hé"}', "null"),
        choice % ("{}", '"stop"'),
    ]
    expected = "".join(f"{START}{chunk}{END}}}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    assert frames(EVENTS).decode() == expected


def test_usage_stands_on_the_last_chunk_and_is_null_on_all_others():
    *chunks, last, done, end = frames(EVENTS, include_usage=True).decode().split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    assert all(json.loads(chunk[6:])["usage"] is None for chunk in chunks)
    last = json.loads(last[6:])
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 5
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 1, "audio_tokens": 0}
    assert len(last["usage"]["completion_tokens_details"]) == 4


def test_choices_first_appear_in_order_each_with_its_role_once():
    events = [Accepted(3, 0), TextDelta(2, "c", 1), TextDelta(0, "a", 1)]
    written = ChunkWriter(HEAD, Form(), 3)
    chunks = [json.loads(f[6:]) for e in events for f in written.event(e).decode().split("\n\n") if f]
    assert [chunk["choices"][0]["index"] for chunk in chunks] == [0, 1, 2, 2, 0]
    assert [("role" in chunk["choices"][0]["delta"]) for chunk in chunks] == [True] * 3 + [False] * 2


def test_padding_is_sent_only_when_it_is_asked_for():
    assert b"obfuscation" not in frames(EVENTS)
    assert frames(EVENTS, include_obfuscation=True).count(b'"obfuscation"') == 3


@given(st.lists(st.text(max_size=8), max_size=6), st.integers(1, 40))
def test_what_a_reader_of_the_stream_puts_together_is_what_was_said(texts, size):
    events = [Accepted(1, 0), *(TextDelta(0, text, 1) for text in texts), ChoiceFinished(0, "stop", 9), Finished()]
    raw, decoder, said = frames(events), sse.Decoder(), []
    for at in range(0, len(raw), size):
        said += decoder.feed(raw[at : at + size])
    assert said[-1] == b"[DONE]"
    deltas = [json.loads(data)["choices"][0]["delta"] for data in said[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == "".join(texts)


def test_a_whole_answer_has_every_field_of_the_platform_and_no_tool_calls():
    fold = Fold(1)
    entry = TokenLogprob("Hé", "Hé".encode(), -0.5, (TokenLogprob("x", b"x", float("-inf")),))
    for event in (Accepted(3, 1), TextDelta(0, "Hé", 1, (entry,)), ChoiceFinished(0, "stop", 2), Finished()):
        fold.add(event)
    body = json.loads(completion_body(HEAD, fold.completion, Form(logprobs=True)))
    assert set(body) == {"id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint"}
    (choice,) = body["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": "Hé",
        "refusal": None,
        "annotations": [],
        "audio": None,
    }
    assert choice["logprobs"]["refusal"] is None
    (token,) = choice["logprobs"]["content"]
    assert token["bytes"] == list("Hé".encode())
    assert token["top_logprobs"] == [{"token": "x", "logprob": -9999.0, "bytes": [120]}]
    plain = json.loads(completion_body(HEAD, fold.completion, Form()))
    assert plain["choices"][0]["logprobs"] is None


@given(
    st.lists(st.binary(min_size=1, max_size=20).filter(lambda b: b"\n" not in b and b"\r" not in b), max_size=5),
    st.integers(1, 9),
)
def test_events_read_back_whole_whatever_the_cuts_and_comments(datas, size):
    raw = b"".join(sse.frame(data) + sse.comment("ping") for data in datas).replace(b"\n", b"\r\n")
    decoder, found = sse.Decoder(), []
    for at in range(0, len(raw), size):
        found += decoder.feed(raw[at : at + size])
    assert found == datas


SPOKEN = [
    Accepted(3, 0),
    TextDelta(0, "Hé", 1),
    SpeechDelta(0, b"\0\1\2", 1),
    SpeechDelta(0, b"\3\4", 1),
    ChoiceFinished(0, "stop", 2),
    Finished(),
]


def test_speech_has_its_id_once_then_transcript_and_data_then_its_end_once_then_a_finish_reason():
    chunks = [json.loads(f[6:])["choices"][0] for f in frames(SPOKEN, is_spoken=True).decode().split("\n\n")[:-2]]
    assert chunks[0]["delta"]["content"] is None
    said = [chunk["delta"].get("audio") for chunk in chunks[1:]]
    assert said == [
        {"id": "audio_1_0", "transcript": "Hé"},
        {"data": "AAEC"},
        {"data": "AwQ="},
        {"expires_at": 3605},
        None,
    ]
    assert [chunk["finish_reason"] for chunk in chunks] == [None] * 5 + ["stop"]


def test_a_spoken_answer_has_its_words_as_a_transcript_and_no_content():
    fold = Fold(1)
    for event in SPOKEN:
        fold.add(event)
    (choice,) = json.loads(completion_body(HEAD, fold.completion, Form(is_spoken=True)))["choices"]
    audio = {"id": "audio_1_0", "data": "AAECAwQ=", "expires_at": 3605, "transcript": "Hé"}
    assert (choice["message"]["content"], choice["message"]["audio"]) == (None, audio)
    assert (fold.usage.completion_tokens, fold.usage.audio_tokens) == (4, 2)
