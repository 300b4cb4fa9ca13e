"""A conversation and what is asked of it, as values: valid once they exist."""

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Literal

from antiphon.domain.media import Hearing, Medium, Sight, Speech
from antiphon.domain.models import ModelName
from antiphon.domain.sampling import Sampling
from antiphon.domain.tools import AnswerFormat, Tools
from antiphon.domain.values import value

NO_METADATA: Mapping[str, str] = MappingProxyType({})
Role = Literal["developer", "system", "user", "assistant", "tool", "function"]


@value
class ToolCall:
    """A call that an earlier assistant turn made, given back by the client."""

    id: str | None
    """None for the deprecated `function_call`, which has none."""
    name: str
    arguments: str
    """JSON text as it was generated; not checked."""


@value
class Message:
    """One turn. Text parts arrive joined, since no model sees the borders between them."""

    role: Role
    text: str
    """Empty when the turn has no text (an assistant turn that only calls tools)."""
    name: str | None = None
    """Who speaks, among several of one role; for `function` messages, the function's name."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Only on assistant turns."""
    tool_call_id: str | None = None
    """Only on tool turns: the call this answers."""
    media: tuple[Medium, ...] = ()
    """What it carries beside text, in order; nothing of it is left once it was taken in."""
    speech_id: str | None = None
    """Only on assistant turns: the id of the spoken answer it was, whose words are its text."""
    sensed: tuple[Sight | Hearing, ...] = ()
    """What was taken in for an engine that sees or hears by itself, in order of place."""


@value
class Asked:
    """A feature a request needs, that not every engine has."""

    feature: str
    """The name the engines' tables use: a top-level field ("tools"), or a kind of content part ("image_url")."""
    param: str
    """The field that asked for it, as OpenAI writes it."""


@value
class ChatRequest:
    """One call, read and checked. What is not here was refused, or is neutral."""

    model: ModelName
    model_text: str
    """The model as the client wrote it, which is how the answer names it."""
    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    tools: Tools = field(default_factory=Tools)
    """Empty when the client wants no calls."""
    answer_format: AnswerFormat | None = None
    speech: Speech | None = None
    """How the answer is to be spoken, if it is."""
    prediction: str | None = None
    """What the answer probably is; only ever makes it faster."""
    reasoning_effort: str | None = None
    verbosity: str | None = None
    """None when it asks for nothing."""
    asked: tuple[Asked, ...] = ()
    """Every field asked for with something other than its neutral value, and every content part that is not text."""
    stream: bool = False
    include_usage: bool = False
    include_obfuscation: bool = False
    service_tier: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    store: bool = False
    """Whether the answer can be read again as a stored completion."""
    metadata: Mapping[str, str] = field(default_factory=lambda: NO_METADATA)
    ignored: tuple[str, ...] = ()
    """Top-level fields that no version of the API knows; dropped, and named in the answer."""
