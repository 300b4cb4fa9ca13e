"""How a version that another server runs is reached: read from its configuration, its key from where that says."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from antiphon.domain.errors import EngineFailed
from antiphon.engines.upstream.dialects import DIALECTS, KNOWN
from antiphon.supplies.secrets import HEADER_VALUE, read_key

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding"})


@dataclass(frozen=True, slots=True)
class Options:
    """How one version is reached."""

    version: str
    """The model with its version here, for log lines."""
    model: str
    """Its name there."""
    endpoints: tuple[tuple[str, int], ...]
    """Base URLs, without a slash at their end, and their weights."""
    kind: str | None
    """A name in DIALECTS; None: found out by asking."""
    has: tuple[str, ...]
    lacks: tuple[str, ...]
    thinking: str | None
    headers: Mapping[str, str]
    """What every request carries, the key included; never shown."""
    connect_s: float
    silence_s: float | None
    """How long a server may say nothing once it is connected; None: as long as the deadline."""
    tries: int
    probe_s: float
    """How often an endpoint is looked at that nobody uses or that is given up; 0: never."""

    def __repr__(self) -> str:
        """Show whose they are; not the key."""
        return f"<Options of {self.version}>"


def judge_options(version: str, configured: Mapping[str, Any]) -> None:
    """See that a version's table can be kept to; where its key is kept is not looked at.

    Raises:
        EngineFailed: it names a feature or header that cannot be.
    """
    unknown = [name for name in (*configured["has"], *configured["lacks"]) if name not in KNOWN]
    if unknown:
        raise EngineFailed(f"{version}: {unknown[0]} is no feature; there are: {', '.join(sorted(KNOWN))}")
    for name, value in configured["headers"].items():
        if name.lower() in _OURS or not _HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
            raise EngineFailed(f"{version}: the header {name.lower()!r} cannot be set")


def read_options(version: str, configured: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Options:
    """Read a version's table.

    Raises:
        EngineFailed: it names a feature or header that cannot be, or its key is not where it should be.
    """
    judge_options(version, configured)
    headers = {name.lower(): value for name, value in configured["headers"].items()}
    key = read_key(version, configured["api_key_env"], configured["api_key_file"], environment)
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    return Options(
        version=version,
        model=configured["model"],
        endpoints=tuple((one["base_url"].rstrip("/"), one["weight"]) for one in configured["endpoints"]),
        kind=configured["kind"] if configured["kind"] in DIALECTS else None,
        has=tuple(configured["has"]),
        lacks=tuple(configured["lacks"]),
        thinking=configured["thinking"],
        headers=MappingProxyType(headers),
        connect_s=configured["connect_s"],
        silence_s=configured["silence_s"],
        tries=configured["tries"],
        probe_s=configured["probe_s"],
    )
