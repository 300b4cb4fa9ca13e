"""What several worker processes measure, told as one: whoever of them is asked tells of all.

Each keeps its numbers in files that are mapped into its memory, in a folder its parent makes; this is what
prometheus_client calls its multiprocess mode, which it takes up when a variable of the environment names the folder
before it is imported. So nobody has to be asked, what a killed worker has counted stays, and no counter goes back.
"""

import os
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "metrics-"
_KINDS = ("counter", "histogram", "gauge_livesum", "gauge_livemin", "gauge_livemax", "gauge_min")
"""What files are named by, as prometheus_client does it."""
FILE_BYTES = 1 << 20
"""Room for some 5,000 series: 60 models."""


def is_shared() -> bool:
    """Whether this process is one of several."""
    return VARIABLE in os.environ


def reserve() -> None:
    """Have room on the disk for what this process will measure.

    The library makes files with holes. On a full disk, what first writes into one is ended by the system (SIGBUS), and
    that is the worker, with all that it answers.
    """
    for kind in _KINDS:
        path = Path(os.environ[VARIABLE]) / f"{kind}_{os.getpid()}.db"
        if path.exists():
            continue  # Of a dead one that had the same process id; what it counted stays.
        new = path.with_suffix(".new")  # Others read whatever has the name: what is empty is no such file.
        with new.open("wb") as file:
            if sys.platform == "linux":
                os.posix_fallocate(file.fileno(), 0, FILE_BYTES)
        new.rename(path)


def of_all(own: CollectorRegistry) -> CollectorRegistry:
    """Give what all processes have measured; just this one's where it is the only one."""
    if not is_shared():
        return own
    every = CollectorRegistry()
    MultiProcessCollector(every, os.environ[VARIABLE])  # type: ignore[no-untyped-call]
    return every


@contextmanager
def folder_for_all(run_dir: Path) -> Generator[Path]:
    """Have a folder for the numbers of this process's workers, for the body."""
    run_dir.mkdir(mode=0o700, exist_ok=True)
    for left in run_dir.glob(f"{_PREFIX}*"):
        if not _is_alive(left.name.removeprefix(_PREFIX)):
            shutil.rmtree(left, ignore_errors=True)
    folder = run_dir / f"{_PREFIX}{os.getpid()}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, PermissionError):
        return True
    return pid != str(os.getpid())


def forget_standing(pid: int, folder: Path) -> None:
    """Take a process that has ended out of what stands now; what it counted stays."""
    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
