"""Predictions that nobody holds a connection for: they run until they end by themselves, or are cancelled by name."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import structlog
from anyio.abc import TaskGroup

from antiphon.core.predict import Predictor
from antiphon.core.running import Call, Running
from antiphon.domain.errors import AntiphonError

_log = structlog.get_logger()


class Background:
    """Runs predictions on its own."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._group: TaskGroup | None = None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Run predictions for the body; leaving cancels those that still run."""
        async with anyio.create_task_group() as self._group:
            yield
            self._group.cancel_scope.cancel()

    def start(self, call: Call) -> Running:
        """Begin a prediction and let it run.

        Raises:
            Draining: the server takes no new work.
        """
        if self._group is None:
            raise RuntimeError("predictions are started inside `open` only")
        running = self._predictor.begin(call)
        self._group.start_soon(self._run, running)
        return running

    async def _run(self, running: Running) -> None:
        try:
            await self._predictor.run(running)
        except AntiphonError:
            return  # It is in the record, and those who follow are told.
        except Exception:  # noqa: BLE001 - where a prediction ends: it is in the record as well
            _log.exception("prediction failed", request_id=str(running.prediction.id))
