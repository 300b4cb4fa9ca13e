"""A process that does one job at a time: for work that is native, long or not to be trusted with the server's memory.

It is started when it is first needed, ended when a job takes too long or nobody waits for it any more, and started
again for the next. Jobs and answers are msgpack frames over its standard input and output.
"""

import os
import struct
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from subprocess import DEVNULL, PIPE
from typing import Generic, TypeVar

import anyio
import msgspec
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

LENGTH = struct.Struct("<I")
FRAME_BYTES = 1 << 28
STOP_S = 1.0
"""How long a job that is stopped may take to say so."""
BACK_OFF_S = (0.0, 1.0, 5.0, 30.0)
"""How long a child that does not start is left alone. One that dies of its job is started again at once: clients choose
the jobs, and nobody's may take the child from everybody else."""
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH")
"""What it gets of the environment: nothing that could be a secret."""

Answer = TypeVar("Answer")


class ChildFailed(Exception):
    """The child died, or was too slow."""


class ChildDown(ChildFailed):
    """The child could not be started: whatever the job is, it was not looked at."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may take."""

    job_s: float
    start_s: float = 60.0
    """How long a child may take to load what it needs."""
    jobs: int | None = None
    """After how many jobs it is replaced; None: never."""
    can_stop: bool = False
    """Whether it breaks a job off when it is told to; else it is killed."""


class Child(Generic[Answer]):
    """The server's side of such a process."""

    def __init__(self, module: str, arguments: Sequence[str], answers: type[Answer], limits: Limits) -> None:
        """Start nothing yet.

        Args:
            module: what is run, with `antiphon.media.inside.serve`.
            arguments: for it.
            answers: what it answers, as msgspec reads it.
            limits: of each job.
        """
        self._command = [sys.executable, "-m", module, *arguments]
        self._decoder = msgspec.msgpack.Decoder(answers)
        self._limits = limits
        self._turn = anyio.Lock()
        self._process: Process | None = None
        self._stdout: BufferedByteReceiveStream | None = None
        self._done = self._failed_starts = 0
        self._rests_until = 0.0

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process else None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Have it for the body; leaving ends it."""
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await self._end()

    async def do(self, job: msgspec.Struct, job_s: float | None = None) -> Answer:
        """Have a job done, behind those that came before. Cancelled, it is broken off.

        Args:
            job: what is asked.
            job_s: how long this one may take, where that is not what others may.

        Raises:
            ChildDown: there is no child to do it.
            ChildFailed: it was not done.
        """
        frame = msgspec.msgpack.encode(job)
        async with self._turn:
            process = await self._running()
            is_done = False
            try:
                with anyio.fail_after(self._limits.job_s if job_s is None else job_s):
                    answer = await self._exchange(process, frame)
                is_done = True
            except (TimeoutError, OSError, anyio.BrokenResourceError, anyio.IncompleteRead, msgspec.MsgspecError) as e:
                raise ChildFailed("the child did not do its job") from e
            finally:
                if not is_done:
                    with anyio.CancelScope(shield=True):
                        await self._break_off(process)
            self._done += 1
            if self._limits.jobs and self._done >= self._limits.jobs:
                await self._end()
            return answer

    async def _running(self) -> Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        await self._end()
        if time.monotonic() < self._rests_until:
            raise ChildDown("the child does not start")
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        try:
            process = await anyio.open_process(
                [*self._command], stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment, start_new_session=True
            )
            self._process, self._done = process, 0
            assert process.stdout is not None  # noqa: S101 - for the type: it was asked for
            self._stdout = BufferedByteReceiveStream(process.stdout)
            with anyio.fail_after(self._limits.start_s):
                await self._stdout.receive_exactly(1)
        except (TimeoutError, OSError, anyio.IncompleteRead, anyio.EndOfStream) as error:
            self._rests_until = time.monotonic() + BACK_OFF_S[min(self._failed_starts, len(BACK_OFF_S) - 1)]
            self._failed_starts += 1
            await self._end()
            raise ChildDown("the child does not start") from error
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._end()
            raise
        self._failed_starts = 0
        return process

    async def _exchange(self, process: Process, frame: bytes) -> Answer:
        assert process.stdin is not None  # noqa: S101 - for the type
        await process.stdin.send(LENGTH.pack(len(frame)) + frame)
        return self._decoder.decode(await self._receive())

    async def _receive(self) -> bytes:
        assert self._stdout is not None  # noqa: S101 - for the type
        (length,) = LENGTH.unpack(await self._stdout.receive_exactly(LENGTH.size))
        if length > FRAME_BYTES:
            raise OSError("a frame that is too long")
        return await self._stdout.receive_exactly(length)

    async def _break_off(self, process: Process) -> None:
        """End a job nobody waits for: by telling the child, where it listens and obeys soon, else with the child."""
        if self._limits.can_stop and process.stdin is not None:
            with anyio.move_on_after(STOP_S):
                try:
                    await process.stdin.send(LENGTH.pack(0))
                    await self._receive()
                except (OSError, anyio.BrokenResourceError, anyio.IncompleteRead):
                    pass
                else:
                    return
        await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await process.wait()
        await process.aclose()
