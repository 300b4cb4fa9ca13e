"""Stored completions as openai-python reads them, sync and async; run under each major version by test_stored."""

import asyncio
import sys

import openai

BASE_URL, KEY, MODEL = sys.argv[1:]
ASK = {"model": MODEL, "max_tokens": 3, "temperature": 0}
PARTS = [{"type": "text", "text": "Say"}, {"type": "text", "text": "hello."}]
NUMBER = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "add", "parameters": NUMBER, "strict": True}}


def says(content):
    return [{"role": "user", "content": content}]


def fails(kind, call):
    """Make a call that must fail; give its error."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def store(chat, run):
    """Five stored completions, one of them of everything, and one that is not stored; give the ids of the five."""
    made = [
        chat.create(**ASK, messages=says(f"Number {n}."), store=True, metadata={"run": run, "odd": str(n % 2)})
        for n in range(4)
    ]
    rich = chat.create(
        **ASK, messages=says(PARTS), store=True, n=2, logprobs=True, top_logprobs=1, metadata={"run": run}
    )
    made.append(rich)
    unstored = chat.create(**ASK, messages=says("Forget."), metadata={"run": run})
    for call in (chat.retrieve, chat.delete, lambda key: chat.update(key, metadata={})):
        error = fails(openai.NotFoundError, lambda call=call: call(unstored.id))
        assert error.code == "completion_not_found"
    fails(openai.NotFoundError, lambda: list(chat.messages.list(unstored.id)))
    return made


def read(chat, made, run):
    ids, mine = [one.id for one in made], {"metadata": {"run": run}}
    pages = [[one.id for one in page.data] for page in chat.list(**mine, limit=2).iter_pages()]
    assert pages == [ids[:2], ids[2:4], ids[4:]], pages
    assert [one.id for one in chat.list(**mine, limit=1)] == ids
    assert [one.id for one in chat.list(**mine, limit=2, order="desc")] == ids[::-1]
    assert [one.id for one in chat.list(**mine, order="asc", after=ids[2])] == ids[3:]
    assert [one.id for one in chat.list(metadata={"run": run, "odd": "1"})] == [ids[1], ids[3]]
    assert [one.id for one in chat.list(metadata={"run": run, "odd": "2"})] == []
    for name in (MODEL, MODEL + ":1"):
        assert [one.id for one in chat.list(**mine, model=name, limit=3)] == ids, name
    assert list(chat.list(**mine, model=MODEL + ":2")) == list(chat.list(**mine, model="nobody/nothing")) == []
    assert list(chat.list(**mine, model="no name")) == []
    error = fails(openai.NotFoundError, lambda: chat.list(after="chatcmpl-x"))
    assert (error.param, error.code) == ("after", "completion_not_found")
    assert fails(openai.UnprocessableEntityError, lambda: chat.list(limit=101)).param == "limit"
    for one in made:
        again = chat.retrieve(one.id)
        assert again.choices == one.choices
        assert (again.usage, again.model, again.created) == (one.usage, one.model, one.created)
        assert again.system_fingerprint == one.system_fingerprint
    assert chat.retrieve(made[0].id).metadata == {"run": run, "odd": "0"}


def messages(chat, one):
    long = [*says("a"), {"role": "assistant", "content": "b", "tool_calls": None}, *says("c"), *says(PARTS), *says("e")]
    kept = chat.create(**ASK, messages=long, store=True)
    pages = [page.data for page in chat.messages.list(kept.id, limit=2).iter_pages()]
    assert [len(page) for page in pages] == [2, 2, 1]
    found = [message for page in pages for message in page]
    assert [message.role for message in found] == ["user", "assistant", "user", "user", "user"]
    assert [message.content for message in found] == ["a", "b", "c", "Say\nhello.", "e"]
    assert [message.content_parts and len(message.content_parts) for message in found] == [None, None, None, 2, None]
    assert len({message.id for message in found}) == len(found)
    assert "tool_calls" not in found[1].model_fields_set, "a null that is echoed breaks clients"
    assert [message.id for message in chat.messages.list(kept.id, limit=2, order="desc")] == [
        message.id for message in found[::-1]
    ]
    assert [message.id for message in chat.messages.list(kept.id, after=found[3].id)] == [found[4].id]
    fails(openai.NotFoundError, lambda: chat.messages.list(kept.id, after=next(iter(chat.messages.list(one.id))).id))
    (only,) = chat.messages.list(one.id)
    assert only.content_parts[1].text == "hello."


def calls(chat):
    forced = {"tools": [TOOL], "tool_choice": "required"}
    called = chat.create(**(ASK | {"max_tokens": 200}), messages=says("Add."), store=True, **forced)
    (call,) = called.choices[0].message.tool_calls
    again = chat.retrieve(called.id).choices[0]
    assert again.message.tool_calls == [call]
    assert again.message.content is None
    assert again.finish_reason == "tool_calls"
    result = {"role": "tool", "tool_call_id": call.id, "content": "3"}
    turns = [*says("Add."), called.choices[0].message, result]
    second = chat.create(**ASK, messages=turns, store=True)
    roles = list(chat.messages.list(second.id))
    assert [message.role for message in roles] == ["user", "assistant", "tool"]
    assert roles[1].tool_calls == [call]
    assert roles[1].content is None


def change(chat, made, run):
    changed = chat.update(made[0].id, metadata={"run": run, "new": "é"})
    assert changed.metadata == {"run": run, "new": "é"}
    assert [one.id for one in chat.list(metadata={"new": "é", "run": run})] == [made[0].id]
    assert made[0].id not in [one.id for one in chat.list(metadata={"run": run, "odd": "0"})]
    fails(openai.UnprocessableEntityError, lambda: chat.update(made[0].id, metadata={"a": "b" * 513}))
    gone = chat.delete(made[0].id)
    assert (gone.id, gone.deleted, gone.object) == (made[0].id, True, "chat.completion.deleted")
    for call in (chat.retrieve, chat.delete, chat.messages.list):
        fails(openai.NotFoundError, lambda call=call: call(made[0].id))
    assert [one.id for one in chat.list(metadata={"run": run})] == [one.id for one in made[1:]]


async def asynchronous(made, run):
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0) as client:
        chat = client.chat.completions
        assert [one.id async for one in chat.list(metadata={"run": run}, limit=2)] == [one.id for one in made[1:]]
        assert (await chat.retrieve(made[1].id)).id == made[1].id
        assert [one.content async for one in chat.messages.list(made[1].id)] == ["Number 1."]
        assert (await chat.update(made[1].id, metadata={"run": run})).metadata == {"run": run}
        assert (await chat.delete(made[1].id)).deleted


name = f"python {openai.__version__} {MODEL}"
with openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0) as sync:
    stored = store(sync.chat.completions, name)
    read(sync.chat.completions, stored, name)
    messages(sync.chat.completions, stored[4])
    if not MODEL.startswith("test/"):
        calls(sync.chat.completions)
    change(sync.chat.completions, stored, name)
asyncio.run(asynchronous(stored, name))
print("passed", openai.__version__)
