"""Keeps a child running: starts it again when it dies, waiting longer each time it dies young."""

import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from antiphon.core.ports import EngineState
from antiphon.domain.errors import EngineFailed, EngineUnavailable
from antiphon.engines.llamacpp.child import Child, Options, launch
from antiphon.engines.llamacpp.protocol import Ready

BACK_OFF_S = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""How long to wait before each start in a row; the last one repeats."""
GROWN_UP_S = 60.0
"""A child that has lived this long is not held responsible for those before it."""
WAIT_S = 5.0
"""How long a call waits for a child that is being started."""

_log = structlog.get_logger()


class Supervisor:
    """Owns the child of one version."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._child: Child | None = None
        self._changed = anyio.Event()
        self.state = EngineState("loading")

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Keep a child running for the body.

        Raises:
            EngineFailed: the first start did not work.
        """
        self._options.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(self._options.run_dir)
        async with anyio.create_task_group() as group:
            failure: Exception | None = await group.start(self._keep, group)
            if failure is None:
                try:
                    yield
                except Exception as error:  # noqa: BLE001 - carried past the group, which would wrap it
                    failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    @property
    def ready(self) -> Ready | None:
        """What the running child said of itself; None while there is none."""
        return self._child.ready if self._child else None

    async def child(self) -> Child:
        """Give the child that runs now, waiting a little for one that is being started.

        Raises:
            EngineUnavailable: there is none, and there will not be one soon.
        """
        with anyio.move_on_after(WAIT_S):
            while self._child is None and self.state.state == "restarting":
                await self._changed.wait()
        if self._child is None:
            raise EngineUnavailable("The model's engine is not running. Try again later.")
        return self._child

    async def _keep(self, group: TaskGroup, *, task_status: TaskStatus[EngineFailed | None]) -> None:
        """Run one child after another; the first start reports whether it worked."""
        deaths, restarts, is_first = 0, 0, True
        while True:
            born = time.monotonic()
            try:
                async with launch(self._options, group) as child:
                    self._change(child, EngineState("ready", restarts=restarts))
                    if is_first:
                        task_status.started(None)
                    is_first = False
                    await child.listen()
            except Exception as error:  # noqa: BLE001 - what keeps one child from running must not end the server
                if is_first:
                    task_status.started(_failure(error))
                    return
                _log.error("engine does not start", model=self._options.model, why=_failure(error).message)
            deaths = 0 if time.monotonic() - born > GROWN_UP_S else deaths
            pause_s = BACK_OFF_S[min(deaths, len(BACK_OFF_S) - 1)]
            deaths += 1
            self._change(None, EngineState("restarting" if pause_s < WAIT_S else "failed", restarts=restarts))
            restarts += 1
            _log.warning("engine died", model=self._options.model, restart_in_s=pause_s)
            await anyio.sleep(pause_s)

    def _change(self, child: Child | None, state: EngineState) -> None:
        self._child, self.state = child, state
        self._changed.set()
        self._changed = anyio.Event()


def _failure(error: Exception) -> EngineFailed:
    """Why a child does not run: it says so, or no process or connection can be had, or it is gone in between."""
    return error if isinstance(error, EngineFailed) else EngineFailed(f"{type(error).__name__} {error}".rstrip())


def _sweep(run_dir: Path) -> None:
    """Remove the sockets of servers that were killed: a socket's name begins with the id of its server's process."""
    for socket in run_dir.glob("*-*.sock"):
        try:
            os.kill(int(socket.name.partition("-")[0]), 0)
        except ProcessLookupError:
            socket.unlink(missing_ok=True)
        except (ValueError, PermissionError):
            continue
