"""Speaking and hearing on another server: OpenAI's `/audio/speech` and `/audio/transcriptions`, by configuration.

Source: OpenAI's API reference, "Create speech" and "Create transcription": `pcm` is 24 kHz, signed 16-bit
little-endian, one channel, without a header; a transcription in `json` is `{"text": …}`.
"""

import io
import struct
import wave
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
import anyio
import msgspec

from antiphon import __version__
from antiphon.domain.errors import EngineFailed
from antiphon.domain.media import HEARD_HZ, SPOKEN_HZ, Sound

CONNECT_S = 5.0
SPEECH_BYTES = 1 << 26
"""More than ten minutes of samples: no sentence has them."""
WORDS_BYTES = 1 << 22
_NO_SAMPLES = (b"ID3", b"OggS", b"fLaC", b'{"', b"<!DO", b"<html")
"""How other formats begin, and errors told with status 200: as samples they would be noise."""


@dataclass(frozen=True, slots=True)
class SpeechServer:
    """Where it is, and what is asked for there."""

    base_url: str
    model: str
    key: str | None
    timeout_s: float
    """How long a sentence, or a recording, may take."""
    voices: tuple[str, ...] = ()
    """Those it has: what a client may name, passed on as it is."""

    def __repr__(self) -> str:
        """Show the model; not the key."""
        return f"<SpeechServer {self.model}>"


class _Words(msgspec.Struct, frozen=True):
    text: str


_WORDS = msgspec.json.Decoder(_Words)


class _Client:
    def __init__(self, http: aiohttp.ClientSession, server: SpeechServer, failure: str) -> None:
        self._http, self.server, self._failure = http, server, failure

    async def post(self, path: str, most_bytes: int, **sent: object) -> bytes:
        """Send; give the body of the answer.

        Raises:
            EngineFailed: there is none of status 200, it is too large, or it took too long.
        """
        url = self.server.base_url.rstrip("/") + path
        body = bytearray()
        try:
            with anyio.fail_after(self.server.timeout_s):
                async with self._http.post(url, allow_redirects=False, **sent) as response:  # type: ignore[arg-type]  # json or data
                    while len(body) <= most_bytes and (more := await response.content.readany()):
                        body += more
        except (aiohttp.ClientError, OSError, ValueError):
            raise EngineFailed(self._failure) from None
        if response.status != HTTPStatus.OK or not 0 < len(body) <= most_bytes:
            raise EngineFailed(self._failure)
        return bytes(body)


class RemoteVoice:
    """Says sentences there."""

    def __init__(self, http: aiohttp.ClientSession, server: SpeechServer) -> None:
        self._client = _Client(http, server, "The voice stopped.")
        self.voices: Collection[str] = server.voices

    async def say(self, text: str, voice: str) -> bytes:
        """Say a sentence; see core.senses.Senses."""
        asked = {"model": self._client.server.model, "input": text, "voice": voice, "response_format": "pcm"}
        data = await self._client.post("/audio/speech", SPEECH_BYTES, json=asked)
        if data.startswith(_NO_SAMPLES):
            raise EngineFailed("The voice stopped.")
        pcm = _samples(data) if data.startswith(b"RIFF") else data
        return pcm[: len(pcm) // 2 * 2]


class RemoteRecogniser:
    """Puts recordings into words there."""

    def __init__(self, http: aiohttp.ClientSession, server: SpeechServer) -> None:
        self._client = _Client(http, server, "The recogniser stopped.")

    async def hear(self, sound: Sound) -> str:
        """Give the words in a recording; see core.senses.Senses."""
        form = aiohttp.FormData()
        form.add_field("model", self._client.server.model)
        form.add_field("response_format", "json")
        form.add_field("file", io.BytesIO(_wav(sound)), filename="sound.wav", content_type="audio/wav")
        data = await self._client.post("/audio/transcriptions", WORDS_BYTES, data=form)
        try:
            return _WORDS.decode(data).text.strip()
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise EngineFailed("The recogniser stopped.") from None


@asynccontextmanager
async def open_speech_server(server: SpeechServer) -> AsyncGenerator[aiohttp.ClientSession]:
    """Open a session to it for the body; the operator named it, so any address may be dialled."""
    headers = {"user-agent": f"antiphon/{__version__}", "accept-encoding": "identity"}
    if server.key is not None:
        headers["authorization"] = f"Bearer {server.key}"
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),
        timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        trust_env=False,
        auto_decompress=False,
    ) as http:
        yield http


def _samples(data: bytes) -> bytes:
    """What a server that gives wav for pcm has in it.

    Raises:
        EngineFailed: its samples are of another kind.
    """
    try:
        with wave.open(io.BytesIO(data)) as file:
            if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, SPOKEN_HZ):
                raise EngineFailed("The voice stopped.")
            samples: bytes = file.readframes(len(data))
            return samples
    except (wave.Error, EOFError, struct.error):
        raise EngineFailed("The voice stopped.") from None


def _wav(sound: Sound) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(HEARD_HZ)
        file.writeframes(sound.pcm)
    return out.getvalue()
