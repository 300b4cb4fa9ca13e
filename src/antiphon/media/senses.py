"""Everything a server sees, hears, reads and says, in the core's socket for it."""

import struct
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from antiphon.core.ports import Archive
from antiphon.core.senses import Recogniser, Voice
from antiphon.domain.errors import EngineFailed
from antiphon.domain.media import SPOKEN_HZ, AudioFormat, Document, Image, ImageFile, MediaUnfit, Medium, Sound
from antiphon.media.lab import Lab, decode_base64, encode_base64
from antiphon.media.recall import recall

ENABLE_SPEECH = "Enable speech: pip install 'antiphon[speech]' and start with ANTIPHON_SPEECH=1."

Fetch = Callable[[str], Awaitable[bytes]]
"""Gets what a URL names; raises MediaUnfit."""
FindFile = Callable[[str, str], Awaitable[tuple[str, bytes] | None]]
"""Gives the name and the content of an account's file; None when it has none of that id."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where media come from, beside the request itself."""

    archive: Archive | None = None
    fetch: Fetch | None = None
    find_file: FindFile | None = None


class LocalSenses:
    """The core's Senses: pictures and files on this machine, voice and recogniser wherever they are."""

    def __init__(self, lab: Lab, sources: Sources, recogniser: Recogniser | None, speaker: Voice | None) -> None:
        self._lab, self._sources = lab, sources
        self._recogniser, self._speaker = recogniser, speaker
        supplied = {"file": "read as text"}
        if recogniser:
            supplied["input_audio"] = "transcribed"
        if speaker:
            supplied |= {"audio": "spoken", "modalities": "spoken"}
        self.features: Mapping[str, str] = MappingProxyType(supplied)
        lacking = {"input_audio", "audio", "modalities"} - supplied.keys()
        self.hints: Mapping[str, str] = MappingProxyType(dict.fromkeys(lacking, ENABLE_SPEECH))
        self.voices: Collection[str] = tuple(speaker.voices) if speaker else ()

    async def see(self, medium: Medium, account: str) -> Image:
        """Take in a picture."""
        return await self._lab.image(await self._content(medium, account), medium.detail)

    async def show(self, medium: Medium, account: str) -> ImageFile:
        """Take in a picture as the file it is."""
        data = await self._content(medium, account)
        kind = await self._lab.check(data)
        encoded = medium.base64 if medium.base64 is not None else await encode_base64(data)
        return ImageFile(f"image/{kind.lower()}", encoded, medium.detail)

    async def as_file(self, image: Image) -> ImageFile:
        """Give a picture as PNG."""
        return ImageFile("image/png", await encode_base64(await self._lab.png(image)))

    async def listen(self, medium: Medium, account: str) -> Sound:
        """Take in a recording."""
        data = await self._content(medium, account)
        return await self._lab.sound(_as_wav(data) if medium.format == "pcm16" else data)

    async def read(self, medium: Medium, account: str, *, has_sight: bool) -> Document:
        """Take in a file."""
        name, data = await self._named_content(medium, account)
        return await self._lab.document(data, medium.filename or name, wants_pages=has_sight)

    async def transcribe(self, sound: Sound) -> str:
        """Put a recording into words; see core.senses."""
        if self._recogniser is None:
            raise EngineFailed("Nobody hears here.")
        return await self._recogniser.hear(sound)

    async def recall(self, account: str, speech_id: str) -> str:
        """Give the words of a spoken answer."""
        return await recall(self._sources.archive, account, speech_id)

    async def say(self, text: str, voice: str) -> bytes:
        """Speak a sentence; see core.senses."""
        if self._speaker is None:
            raise EngineFailed("Nobody speaks here.")
        return await self._speaker.say(text, voice)

    async def encode(self, pcm: bytes, form: AudioFormat) -> bytes:
        """Give speech in another format."""
        try:
            return await self._lab.encode(pcm, form)
        except MediaUnfit:
            raise EngineFailed("The speech could not be encoded.") from None

    async def _content(self, medium: Medium, account: str) -> bytes:
        return (await self._named_content(medium, account))[1]

    async def _named_content(self, medium: Medium, account: str) -> tuple[str | None, bytes]:
        sources = self._sources
        if medium.base64 is not None:
            return None, await decode_base64(medium.base64)
        if medium.url is not None:
            if sources.fetch is None:
                raise MediaUnfit("This server fetches no URLs: send the content itself.", "url_not_allowed")
            return None, await sources.fetch(medium.url)
        found = await sources.find_file(account, medium.file_id or "") if sources.find_file else None
        if found is None:
            raise MediaUnfit("There is no such file.", "file_not_found")
        return found


def _as_wav(pcm: bytes) -> bytes:
    """Samples as OpenAI's pcm16 has them, with the header that says so."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SPOKEN_HZ, SPOKEN_HZ * 2, 2, 16)
    data = struct.pack("<4sI", b"data", len(pcm)) + pcm
    return b"RIFF" + struct.pack("<I", 4 + len(form) + len(data)) + b"WAVE" + form + data
