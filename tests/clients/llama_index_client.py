"""What programs on LlamaIndex do; run by test_frameworks.

Nothing is fetched: the wheel of llama-index-core carries what nltk and tiktoken would download, and `OpenAILike` counts
no tokens as long as it is given no tokenizer, whose name would be one of Hugging Face's.
"""

import asyncio
import json
import sys
from importlib.metadata import version
from typing import Annotated, Literal

import openai
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, Field

CALLER_URL, BASE_URL, KEY, MODEL = sys.argv[1:]
HELLO = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Say hello.")]
TRIP = PromptTemplate("Describe a trip to {town}.")


class Trip(BaseModel):
    """A trip."""

    mood: Literal["good", "bad"] | None
    days: Annotated[int, Field(ge=1, le=99)]
    towns: Annotated[list[Literal["Oslo", "Paris"]], Field(max_length=2)]


def model(url=BASE_URL, name=MODEL, **options):
    kept = {"temperature": 0, "max_tokens": 200, "max_retries": 0, "context_window": 2048}
    flags = {"is_chat_model": True, "is_function_calling_model": True}
    return OpenAILike(model=name, api_base=url, api_key=KEY, **(kept | flags | options))


PARROT = model(CALLER_URL, "test/parrot")


async def plain(llm):
    said = llm.chat(HELLO)
    assert said.message.content
    assert said.raw.usage.completion_tokens > 0
    *_, last = llm.stream_chat(HELLO)
    assert last.message.content == said.message.content
    assert (await llm.achat(HELLO)).message.content == said.message.content
    pieces = [piece.delta async for piece in await llm.astream_chat(HELLO)]
    assert "".join(pieces) == said.message.content
    assert llm.complete("Say hello.").text == "".join(piece.delta for piece in llm.stream_complete("Say hello."))
    scored = model(logprobs=True, top_logprobs=2).chat(HELLO)
    assert "".join(entry[0].token for entry in scored.logprobs) == said.message.content


async def structured(llm):
    """Fill a class in: by a call that must be made, and by a response format."""
    for asked in (llm, model(should_use_structured_outputs=True)):
        made = asked.structured_predict(Trip, TRIP, town="Oslo")
        assert type(made) is Trip
        assert await asked.astructured_predict(Trip, TRIP, town="Oslo") == made
        assert type(asked.as_structured_llm(Trip).chat([ChatMessage(role="user", content="A trip.")]).raw) is Trip
    # A stream leaves it to the model whether it calls.
    call = {"name": "Trip", "arguments": {"mood": "good", "days": 3, "towns": ["Oslo"]}}
    prompt = PromptTemplate("<tool_call> {call} </tool_call>")
    *_, last = PARROT.stream_structured_predict(Trip, prompt, call=json.dumps(call))
    assert last == Trip(**call["arguments"])


async def called(llm):
    """Call tools: one that must be called, and an agent's, whose model calls and then says what the tool gave."""
    seen = []

    def keep(town: Literal["Oslo", "Paris"], days: int) -> str:
        """Keep a trip."""
        seen.append((town, days))
        return "kept"

    tool = FunctionTool.from_defaults(keep)
    answer = llm.predict_and_call([tool], "Keep my trip to Oslo of 3 days.", tool_required=True)
    assert (str(answer), len(seen)) == ("kept", 1)
    (call,) = llm.get_tool_calls_from_response(llm.chat_with_tools([tool], "Keep it.", tool_required=True))
    assert call.tool_kwargs["town"] in {"Oslo", "Paris"}

    def now() -> str:
        """Say what the time is."""
        return "noon"

    for streaming in (True, False):
        agent = FunctionAgent(tools=[now], llm=PARROT, streaming=streaming)
        done = await agent.run('<tool_call> {"name": "now", "arguments": {}} </tool_call>')
        assert [call.tool_name for call in done.tool_calls] == ["now"]
        assert done.response.content == "noon"


def bad():
    for ask in (lambda llm: llm.chat(HELLO), lambda llm: list(llm.stream_chat(HELLO))):
        try:
            ask(model(additional_kwargs={"top_p": 7}))
        except openai.UnprocessableEntityError as error:
            assert error.param == "top_p"
            assert "top_p" in error.message
        else:
            raise AssertionError("no UnprocessableEntityError")
    try:
        model(name="a/b").chat(HELLO)
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
    else:
        raise AssertionError("no NotFoundError")


async def main():
    llm = model()
    await plain(llm)
    await structured(llm)
    await called(llm)
    bad()


asyncio.run(main())
print("passed", version("llama-index-llms-openai-like"))
