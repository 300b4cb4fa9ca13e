"""Messages as the API describes them: their roles, their parts, and what clients echo of earlier answers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class Strict(BaseModel):
    """An object whose keys are all known."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Lenient(BaseModel):
    """An object that clients echo with keys of their own."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class TextPart(Strict):
    """Text."""

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: Any = None


class RefusalPart(Strict):
    """What an assistant turn said instead of an answer."""

    type: Literal["refusal"]
    refusal: str


class ImageUrl(Strict):
    """An image by http(s) or data: URL."""

    url: Annotated[str, Field(min_length=1)]
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Strict):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl
    prompt_cache_breakpoint: Any = None


class InputAudio(Strict):
    """Sound in base64."""

    data: Annotated[str, Field(min_length=1)]
    format: Literal["wav", "mp3", "flac", "opus", "ogg", "m4a", "aac", "pcm16"]


class AudioPart(Strict):
    """Sound."""

    type: Literal["input_audio"]
    input_audio: InputAudio
    prompt_cache_breakpoint: Any = None


class FileData(Strict):
    """A file, whole or by its id."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(Strict):
    """A file."""

    type: Literal["file"]
    file: FileData
    prompt_cache_breakpoint: Any = None


TextParts = Annotated[list[TextPart], Field(min_length=1, fail_fast=True)]
UserPart = Annotated[TextPart | ImagePart | AudioPart | FilePart, Field(discriminator="type")]
AssistantPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]


class SystemMessage(Strict):
    """Instructions."""

    role: Literal["system", "developer"]
    content: str | TextParts
    name: Name | None = None


class UserMessage(Strict):
    """What the user says."""

    role: Literal["user"]
    content: str | Annotated[list[UserPart], Field(min_length=1, fail_fast=True)]
    name: Name | None = None


class CalledFunction(Lenient):
    """A function call as it was generated; `arguments` may be anything."""

    name: Annotated[str, Field(min_length=1)]
    arguments: str


class CalledCustom(Lenient):
    """A custom tool call as it was generated."""

    name: Annotated[str, Field(min_length=1)]
    input: str


class FunctionCall(Lenient):
    """One earlier call of a function tool."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    type: Literal["function"]
    function: CalledFunction


class CustomCall(Lenient):
    """One earlier call of a custom tool."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    type: Literal["custom"]
    custom: CalledCustom


class AudioId(Lenient):
    """An earlier spoken answer; SDKs echo the whole object."""

    id: str


class AssistantMessage(Lenient):
    """An earlier answer, echoed by a client with whatever keys its SDK adds."""

    role: Literal["assistant"]
    content: str | Annotated[list[AssistantPart], Field(min_length=1, fail_fast=True)] | None = None
    name: Name | None = None
    refusal: str | None = None
    audio: AudioId | None = None
    tool_calls: (
        Annotated[
            list[Annotated[FunctionCall | CustomCall, Field(discriminator="type")]], Field(min_length=1, max_length=128)
        ]
        | None
    ) = None
    function_call: CalledFunction | None = None


class ToolMessage(Strict):
    """The result of a call."""

    role: Literal["tool"]
    content: str | TextParts
    tool_call_id: str
    name: Name | None = None


class FunctionMessage(Strict):
    """The result of a deprecated function call."""

    role: Literal["function"]
    content: str | None
    name: Name


Message = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage, Field(discriminator="role")
]
