"""What programs on instructor, Pydantic AI and LangChain do for structured answers; run by test_frameworks."""

import json
import sys
from importlib.metadata import version
from typing import Annotated, Literal

import instructor
import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

FRAMEWORK, BASE_URL, KEY, MODEL = sys.argv[1:]
TEXT = "Ann is a pilot of 30 years, and lives in Oslo."


class Home(BaseModel):
    town: Literal["Oslo", "Paris"]


class Person(BaseModel):
    """A person."""

    name: Literal["Ann", "Bob"]
    job: Literal["pilot", "cook"] | None
    age: Annotated[int, Field(ge=0, le=99)]
    homes: Annotated[list[Home], Field(max_length=2)]


def with_instructor():
    ask = {"model": MODEL, "messages": [{"role": "user", "content": TEXT}], "max_tokens": 200, "temperature": 0}
    with openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0) as client:
        for mode in (instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT, instructor.Mode.JSON_SCHEMA):
            patched = instructor.from_openai(client, mode=mode)
            made, answer = patched.chat.completions.create_with_completion(response_model=Person, max_retries=1, **ask)
            assert isinstance(made, Person)
            assert bool(answer.choices[0].message.tool_calls) == (mode != instructor.Mode.JSON_SCHEMA)
            *_, last = patched.chat.completions.create_partial(response_model=Person, max_retries=1, **ask)
            assert last.model_dump() == made.model_dump()


def with_pydantic_ai():
    provider = OpenAIProvider(base_url=BASE_URL, api_key=KEY)
    model = OpenAIChatModel(MODEL, provider=provider)
    settings = {"max_tokens": 200, "temperature": 0}
    for output in (Person, ToolOutput(Person, strict=True), NativeOutput(Person, strict=True)):
        agent = Agent(model, output_type=output, model_settings=settings, retries=0)
        run = agent.run_sync(TEXT)
        assert type(run.output) is Person
        assert run.usage.output_tokens > 0
        history = run.all_messages()
        assert type(agent.run_sync("And Bob?", message_history=history).output) is Person
        streamed = agent.run_stream_sync(TEXT)
        *_, last = streamed.stream_output(debounce_by=None)
        assert last == streamed.get_output() == run.output


def with_langchain():
    model = ChatOpenAI(
        model=MODEL, base_url=BASE_URL, api_key=KEY, temperature=0, max_tokens=200, max_retries=0, stream_usage=True
    )
    for method in ("json_schema", "function_calling"):
        for strict in (True, None):
            made = model.with_structured_output(Person, method=method, strict=strict).invoke(TEXT)
            assert type(made) is Person
            assert made == list(model.with_structured_output(Person, method=method, strict=strict).stream(TEXT))[-1]
    assert model.with_structured_output(Person.model_json_schema(), method="json_schema").invoke(TEXT)["name"]
    for choice in ("Person", "required", {"type": "function", "function": {"name": "Person"}}):
        bound = model.bind_tools([Person], tool_choice=choice)
        said = bound.invoke(TEXT)
        call = said.tool_calls[0]
        assert (call["name"], said.invalid_tool_calls) == ("Person", [])
        assert Person(**call["args"])
        whole = None
        for chunk in bound.stream(TEXT):
            whole = chunk if whole is None else whole + chunk
        assert [found["args"] for found in whole.tool_calls] == [found["args"] for found in said.tool_calls]
        assert whole.usage_metadata["output_tokens"] == said.usage_metadata["output_tokens"]
        results = [ToolMessage(json.dumps({"saved": True}), tool_call_id=found["id"]) for found in said.tool_calls]
        assert bound.invoke([HumanMessage(TEXT), said, *results]).tool_calls


PROGRAMS = {
    "instructor": (with_instructor, "instructor"),
    "pydantic_ai": (with_pydantic_ai, "pydantic-ai-slim"),
    "langchain": (with_langchain, "langchain-openai"),
}
program, package = PROGRAMS[FRAMEWORK]
program()
print("passed", FRAMEWORK, version(package))
