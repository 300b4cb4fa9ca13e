"""Stored completions, and kept answers read back."""

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.domain.events import CallHead, CompletedCall, CompletedChoice, Completion, TokenLogprob, Usage
from antiphon.domain.prediction import Status
from antiphon.domain.record import Record
from antiphon.wire import stored
from antiphon.wire.openai import Form, ReplyHead, completion_body

KEY = UUID("00112233-4455-6677-8899-aabbccddeeff")
HEAD = ReplyHead("chatcmpl-x", 5, "a/b:1", "fp_1")
TEXTS = st.text(max_size=6).filter(lambda text: not any("\ud800" <= char <= "\udfff" for char in text))
LOGPROBS = st.floats(-100, 0).map(lambda value: TokenLogprob("t", b"\xff", value, (TokenLogprob("u", b"u", value),)))
CALLS = st.builds(CompletedCall, st.builds(CallHead, TEXTS, st.sampled_from(["function", "custom"]), TEXTS), TEXTS)
COUNTS = st.integers(0, 10**9)


@st.composite
def completions(draw):
    choice = st.builds(
        CompletedChoice,
        TEXTS,
        st.lists(LOGPROBS, max_size=2).map(tuple),
        st.sampled_from(["stop", "length", "tool_calls", None]),
        TEXTS,
        st.lists(CALLS, max_size=2).map(tuple),
    )
    usage = st.builds(Usage, *[COUNTS] * 8)
    return Completion(tuple(draw(st.lists(choice, min_size=1, max_size=3))), draw(usage))


def record(**fields):
    return Record(KEY, "me", "a/b", 1, "scripted", Status.SUCCEEDED, 5_000_000, 6_000_000, **fields)


@given(completions())
def test_an_answer_is_read_back_as_it_was_kept(completion):
    kept = stored.read_kept(completion_body(HEAD, completion, Form(logprobs=True)))
    assert kept.completion == completion
    assert (kept.model, kept.fingerprint, kept.form) == ("a/b:1", "fp_1", Form(logprobs=True))
    again = completion_body(HEAD, kept.completion, Form(logprobs=True))
    assert again == completion_body(HEAD, completion, Form(logprobs=True))


def test_a_deprecated_call_is_read_back_as_one():
    call = CompletedCall(CallHead("", "function", "f"), "{}")
    answer = Completion((CompletedChoice("", (), "function_call", "", (call,)),), Usage())
    body = completion_body(HEAD, answer, Form(is_legacy=True))
    kept = stored.read_kept(body)
    assert (kept.completion, kept.form) == (answer, Form(is_legacy=True))
    assert completion_body(HEAD, kept.completion, Form(is_legacy=True)) == body


def messages(*asked):
    return stored.stored_messages(record(request=json.dumps({"messages": asked}).encode()))


def test_a_stored_message_is_what_was_sent_with_an_id_of_its_own():
    (message,) = messages({"role": "user", "content": "x", "name": "Ann", "id": "mine"})
    assert message == {
        "role": "user",
        "content": "x",
        "name": "Ann",
        "refusal": None,
        "content_parts": None,
        "id": f"chatcmpl-{KEY.hex}-0",
    }


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        ([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:,"}}], "a"),
        ([{"type": "refusal", "refusal": "no"}], ""),
        (None, None),
        ("", ""),
    ],
)
def test_parts_are_given_beside_their_text(content, text):
    (message,) = messages({"role": "user", "content": content})
    assert message["content"] == text
    assert message["content_parts"] == (content if isinstance(content, list) else None)


def test_what_a_client_sent_as_null_is_not_given_back():
    (message,) = messages({"role": "assistant", "content": None, "tool_calls": None, "audio": None, "refusal": None})
    assert set(message) == {"role", "content", "content_parts", "refusal", "id"}


def test_a_request_that_was_too_large_to_be_kept_has_no_messages_and_one_choice():
    assert stored.stored_messages(record()) == []
    assert stored.asked_choices(record()) == 1


@pytest.mark.parametrize(("n", "choices"), [(None, 1), (3, 3), (2.0, 2)])
def test_how_many_choices_were_asked_for(n, choices):
    assert stored.asked_choices(record(request=json.dumps({"n": n}).encode())) == choices


def test_an_answer_that_was_too_large_to_be_kept_is_a_completion_without_choices():
    body = json.loads(stored.stored_body(record(metadata={"a": "b"})))
    assert body == {
        "id": f"chatcmpl-{KEY.hex}",
        "object": "chat.completion",
        "created": 5,
        "model": "a/b",
        "choices": [],
        "metadata": {"a": "b"},
        "request_id": str(KEY),
    }


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_page_names_its_ends(count):
    page = json.loads(stored.messages_page(messages(*[{"role": "user", "content": "x"}] * count), has_more=True))
    ids = [f"chatcmpl-{KEY.hex}-{place}" for place in range(count)]
    assert [one["id"] for one in page["data"]] == ids
    assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    assert (page["object"], page["has_more"]) == ("list", True)


def test_a_number_longer_than_others_read_breaks_no_page():
    (message,) = messages({"role": "assistant", "content": "x", "annotations": [10**30]})
    assert json.loads(stored.messages_page([message], has_more=False))["data"][0]["annotations"] == [10**30]
