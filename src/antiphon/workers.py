"""Several server processes on one port: started together, started again when they die, ended together.

Each has a listener of its own on the shared port, and Linux divides the connections; docs/decisions/0002-http-server.md
says why. What they share is the store.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from subprocess import PIPE

import anyio
import structlog
from anyio.abc import Process, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream

from antiphon.app import bind, prepare, share
from antiphon.meters.shared import VARIABLE, folder_for_all, forget_standing
from antiphon.settings import Settings

BACK_OFF_S = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""How long to wait before each start in a row; the last one repeats."""
GROWN_UP_S = 60.0
"""A worker that has lived this long is not held responsible for those before it."""
STOP_S = 5.0
"""How long workers have to end after a second signal, before they are killed."""
VERDICT_BYTES = 65_536

_log = structlog.get_logger()


class WorkerFailed(Exception):
    """A worker does not start; the message is its own line on why."""


async def run(settings: Settings, announce: Callable[[str], None]) -> None:
    """Keep workers until a signal says stop.

    Args:
        settings: what they serve.
        announce: is given the lines to show once all of them take requests.

    Raises:
        PortTaken, StoreUnfit, StorageUnavailable, WeightsError: nothing can be started; the message is one line.
        WorkerFailed: a worker did not start, and so none did.
    """
    server = settings.server
    # It listens to nobody. It takes the port alone, so that no other server can have it, then keeps it for its workers.
    with closing(bind(server.host, server.port)) as door:
        share(door)
        port = door.getsockname()[1]
        banner = await prepare(settings, port)
        settings = settings.model_copy(update={"server": server.model_copy(update={"port": port})})
        with folder_for_all(settings.home / "run") as folder:
            await _Crew(settings, folder, lambda: announce(banner)).run()


class _Crew:
    """The workers, and whether they are to end."""

    def __init__(self, settings: Settings, metrics: Path, on_ready: Callable[[], None]) -> None:
        self._settings, self._metrics, self._on_ready = settings, metrics, on_ready
        self._processes: dict[int, Process] = {}
        self._unready = set(range(settings.server.workers))
        """Those that have not been ready yet."""
        self._ending = anyio.Event()
        self._failure: str | None = None

    async def run(self) -> None:
        """Keep them all until they are told to end and have."""
        async with anyio.create_task_group() as group:
            await group.start(self._pass_signals_on)
            async with anyio.create_task_group() as every:
                for number in range(self._settings.server.workers):
                    every.start_soon(self._keep, number)
            group.cancel_scope.cancel()
        if self._failure is not None:
            raise WorkerFailed(self._failure)

    async def _keep(self, number: int) -> None:
        """Run one worker after another."""
        deaths = 0
        while not self._ending.is_set():
            born = time.monotonic()
            failure = await self._live(number)
            if self._ending.is_set():
                return
            if self._unready:
                # Not all have been ready yet: what keeps one from it may keep all, and whoever starts them is there.
                self._failure = failure or "a worker ended while others were starting"
                self._end()
                return
            deaths = 0 if time.monotonic() - born > GROWN_UP_S else deaths
            pause_s = BACK_OFF_S[min(deaths, len(BACK_OFF_S) - 1)]
            deaths += 1
            _log.warning("worker died", worker=number, why=failure, restart_in_s=pause_s)
            with anyio.move_on_after(pause_s):
                await self._ending.wait()

    async def _live(self, number: int) -> str | None:
        """Run one worker to its end; give why it did not start, if it did not."""
        command = [sys.executable, "-m", "antiphon.worker", str(os.getpid())]
        where = os.environ | {VARIABLE: str(self._metrics)}
        # A session of its own: the terminal sends Ctrl-C to the whole group, and a second one would end all at once.
        try:
            opened = await anyio.open_process(
                command, stdin=PIPE, stdout=PIPE, stderr=None, env=where, start_new_session=True
            )
        except OSError:
            return "no process can be had"  # No memory or no files: for now, perhaps.
        async with opened as process:
            self._processes[number] = process
            try:
                if self._ending.is_set():
                    process.terminate()
                return await self._look_after(process, number)
            finally:
                del self._processes[number]
                forget_standing(process.pid, self._metrics)

    async def _look_after(self, process: Process, number: int) -> str | None:
        assert process.stdin is not None  # noqa: S101 - for the types: they were asked for
        assert process.stdout is not None  # noqa: S101
        try:
            await process.stdin.send(self._settings.part(number).model_dump_json().encode() + b"\n")
            line = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", VERDICT_BYTES)
        except (anyio.BrokenResourceError, anyio.IncompleteRead):
            await process.wait()
            return f"a worker ended while it started (exit status {process.returncode})"
        verdict, _, why = line.decode("utf-8", "replace").partition(" ")
        if verdict == "ready":
            self._is_ready(number)
        await process.wait()
        return why or None

    def _is_ready(self, number: int) -> None:
        if number in self._unready:
            self._unready.discard(number)
            if not self._unready:
                self._on_ready()

    # -- the end

    async def _pass_signals_on(self, *, task_status: TaskStatus[None]) -> None:
        # A terminal that goes away is no reason to stop.
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async with anyio.create_task_group() as group:
                async for received in signals:
                    if received == signal.SIGHUP:
                        continue
                    if self._ending.is_set():
                        group.start_soon(self._kill)
                    self._end()

    def _end(self) -> None:
        """Let all drain; a second call ends what they run."""
        self._ending.set()
        for process in self._processes.values():
            process.terminate()

    async def _kill(self) -> None:
        await anyio.sleep(STOP_S)
        for process in self._processes.values():
            process.kill()
