"""What runs inside a child: a loop over jobs. Nothing here or above it may write to standard output by itself."""

import ctypes
import os
import queue
import resource
import signal
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from antiphon.media.child import LENGTH

_PR_SET_PDEATHSIG = 1
CPU_S = 10
"""Processor time of one job, where that is bounded and the job says nothing else."""


class Bounds(msgspec.Struct, frozen=True):
    """What a child may take."""

    memory_bytes: int | None = None
    files: int | None = None
    cpu_s: int | None = None
    """For each job."""
    nice: int = 0


def serve(load: Callable[[], Callable[[bytes], msgspec.Struct]], bounds: Bounds, stop: Callable[[], None]) -> None:
    """Do jobs until the server is gone.

    Args:
        load: loads what is needed; gives what does a job.
        bounds: on this process.
        stop: breaks the running job off; called from another thread.
    """
    out = _own_output()
    _die_with_parent()
    os.nice(bounds.nice)
    work = load()
    if bounds.files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (bounds.files, bounds.files))
    if bounds.memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (bounds.memory_bytes, bounds.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, jobs, stop), daemon=True).start()
    out.write(b"+")
    out.flush()
    while True:
        job = jobs.get()
        if bounds.cpu_s is not None:
            grant(bounds.cpu_s)
        answer = msgspec.msgpack.encode(work(job))
        out.write(LENGTH.pack(len(answer)))
        out.write(answer)
        out.flush()


def _own_output() -> BinaryIO:
    """Keep standard output for answers; whatever a library prints goes nowhere."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return out


def _read(source: BinaryIO, jobs: "queue.SimpleQueue[bytes]", stop: Callable[[], None]) -> None:
    while head := source.read(LENGTH.size):
        (length,) = LENGTH.unpack(head)
        if length:
            jobs.put(source.read(length))
        else:
            stop()
    os._exit(0)


def _die_with_parent() -> None:
    """End when the server does: by the kernel's signal where there is one, else when standard input closes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def grant(cpu_s: int) -> None:
    """Give the running job so much processor time, from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + 1 + cpu_s
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (most, hard))
