"""Tools as openai-python's helpers use them; run under each major version by test_structured."""

import asyncio
import json
import sys
from typing import Annotated, Literal

import openai
from pydantic import BaseModel, Field

BASE_URL, KEY, MODEL = sys.argv[1:]


class GetWeather(BaseModel):
    """Say what the weather is."""

    town: Literal["Paris", "Oslo"]
    units: Literal["C", "F"] | None


class SetAlarm(BaseModel):
    """Set an alarm."""

    hour: Annotated[int, Field(ge=0, le=23)]


class Way(BaseModel):
    by: Literal["train", "bus"]


KINDS = {"GetWeather": GetWeather, "set_alarm": SetAlarm}
TOOLS = [openai.pydantic_function_tool(kind, name=name) for name, kind in KINDS.items()]
NAMED = {"type": "function", "function": {"name": "GetWeather"}}
ASK = {"model": MODEL, "max_tokens": 300, "temperature": 0, "tools": TOOLS}
WEATHER = ASK | {"messages": [{"role": "user", "content": "What is the weather in Paris?"}]}
ONE = WEATHER | {"tool_choice": "required", "parallel_tool_calls": False}


def called(answer, reason="tool_calls"):
    """See that an answer is calls alone, with arguments parsed into their classes."""
    (choice,) = answer.choices
    message = choice.message
    assert choice.finish_reason == reason
    assert message.content is None
    for call in message.tool_calls:
        kind = KINDS[call.function.name]
        assert type(call.function.parsed_arguments) is kind
        assert call.function.parsed_arguments == kind.model_validate_json(call.function.arguments)
    assert message.tool_calls
    return message


def tools(chat):
    message = called(chat.completions.parse(**WEATHER, tool_choice=NAMED), "stop")
    (call,) = message.tool_calls
    assert (call.function.name, message.content) == ("GetWeather", None)
    called(chat.completions.parse(**WEATHER, tool_choice="required"))
    (only,) = called(chat.completions.parse(**ONE)).tool_calls

    result = {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"sky": "clear"})}
    turns = {"messages": [*WEATHER["messages"], message, result]}
    assert chat.completions.create(**(WEATHER | turns)).choices[0].message.role == "assistant"
    assert chat.completions.create(**(WEATHER | turns), tool_choice="none").choices[0].message.content
    called(chat.completions.parse(**(ONE | turns)))
    way = chat.completions.parse(**(WEATHER | turns), tool_choice="none", response_format=Way)
    assert type(way.choices[0].message.parsed) is Way

    with chat.completions.stream(**ONE) as stream:
        events = list(stream)
        assert called(stream.get_final_completion()).tool_calls[0].function == only.function
    pieces = [event for event in events if event.type == "tool_calls.function.arguments.delta"]
    (done,) = (event for event in events if event.type == "tool_calls.function.arguments.done")
    assert "".join(piece.arguments_delta for piece in pieces) == done.arguments == only.function.arguments
    assert done.parsed_arguments == only.function.parsed_arguments
    assert {(event.name, event.index) for event in [*pieces, done]} == {(only.function.name, 0)}


async def asynchronous():
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0) as client:
        whole = called(await client.chat.completions.parse(**ONE))
        async with client.chat.completions.stream(**ONE) as stream:
            done = [event async for event in stream if event.type == "tool_calls.function.arguments.done"]
            called(await stream.get_final_completion())
        assert [event.arguments for event in done] == [call.function.arguments for call in whole.tool_calls]


with openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0) as sync:
    tools(sync.chat)
asyncio.run(asynchronous())
print("passed", openai.__version__)
