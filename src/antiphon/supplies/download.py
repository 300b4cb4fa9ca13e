"""One file over HTTP: resumed where it was cut, with its progress shown."""

import shutil
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import httpx
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

TRIES = 5
"""How often a download that is cut is taken up again."""
CHUNK_BYTES = 1 << 20
TIMEOUT_S = 30.0
_PARTIAL = 206
_RANGE_REFUSED = 416


class DownloadFailed(Exception):
    """The file could not be fetched; the message says why, in one line."""

    def __init__(self, message: str, *, is_refusal: bool = False) -> None:
        super().__init__(message)
        self.is_refusal = is_refusal
        """Whether the server said no, rather than the network."""


class Progress(Protocol):
    """Shows how far something is."""

    def begin(self, what: str, total: int | None, done: int) -> None:
        """Begin to show `what`, of `total` bytes if that is known, `done` of them already here."""

    def advance(self, count: int) -> None:
        """Show that `count` bytes more are here."""


class _BarProgress:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task = bars.add_task("", start=False)

    def begin(self, what: str, total: int | None, done: int) -> None:
        self._bars.reset(self._task, description=what, total=total, completed=done)

    def advance(self, count: int) -> None:
        self._bars.advance(self._task, count)


class _LineProgress:
    def __init__(self) -> None:
        self._what, self._total, self._done, self._told = "", 0, 0, 0

    def begin(self, what: str, total: int | None, done: int) -> None:
        self._what, self._total, self._done, self._told = what, total or 0, done, 0

    def advance(self, count: int) -> None:
        self._done += count
        tenths = 10 * self._done // self._total if self._total else 0
        if tenths > self._told:
            self._told = tenths
            sys.stderr.write(f"{self._what}: {10 * tenths} % of {self._total / 1e6:.0f} MB\n")


@contextmanager
def shown_progress() -> Generator[Progress]:
    """Show progress on standard error: as a bar on a terminal, as a line each tenth elsewhere."""
    if not sys.stderr.isatty():
        yield _LineProgress()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, TimeRemainingColumn(), transient=True) as bars:
        yield _BarProgress(bars)


def fetch(url: str, target: Path, progress: Progress, headers: Mapping[str, str]) -> None:
    """Fetch a file to `target`, going on from what is there already.

    Raises:
        DownloadFailed: after TRIES tries, or at once when the server refuses.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            _fetch_once(url, target, progress, headers)
        except httpx.HTTPError as error:
            if not tries_left:
                raise DownloadFailed(f"the download was cut: {type(error).__name__}") from error
        else:
            return


def _fetch_once(url: str, target: Path, progress: Progress, headers: Mapping[str, str]) -> None:
    have = target.stat().st_size if target.exists() else 0
    wanted = dict(headers) | {"accept-encoding": "identity"} | ({"range": f"bytes={have}-"} if have else {})
    with httpx.stream("GET", url, headers=wanted, follow_redirects=True, timeout=TIMEOUT_S) as response:
        if response.status_code == _RANGE_REFUSED:
            return  # it is all here
        if response.is_error:
            raise DownloadFailed(f"the server answered {response.status_code}", is_refusal=True)
        resumed = response.status_code == _PARTIAL
        have = have if resumed else 0
        length = response.headers.get("content-length")
        total = have + int(length) if length else None
        _check_room(target, (total or 0) - have)
        progress.begin(f"fetching {target.name.removesuffix('.part')}", total, have)
        with target.open("ab" if resumed else "wb") as file:
            for chunk in response.iter_raw():  # as it arrives, so that a cut loses nothing
                file.write(chunk)
                progress.advance(len(chunk))
        if total is not None and target.stat().st_size < total:
            raise httpx.RemoteProtocolError("the body is shorter than announced")


def copy(source: IO[bytes], target: Path, total: int, progress: Progress) -> None:
    """Copy an open file to `target`.

    Raises:
        DownloadFailed: there is no room for it.
    """
    _check_room(target, total)
    progress.begin(f"unpacking {target.name.removesuffix('.part')}", total, 0)
    with target.open("wb") as file:
        while chunk := source.read(CHUNK_BYTES):
            file.write(chunk)
            progress.advance(len(chunk))


def _check_room(target: Path, size: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise DownloadFailed(f"it needs {size / 1e6:.0f} MB and the disk has {free / 1e6:.0f} MB free")
