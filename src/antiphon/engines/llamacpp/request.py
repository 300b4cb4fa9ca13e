"""A request and its choices, as the loop runs them."""

from collections.abc import Hashable
from dataclasses import dataclass, field

from antiphon.core.writing import ChoiceWriter
from antiphon.engines.llamacpp.protocol import Start
from antiphon.engines.llamacpp.sample import Sampler
from antiphon.engines.llamacpp.schedule import Line


@dataclass(eq=False, slots=True)
class Request:
    """A request with its prompt made."""

    connection: Hashable
    start: Start
    prompt: list[int]
    choices: list["Choice"] = field(default_factory=list)
    """Those that have not ended; empty until it begins."""
    is_cancelled: bool = False


@dataclass(eq=False, slots=True)
class Choice:
    """One choice while it runs."""

    request: Request
    line: Line
    sampler: Sampler
    writer: ChoiceWriter
