"""What the endpoints need, handed to them once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from antiphon.core.background import Background
from antiphon.core.files import Files, Quota
from antiphon.core.limits import Limiter
from antiphon.core.ports import Archive, Completions, Idempotency, Keys
from antiphon.core.predict import Predictor
from antiphon.core.registry import Registry
from antiphon.wire.json_in import Limits


@dataclass(frozen=True, slots=True)
class FileLimits:
    """How much of files may be kept."""

    file_bytes: int
    retain_s: int
    quota: Quota
    folder: Path
    """Where a large one lies while it arrives."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything behind the door."""

    registry: Registry
    predictor: Predictor
    background: Background
    keys: Keys
    archive: Archive
    completions: Completions
    idempotency: Idempotency
    files: Files
    file_limits: FileLimits
    limits: Limits
    limiter: Limiter
    deadline_s: float
    """The longest any prediction may take; models and clients may ask for less."""
    is_store_well: Callable[[], bool]
    """Whether the store could be read and written when that was last tried."""
    metrics: Callable[[frozenset[str]], bytes]
    """Gives what is measured, as Prometheus reads it, but nothing of the models whose ids it is given."""
    trace_ratio: float | None
    """Which share of the traces that begin here is sampled; None where there are no traces."""
    has_records: bool
    """Whether predictions are written down; without that there is nothing to store, join or look at."""
    check_webhook: Callable[[str], None]
    """Raises a ValueError for an address that no notice is sent to."""
