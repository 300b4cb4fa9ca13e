"""What a server sees, hears and speaks with, set up as it is configured: here, or on the servers named for it."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec

import anyio

from antiphon.core.files import Files
from antiphon.core.ports import Archive
from antiphon.core.senses import NO_SENSES, Recogniser, Senses, Voice
from antiphon.media.hearing.recogniser import open_recogniser
from antiphon.media.lab import open_lab
from antiphon.media.senses import LocalSenses, Sources
from antiphon.media.speech.speaker import open_speaker
from antiphon.outbound.fetching import open_fetcher
from antiphon.outbound.speech_server import RemoteRecogniser, RemoteVoice, SpeechServer, open_speech_server
from antiphon.provision import pull_speech
from antiphon.settings import Settings, SpeechServerSettings
from antiphon.supplies.secrets import read_key


@asynccontextmanager
async def open_senses(settings: Settings, archive: Archive, files: Files) -> AsyncGenerator[Senses]:
    """Have what takes in what requests carry beside text, and what speaks, for the body.

    Args:
        settings: what is configured.
        archive: where earlier answers are, whose speech a request may name.
        files: those that clients put here.
    """
    if find_spec("av") is None or find_spec("PIL") is None:
        yield NO_SENSES
        return
    media = settings.media
    fetch = None
    async with AsyncExitStack() as stack:
        if media.fetch:
            opened = open_fetcher(media.fetch_bytes, allow_private=media.fetch_private)
            fetch = (await stack.enter_async_context(opened)).fetch
        speaker, recogniser = await _speech(settings, stack)
        lab = await stack.enter_async_context(open_lab())
        kept = archive if settings.store.record else None
        yield LocalSenses(lab, Sources(kept, fetch, files.content), recogniser, speaker)


async def _speech(settings: Settings, stack: AsyncExitStack) -> tuple[Voice | None, Recogniser | None]:
    """Set up what speaks and what hears."""
    speech = settings.speech
    folder = await anyio.to_thread.run_sync(pull_speech, settings)
    speaker: Voice | None = None
    recogniser: Recogniser | None = None
    if speech.voice:
        voice = _server(speech.voice, "speech.voice", tuple(speech.voice.voices))
        speaker = RemoteVoice(await stack.enter_async_context(open_speech_server(voice)), voice)
    elif folder:
        speaker = await stack.enter_async_context(open_speaker(folder, speech.threads))
    if speech.recogniser:
        hearing = _server(speech.recogniser, "speech.recogniser")
        recogniser = RemoteRecogniser(await stack.enter_async_context(open_speech_server(hearing)), hearing)
    elif folder:
        recogniser = await stack.enter_async_context(open_recogniser(folder, speech.threads))
    return speaker, recogniser


def _server(server: SpeechServerSettings, name: str, voices: tuple[str, ...] = ()) -> SpeechServer:
    key = read_key(name, server.api_key_env, server.api_key_file)
    return SpeechServer(server.base_url, server.model, key, server.timeout_s, voices)
