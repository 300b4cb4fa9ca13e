"""The chat request as the API describes it: one line a field, one class an object, strict in every type.

Source: the OpenAI API's specification 2.3.0 (2026-08-21) and the platform's own page of the endpoint; limits that only
real servers show are from OpenAI's answers. `null` means "not asked" for every optional field.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter

from antiphon.wire.message_schema import Lenient, Message, Name, Strict, TextParts


def _integral(value: object) -> object:
    """A whole number written as 2.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(value: object) -> object:
    """A bool is no number, though Python thinks so."""
    return str(value) if isinstance(value, bool) else value


INTEGER, NUMBER = BeforeValidator(_integral), BeforeValidator(_number)
"""Behind the bounds in an annotation: those that stand behind a validator are no bounds to JSON Schema."""
Description = Annotated[str, Field(max_length=1024)]
Schema = dict[str, Any]


class Function(Strict):
    """A function a model may call."""

    name: Name
    description: Description | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class FunctionTool(Strict):
    """A function tool."""

    type: Literal["function"]
    function: Function


class Grammar(Strict):
    """What a custom tool's input must be."""

    syntax: Literal["lark", "regex"]
    definition: Annotated[str, Field(min_length=1)]


class TextFormat(Strict):
    """Free text."""

    type: Literal["text"]


class GrammarFormat(Strict):
    """Text of a grammar."""

    type: Literal["grammar"]
    grammar: Grammar


class Custom(Strict):
    """A tool that takes text."""

    name: Name
    description: Description | None = None
    format: Annotated[TextFormat | GrammarFormat, Field(discriminator="type")] | None = None


class CustomTool(Strict):
    """A custom tool."""

    type: Literal["custom"]
    custom: Custom


class Named(Strict):
    """A tool by name."""

    name: Annotated[str, Field(min_length=1)]


class NamedFunction(Strict):
    """Call this function."""

    type: Literal["function"]
    function: Named


class NamedCustom(Strict):
    """Call this custom tool."""

    type: Literal["custom"]
    custom: Named


NamedTool = Annotated[NamedFunction | NamedCustom, Field(discriminator="type")]


class Allowed(Strict):
    """Some of the tools."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1)]


class AllowedTools(Strict):
    """Call only these."""

    type: Literal["allowed_tools"]
    allowed_tools: Allowed


ToolObject = Annotated[NamedFunction | NamedCustom | AllowedTools, Field(discriminator="type")]


class JsonObject(Strict):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchema(Strict):
    """A schema with its name."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=())
    name: Name
    description: str | None = None
    json_schema: Annotated[Schema | None, Field(alias="schema")] = None
    strict: bool | None = None


class JsonSchemaFormat(Strict):
    """JSON of a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class Prediction(Strict):
    """What the answer probably is."""

    type: Literal["content"]
    content: str | TextParts


VoiceName = Annotated[str, Field(min_length=1, max_length=64)]


class VoiceId(Strict):
    """A voice by its id."""

    id: VoiceName


class Audio(Strict):
    """How the answer is spoken."""

    voice: VoiceName | VoiceId
    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"]

    @property
    def name(self) -> str:
        """The voice, however it is named."""
        return self.voice.id if isinstance(self.voice, VoiceId) else self.voice


class StreamOptions(Strict):
    """What a stream carries."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


NO_STREAM_OPTIONS = StreamOptions()


class FunctionName(Strict):
    """A function by name."""

    name: Annotated[str, Field(min_length=1)]


Stop = Annotated[str, Field(min_length=1)]


Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


class MetadataBody(Strict):
    """The body that gives a stored completion other metadata."""

    metadata: Metadata | None


class ChatBody(Lenient):
    """The body of POST /v1/chat/completions. Unknown fields are collected by the reader, not here."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]
    audio: Audio | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False), NUMBER] | None = None
    logit_bias: (
        dict[
            Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,8})$")],
            Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False), NUMBER],
        ]
        | None
    ) = None
    logprobs: bool | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=2**31 - 1), INTEGER] | None = None
    modalities: Annotated[list[Literal["text", "audio"]], Field(min_length=1, max_length=2)] | None = None
    n: Annotated[int, Field(ge=1, le=128), INTEGER] | None = None
    parallel_tool_calls: bool | None = None
    prediction: Prediction | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False), NUMBER] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    stop: Stop | Annotated[list[Stop], Field(min_length=1, max_length=4)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False), NUMBER] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), NUMBER] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolObject | None = None
    tools: (
        Annotated[
            list[Annotated[FunctionTool | CustomTool, Field(discriminator="type")]],
            Field(min_length=1, fail_fast=True),
        ]
        | None
    ) = None
    top_logprobs: Annotated[int, Field(ge=0, le=20), INTEGER] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: Annotated[TextFormat | JsonObject | JsonSchemaFormat, Field(discriminator="type")] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1), INTEGER] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=2**31 - 1), INTEGER] | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    safety_identifier: Annotated[str, Field(max_length=64)] | None = None
    prompt_cache_key: Annotated[str, Field(max_length=512)] | None = None
    functions: Annotated[list[Function], Field(min_length=1, max_length=128)] | None = None
    function_call: Literal["none", "auto"] | FunctionName | None = None


FIELDS = frozenset(ChatBody.model_fields)
"""Every top-level field the API knows."""

CHAT_BODY: TypeAdapter[ChatBody] = TypeAdapter(ChatBody)
