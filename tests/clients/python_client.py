"""What a user's program does with openai-python, sync and async; run under each major version by test_openai_python."""

import asyncio
import sys

import openai

BASE_URL, KEY, MODEL = sys.argv[1:]
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 400, "temperature": 0}


def check_whole(answer):
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason == "stop"
    assert choice.message.tool_calls is None
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens is not None
    assert usage.completion_tokens_details.accepted_prediction_tokens == 0
    assert answer._request_id
    assert answer.id == "chatcmpl-" + answer._request_id.replace("-", "")
    return choice.message.content


def check_chunks(chunks, text):
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens > 0


def sync(client):
    text = check_whole(client.chat.completions.create(**ASK))
    check_chunks(list(client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})), text)
    three = client.chat.completions.create(**(ASK | {"temperature": 1}), n=3)
    assert [choice.index for choice in three.choices] == [0, 1, 2]
    scored = client.chat.completions.create(**ASK, logprobs=True, top_logprobs=2)
    entries = scored.choices[0].logprobs.content
    assert b"".join(bytes(entry.bytes) for entry in entries).decode() == text
    assert all(len(entry.top_logprobs) == 2 for entry in entries)
    with client.chat.completions.stream(**ASK, n=2) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == text
    assert final.choices[0].message.role == "assistant"
    turns = [*ASK["messages"], final.choices[0].message, {"role": "user", "content": "Again."}]
    assert client.chat.completions.create(**(ASK | {"messages": turns})).choices[0].message.content
    raw = client.chat.completions.with_raw_response.create(**ASK)
    assert raw.headers["x-request-id"] == raw.request_id
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL
    assert client.models.retrieve(MODEL + ":1").id == MODEL + ":1"
    return text


def fails(kind, call):
    """Make a call that must fail; give its error."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


SPOKEN = {"audio": {"voice": "alloy", "format": "wav"}, "modalities": ["text", "audio"]}


def errors(client):
    for fields, kind, code, param in (
        ({"n": 0}, openai.UnprocessableEntityError, "integer_below_min_value", "n"),
        ({"model": "a/b"}, openai.NotFoundError, "model_not_found", "model"),
        (SPOKEN, openai.BadRequestError, "unsupported_parameter", "audio"),
        ({"store": "yes"}, openai.UnprocessableEntityError, "invalid_type", "store"),
        ({"messages": []}, openai.UnprocessableEntityError, "empty_array", "messages"),
    ):
        error = fails(kind, lambda fields=fields: client.chat.completions.create(**(ASK | fields)))
        assert (error.code, error.param, error.type) == (code, param, "invalid_request_error")
        assert error.request_id
    error = fails(openai.AuthenticationError, client.with_options(api_key="wrong").models.list)
    assert error.code == "invalid_api_key"
    late = {"x-request-timeout-seconds": "0.001"}
    error = fails(openai.InternalServerError, lambda: client.chat.completions.create(**ASK, extra_headers=late))
    assert error.code == "deadline_exceeded"
    assert error.response.status_code == 504


async def asynchronous(text):
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=KEY) as client:
        assert check_whole(await client.chat.completions.create(**ASK)) == text
        stream = await client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})
        check_chunks([chunk async for chunk in stream], text)
        async with client.chat.completions.stream(**ASK) as stream:
            async for _ in stream:
                pass
            assert (await stream.get_final_completion()).choices[0].message.content == text


with openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0) as client:
    said = sync(client)
    errors(client)
asyncio.run(asynchronous(said))
print("passed", openai.__version__)
