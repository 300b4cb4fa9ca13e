"""The sockets of the house: what the core needs of an engine and of a store."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from antiphon.core.fold import Fold
from antiphon.domain.chat import ChatRequest
from antiphon.domain.errors import AntiphonError
from antiphon.domain.events import Event
from antiphon.domain.prediction import Prediction


@dataclass(frozen=True, slots=True)
class Work:
    """One call for an engine. A plain value, so that it can cross to another process or machine."""

    prediction_id: UUID
    account: str
    """Whose it is: nothing an engine remembers for one account may show in the answer to another."""
    request: ChatRequest


@dataclass(frozen=True, slots=True)
class EngineState:
    """How an engine is, for health answers: `ready`, `loading`, `restarting` or `failed`."""

    state: str
    detail: str = ""

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

    def stream(self, work: Work) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
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


class Keys(Protocol):
    """Who may ask."""

    async def account_of(self, secret: bytes) -> str | None:
        """Find the account of a presented key; None when it is unknown or revoked.

        Raises:
            StorageUnavailable: when the store cannot be asked and the key is not remembered.
        """


class Records(Protocol):
    """Where predictions are written down."""

    async def write(self, prediction: Prediction, fold: Fold, error: AntiphonError | None) -> None:
        """Write a prediction as it stands after a move, with its answer so far and, if it failed, why.

        Raises:
            StorageUnavailable: when it cannot be written; the prediction then does not run.
        """
