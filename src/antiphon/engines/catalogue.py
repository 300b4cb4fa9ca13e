"""The kinds of engine there are. To add one: its file, and one line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from antiphon.core.ports import Engine
from antiphon.domain.errors import EngineFailed


@dataclass(frozen=True, slots=True)
class Definition:
    """What an engine is made from."""

    model: str
    """The model with its version, for messages."""
    slots: int
    run_dir: Path
    weights: Path | None
    """The verified file; None for engines without one."""
    mmproj: Path | None
    """The verified projector, for a model that sees."""
    context_tokens: int | None
    threads: int | None
    batch_threads: int | None
    batch_tokens: int | None
    kv_tokens: int | None
    prefix_tokens: int | None
    script: Mapping[str, Any] | None


def _llamacpp(definition: Definition) -> Engine:
    # Imported here: the extra `llamacpp` may not be installed, and nobody else should pay for loading it.
    from antiphon.engines.llamacpp.child import Options  # noqa: PLC0415
    from antiphon.engines.llamacpp.engine import LlamaCppEngine  # noqa: PLC0415

    if definition.weights is None:
        raise EngineFailed(f"{definition.model} has no weights")
    return LlamaCppEngine(
        Options(
            model=definition.model,
            weights=definition.weights,
            mmproj=definition.mmproj,
            run_dir=definition.run_dir,
            slots=definition.slots,
            context_tokens=definition.context_tokens,
            threads=definition.threads,
            batch_threads=definition.batch_threads,
            batch_tokens=definition.batch_tokens,
            kv_tokens=definition.kv_tokens,
            prefix_tokens=definition.prefix_tokens,
        )
    )


def _scripted(definition: Definition) -> Engine:
    from antiphon.engines.scripted import ScriptedEngine  # noqa: PLC0415

    try:
        return ScriptedEngine(definition.script)
    except ValueError as error:
        raise EngineFailed(f"{definition.model}: its script is wrong: {error}") from error


ENGINES: Mapping[str, Callable[[Definition], Engine]] = MappingProxyType({"llamacpp": _llamacpp, "scripted": _scripted})
