"""What a server offers: the models of its configuration, an engine for each version, and what identifies it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiphon.core.admission import Admission
from antiphon.core.ports import Engine
from antiphon.core.registry import Offer, Registry
from antiphon.domain.models import Model, Version
from antiphon.engines.catalogue import ENGINES, Definition
from antiphon.provision import Fetched
from antiphon.settings import LlamaCppVersion, ScriptedVersion, Settings, VersionSettings
from antiphon.supplies.weights import digest


def make_registry(
    settings: Settings, fetched: Mapping[tuple[str, int], Fetched], seen: Mapping[tuple[str, int], int]
) -> Registry:
    """Make every engine, and what is offered over them.

    Args:
        settings: what is configured.
        fetched: the files of each version.
        seen: when each version was first offered, in epoch seconds.

    Raises:
        EngineFailed: an engine's definition does not do.
    """
    offers = []
    for name, configured in settings.models.items():
        owner, _, short = name.partition("/")
        engines: dict[int, Engine] = {}
        versions = []
        for version in configured.versions:
            files = fetched.get((name, version.number))
            path = files.weights if files else None
            definition = Definition(
                model=f"{name}:{version.number}",
                slots=configured.slots,
                run_dir=settings.home / "run",
                weights=path,
                mmproj=files.mmproj if files else None,
                options=version.options,
            )
            engines[version.number] = ENGINES[version.engine](definition)
            digest = _digest(version, path)[:12]
            versions.append(Version(version.number, version.engine, digest, seen[name, version.number]))
        model = Model(
            owner=owner,
            name=short,
            versions=tuple(versions),
            account=configured.account,
            slots=configured.slots,
            queue=configured.queue,
            deadline_s=configured.deadline_s,
            created=min(version.created for version in versions),
        )
        offers.append(Offer(model, engines, Admission(configured.slots, configured.queue)))
    return Registry(offers)


def _digest(version: VersionSettings, path: Path | None) -> str:
    """What identifies a version's weights: their sha256, or its definition's where it has none."""
    if not isinstance(version, LlamaCppVersion):
        return definition_digest(version)
    return version.sha256 or (digest(path) if path else definition_digest(version))


def definition_digest(version: VersionSettings) -> str:
    """What a version is, as opposed to how it is run: threads and addresses may change, answers may not."""
    identity: list[Any]
    if isinstance(version, LlamaCppVersion):
        identity = [version.engine, version.sha256 or version.weights, version.context_tokens, None]
        if sight := version.mmproj_sha256 or version.mmproj:
            identity.append(sight)
    elif isinstance(version, ScriptedVersion):
        identity = [version.engine, None, None, version.script]
    else:
        identity = [version.engine, version.model]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
