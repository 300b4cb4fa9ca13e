"""The tables of the configuration: what can be set, between which bounds, and what is taken by default."""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from antiphon.settings.versions import VARIABLE, Count, Frozen, Seconds, Url, VersionSettings

MOST_SEQUENCES = 128
"""As many as llama.cpp has buffers for are worth having on one machine."""


class ServerSettings(Frozen):
    """Where the server listens and how long it waits."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    deadline_s: Seconds = 300
    body_bytes: Annotated[int, Field(ge=1024, le=1_073_741_824)] = 20_971_520
    drain_s: Annotated[float, Field(ge=0, le=3600)] = 25
    workers: Annotated[int, Field(ge=1, le=64)] = 1

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class StoreSettings(Frozen):
    """Where keys and predictions are kept, and how many."""

    url: Annotated[str, Field(pattern=r"^(sqlite:///|postgresql://).+")] = "sqlite:///antiphon.db"
    limits_url: Annotated[str, Field(pattern=r"^((redis|rediss|unix)://.+)?$", repr=False)] = ""
    record: bool = True
    record_bytes: Annotated[int, Field(ge=1024, le=1_073_741_824)] = 1_048_576
    retain_s: Annotated[float, Field(gt=0)] = 2_592_000
    retain_rows: Count = 1_000_000


class WebhookSettings(Frozen):
    """Where notices of predictions may go."""

    allow_private: bool = False


class MediaSettings(Frozen):
    """What is taken in beside text."""

    fetch: bool = False
    fetch_private: bool = False
    fetch_bytes: Count = 20_971_520
    file_bytes: Annotated[int, Field(ge=1, le=1_073_741_824)] = 20_971_520
    file_retain_s: Annotated[int, Field(ge=1)] = 2_592_000
    account_files: Count = 1_000
    account_bytes: Count = 268_435_456


class SpeechServerSettings(Frozen):
    """Another server that hears, or speaks."""

    base_url: Url
    model: Annotated[str, Field(min_length=1, max_length=512)]
    api_key_env: Annotated[str, Field(pattern=VARIABLE)] | None = None
    api_key_file: str | None = None
    timeout_s: Seconds = 60


class VoiceServerSettings(SpeechServerSettings):
    """Another server that speaks."""

    voices: Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(min_length=1)]


class SpeechSettings(Frozen):
    """Whether answers are spoken and sounds heard, by how many threads, and by whom."""

    enabled: bool = False
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    voice: VoiceServerSettings | None = None
    recogniser: SpeechServerSettings | None = None


class TraceSettings(Frozen):
    """Where traces of predictions go, and which share of them."""

    otlp_url: Url | None = None
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 1


class LimitSettings(Frozen):
    """How large a request may be, beside its bytes."""

    text_bytes: Count = 4_194_304
    depth: Count = 64
    nodes: Count = 100_000
    object_keys: Count = 5_000
    messages: Count = 1_024
    parts: Count = 256
    media: Count = 16
    stop_chars: Count = 256
    logit_bias: Count = 1_024
    tools: Count = 128
    schema_bytes: Count = 65_536
    schema_depth: Count = 16


class ModelSettings(Frozen):
    """A model and how much of it runs at once."""

    visibility: Literal["public", "private"] = "public"
    account: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    slots: Annotated[int, Field(ge=1, le=100_000)] = 8
    queue: Annotated[int, Field(ge=0, le=100_000)] = 64
    deadline_s: Seconds = 300
    versions: Annotated[list[VersionSettings], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        numbers = [version.number for version in self.versions]
        if numbers != sorted(set(numbers)):
            raise ValueError("version numbers should rise, each one once")
        if self.slots > MOST_SEQUENCES and any(version.engine == "llamacpp" for version in self.versions):
            raise ValueError(f"the embedded engine has at most {MOST_SEQUENCES} slots")
        if (self.visibility == "private") != (self.account is not None):
            raise ValueError('visibility = "private" and account = "…" go together')
        return self


class Settings(Frozen):
    """Everything that can be configured."""

    home: Path
    api_key: str | None = Field(default=None, repr=False)
    source: str = "the defaults"
    """Where it was read from, for messages."""
    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    webhooks: WebhookSettings = WebhookSettings()
    media: MediaSettings = MediaSettings()
    speech: SpeechSettings = SpeechSettings()
    traces: TraceSettings = TraceSettings()
    limits: LimitSettings = LimitSettings()
    models: Annotated[dict[str, ModelSettings], Field(min_length=1)]

    @model_validator(mode="after")
    def _can_be_divided(self) -> Self:
        workers = self.server.workers
        for name, model in self.models.items() if workers > 1 else ():
            if any(version.engine == "llamacpp" for version in model.versions):
                raise ValueError(f'server.workers should be 1: models."{name}" runs inside, and would in each of them')
            if model.slots < workers:
                raise ValueError(f'server.workers should be at most {model.slots}, the slots of models."{name}"')
        return self

    def part(self, number: int) -> Self:
        """Give what one worker, numbered from 0, serves: its part of each model's slots and queue."""
        workers = self.server.workers
        models = {
            name: model.model_copy(
                update={"slots": _part(model.slots, number, workers), "queue": _part(model.queue, number, workers)}
            )
            for name, model in self.models.items()
        }
        return self.model_copy(update={"models": models, "server": self.server.model_copy(update={"workers": 1})})


def _part(whole: int, number: int, workers: int) -> int:
    """Divide, so that all parts together are the whole."""
    return whole // workers + (number < whole % workers)
