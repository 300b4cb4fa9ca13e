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
    options: Mapping[str, Any]
    """What its own kind of engine has beside that, as the configuration names it."""


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
            **definition.options,
        )
    )


def _scripted(definition: Definition) -> Engine:
    return _script(definition.model, definition.options)


def _script(model: str, options: Mapping[str, Any]) -> Engine:
    from antiphon.engines.scripted import ScriptedEngine  # noqa: PLC0415

    try:
        return ScriptedEngine(options.get("script"))
    except ValueError as error:
        raise EngineFailed(f"{model}: its script is wrong: {error}") from error


def _upstream(definition: Definition) -> Engine:
    from antiphon.engines.upstream.engine import UpstreamEngine  # noqa: PLC0415
    from antiphon.engines.upstream.options import read_options  # noqa: PLC0415

    return UpstreamEngine(read_options(definition.model, definition.options))


ENGINES: Mapping[str, Callable[[Definition], Engine]] = MappingProxyType(
    {"llamacpp": _llamacpp, "scripted": _scripted, "upstream": _upstream}
)
"""Each kind, to what makes one. Raises EngineFailed where the definition does not do."""


def judge(kind: str, model: str, options: Mapping[str, Any]) -> None:
    """See whether an engine could be made, as far as that is known without its files and keys.

    Raises:
        EngineFailed: it could not.
    """
    from antiphon.engines.upstream.options import judge_options  # noqa: PLC0415

    if kind == "upstream":
        judge_options(model, options)
    elif kind == "scripted":
        _script(model, options)
