"""The sockets of the house: what the core needs of an engine and of a store."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol
from uuid import UUID

from antiphon.domain.chat import ChatRequest
from antiphon.domain.events import Batch
from antiphon.domain.limits import NO_LIMITS, Holder, KeyLimits
from antiphon.domain.prediction import Status
from antiphon.domain.record import Page, Record
from antiphon.domain.trace import Trace


@dataclass(frozen=True, slots=True)
class Work:
    """One call for an engine. A plain value, so that it can cross to another process or machine."""

    prediction_id: UUID
    account: str
    """Whose it is: nothing an engine remembers for one account may show in the answer to another."""
    request: ChatRequest
    trace: Trace | None = None
    """Whose trace it is part of, where traces are on."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """How an engine is, for health answers: `ready`, `loading`, `restarting` or `failed`."""

    state: str
    detail: str = ""
    restarts: int = 0
    """How often it was started again."""

    @property
    def is_ready(self) -> bool:
        """Whether a request sent now would start at once."""
        return self.state == "ready"


class Engine(Protocol):
    """What runs one version of a model."""

    @property
    def features(self) -> Mapping[str, str]:
        """What this version can do: each feature's name in a request, to its name on the engine.

        The table is the list of what is supported and the renaming in one, so the two cannot disagree. A request that
        asks for anything else is refused before it reaches the engine.
        """

    @property
    def state(self) -> EngineState:
        """How it is now; never blocks."""

    def open(self) -> AbstractAsyncContextManager[None]:
        """Run for the body: entering returns when the first request can be taken, leaving stops everything it runs.

        Raises (from entering):
            EngineFailed: with one line that says what is wrong, when it cannot run at all.
        """

    def stream(self, work: Work) -> AbstractAsyncContextManager[AsyncIterator[Batch]]:
        """Answer a call: entering sends it, iterating gives its events, leaving stops whatever still runs for it.

        Raises (from entering or from iterating):
            ContextTooLong: the prompt does not fit.
            Unsupported: the model's own template refuses these messages, or a token id is not in its vocabulary.
            EngineUnavailable: it cannot be reached now, and the request never started.
            EngineFailed: it died or broke its grammar.
        """


@dataclass(frozen=True, slots=True)
class Key:
    """A bearer key, without its secret."""

    id: str
    """Public: the part of the key that may be shown in lists."""
    account: str
    name: str
    created: int
    revoked: int | None
    limits: KeyLimits = NO_LIMITS


class Keys(Protocol):
    """Who may ask."""

    async def holder_of(self, secret: bytes) -> Holder | None:
        """Find whose a presented key is, and what it may; None when it is unknown or revoked.

        Raises:
            StorageUnavailable: when the store cannot be asked and the key is not remembered.
        """


class Writing(Protocol):
    """A prediction on its way into the store."""

    async def wait(self) -> None:
        """Return once it is written, or will be: an ended one whose beginning is written is kept until it can be.

        Raises:
            StorageUnavailable: it is not, and will not be.
        """


class _Written:
    async def wait(self) -> None:
        """Have nothing to wait for."""


WRITTEN: Writing = _Written()
"""What is written already, or need not be."""


@dataclass(frozen=True, slots=True)
class StoredQuery:
    """Which stored completions are asked for."""

    model: str | None = None
    """`owner/name`, or `owner/name:N` for those of one version."""
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """All of these pairs."""
    after: UUID | None = None
    is_descending: bool = False
    limit: int = 20


@dataclass(frozen=True, slots=True)
class Claim:
    """Who has an idempotency key."""

    prediction_id: UUID
    digest: bytes
    """Of the request that took the key."""
    age_s: float


class Archive(Protocol):
    """Predictions that were written down, for those whose they are.

    Every method of this and of the next two raises StorageUnavailable when the store cannot be asked.
    """

    async def get(self, account: str, prediction_id: UUID) -> Record | None:
        """Find a prediction of this account."""

    async def page(self, account: str, cursor: str | None, size: int, statuses: frozenset[Status]) -> Page:
        """Give a part of an account's predictions, newest first, without their requests and outputs.

        Args:
            account: whose.
            cursor: where another page said that this one begins; None for the newest.
            size: how many at most.
            statuses: only those that stand so; empty for all.

        Raises:
            InvalidRequest: the cursor is none of ours.
        """

    async def request_cancel(self, account: str, prediction_id: UUID) -> bool:
        """Ask whoever runs it to cancel a prediction; False when it has ended, or is not there."""

    async def runs(self) -> Mapping[str, int]:
        """Give how many predictions each model has had."""


class Completions(Protocol):
    """Those predictions that can be read as stored completions."""

    async def find(self, account: str, prediction_id: UUID) -> Record | None:
        """Find a stored completion of this account."""

    async def list(self, account: str, query: StoredQuery) -> tuple[tuple[Record, ...], bool]:
        """Give stored completions, oldest first unless asked otherwise, and whether there are more.

        Raises:
            UnknownPrediction: `query.after` is no stored completion of this account.
        """

    async def relabel(self, account: str, prediction_id: UUID, metadata: Mapping[str, str]) -> Record | None:
        """Give a stored completion other metadata; None when there is none of that id."""

    async def unstore(self, account: str, prediction_id: UUID) -> bool:
        """Take a completion out of the stored ones; its prediction stays. False when there is none of that id."""


class Idempotency(Protocol):
    """Who has which idempotency key."""

    async def claim(
        self, account: str, key: str, digest: bytes, prediction_id: UUID, instead_of: UUID | None = None
    ) -> Claim:
        """Take an idempotency key for a prediction, unless another has it; give who has it now.

        Args:
            account: whose key it is.
            key: the key.
            digest: of the request.
            prediction_id: for whom.
            instead_of: take it from this one, which came to nothing.
        """
