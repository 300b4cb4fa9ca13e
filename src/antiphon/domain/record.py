"""A prediction as it stands in the store: what was asked, what came of it, and how long each part took."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from uuid import UUID

from antiphon.domain.events import Usage
from antiphon.domain.prediction import CancelReason, Status
from antiphon.domain.values import value


@value
class Timings:
    """How long each part of a prediction took, by the monotonic clock; None for a part that was never reached."""

    queue_s: float | None = None
    """From its beginning until it held its slots."""
    setup_s: float | None = None
    """From its slots until the engine had accepted it."""
    execution_s: float | None = None
    """From the engine's acceptance to the end."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where a prediction's changes are sent."""

    url: str
    secret: str | None = field(default=None, repr=False)
    """What the notices are signed with; unsigned without one."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a prediction did not succeed, in the words its client was told."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Record:
    """One prediction, written down."""

    id: UUID
    account: str
    model: str
    """`owner/name`."""
    version: int
    engine: str
    """The kind of engine that ran it."""
    status: Status
    created_us: int
    """Wall clock, epoch microseconds."""
    updated_us: int
    """Wall clock, epoch microseconds; of the last move."""
    reason: CancelReason | None = None
    request: bytes | None = None
    """The chat request, as JSON; None when it was larger than the store keeps."""
    output: bytes | None = None
    """The chat completion as JSON: whole once it succeeded, as far as it came when it ended otherwise; None before its
    end, without a first word, and when it was larger than the store keeps."""
    usage: Usage = field(default_factory=Usage)
    failure: Failure | None = None
    timings: Timings = field(default_factory=Timings)
    receipt: tuple[str, ...] = ()
    """What of the request was adapted for the engine: "verbosity=instruction"."""
    is_streamed: bool = False
    """Whether its events were asked for."""
    is_stored: bool = False
    """Whether it can be read as a stored completion."""
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    webhook: Webhook | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, and the cursors of its neighbours; None where there is no neighbour."""

    records: tuple[Record, ...]
    next_cursor: str | None = None
    previous_cursor: str | None = None
