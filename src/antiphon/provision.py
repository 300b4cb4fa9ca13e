"""What must lie on the disk before anything is served: weights, voices, lexicons. Fetched, checked, and kept."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from antiphon.media.hearing.assets import ASSETS as HEARING_ASSETS
from antiphon.media.speech.assets import ASSETS as SPEECH_ASSETS
from antiphon.settings import LlamaCppVersion, Settings
from antiphon.supplies.archives import WeightsError
from antiphon.supplies.assets import obtain_assets
from antiphon.supplies.download import shown_progress
from antiphon.supplies.weights import Source, obtain

__all__ = ("WeightsError", "pull", "pull_speech")


def pull_speech(settings: Settings) -> Path | None:
    """Give the folder with what speaking and hearing here need, fetching what is missing; None when nobody needs it.

    Raises:
        WeightsError: some cannot be had.
    """
    speech = settings.speech
    if not speech.enabled or (speech.voice and speech.recogniser):
        return None
    lacking = [name for name in ("av", "faster_whisper", "onnxruntime") if find_spec(name) is None]
    if lacking:
        raise WeightsError("speech needs more packages: pip install 'antiphon[speech]'")
    folder = settings.home / "speech"
    with shown_progress() as progress:
        return obtain_assets([*SPEECH_ASSETS, *HEARING_ASSETS], folder, settings.home, progress)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a version runs on."""

    weights: Path
    mmproj: Path | None


def pull(settings: Settings) -> dict[tuple[str, int], Fetched]:
    """Give the verified weights of every version, fetching what is not here.

    Raises:
        WeightsError: some cannot be had.
    """
    found = {}
    versions = [(name, version) for name, model in settings.models.items() for version in model.versions]
    with shown_progress() as progress:
        for name, version in versions:
            if isinstance(version, LlamaCppVersion):
                weights = obtain(Source(version.weights, version.sha256), settings.home, progress)
                mmproj = None
                if version.mmproj is not None:
                    mmproj = obtain(Source(version.mmproj, version.mmproj_sha256), settings.home, progress)
                found[name, version.number] = Fetched(weights, mmproj)
    return found
