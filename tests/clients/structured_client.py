"""Structured outputs as openai-python's helpers do them; run under each major version by test_structured."""

import asyncio
import sys
from typing import Annotated, Literal

import openai
from pydantic import BaseModel, Field

BASE_URL, KEY, MODEL = sys.argv[1:]
ASK = {"model": MODEL, "max_tokens": 400, "temperature": 0}
Short = Annotated[str, Field(max_length=12)]


class Leg(BaseModel):
    by: Literal["train", "bus", "ship"]
    town: Short


class Trip(BaseModel):
    mood: Literal["good", "bad"]
    note: Short | None
    home: Leg
    legs: Annotated[list[Leg], Field(min_length=1, max_length=2)]


class Tree(BaseModel):
    name: Literal["oak", "elm"]
    branches: Annotated[list["Tree"], Field(max_length=1)]


def says(text):
    return {"messages": [{"role": "user", "content": text}]}


TRIP = ASK | says("Describe a trip.") | {"response_format": Trip}
# A small model would go on for ever with a recursive answer; it ends one that it can copy.
TREE = (
    ASK
    | says('Repeat this: {"name": "oak", "branches": [{"name": "elm", "branches": []}]}')
    | {"response_format": Tree}
)


def parsed(answer, kind):
    """See that an answer is what its class demands, and was parsed into it."""
    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.refusal) == ("stop", None)
    assert not choice.message.tool_calls
    assert type(choice.message.parsed) is kind
    assert choice.message.parsed == kind.model_validate_json(choice.message.content)
    return choice.message.parsed


def formats(chat):
    trip = parsed(chat.completions.parse(**TRIP), Trip)
    parsed(chat.completions.parse(**TREE), Tree)
    with chat.completions.stream(**TRIP) as stream:
        events = list(stream)
        assert parsed(stream.get_final_completion(), Trip) == trip
    (done,) = (event for event in events if event.type == "content.done")
    assert done.parsed == trip
    assert "".join(event.delta for event in events if event.type == "content.delta") == done.content
    try:
        chat.completions.parse(**(TRIP | {"max_tokens": 3}))
    except openai.LengthFinishReasonError as error:
        assert error.completion.usage.completion_tokens == 3
    else:
        raise AssertionError("no LengthFinishReasonError")
    return trip


async def asynchronous(trip):
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0) as client:
        assert parsed(await client.chat.completions.parse(**TRIP), Trip) == trip
        async with client.chat.completions.stream(**TRIP) as stream:
            assert [event.parsed async for event in stream if event.type == "content.done"] == [trip]
            assert parsed(await stream.get_final_completion(), Trip) == trip


with openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0) as sync:
    said = formats(sync.chat)
    assert parsed(sync.beta.chat.completions.parse(**TRIP), Trip) == said
asyncio.run(asynchronous(said))
print("passed", openai.__version__)
