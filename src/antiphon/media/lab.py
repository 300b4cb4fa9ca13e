"""What requests carry, judged by its header, then decoded in a child that is bounded; and speech, encoded there."""

import base64
import binascii
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal, cast

import anyio

from antiphon.domain.errors import EngineUnavailable
from antiphon.domain.media import SPOKEN_HZ, AudioFormat, Document, Image, MediaUnfit, Sound
from antiphon.media.child import Child, ChildDown, ChildFailed, Limits
from antiphon.media.images import judge_image
from antiphon.media.jobs import Bytes, Drawn, Job, Paper, Picture, Pressing, Print, Read, Recording, Refused, Result
from antiphon.media.kinds import ImageKind, is_pdf
from antiphon.media.sounds import MOST_S, judge_length, judge_sound

CHILDREN = 2
JOBS = 200
"""After how many a child is replaced: what leaks, leaks no further."""
JOB_S = 10.0
PRESSED_S = 10
"""How many seconds of speech are encoded in one, at the least: mp3 takes longest, 120 on a core that does nothing else.
An answer may be spoken for an hour."""
SIDES = {"low": (512, 512), "auto": (2048, 768), "high": (2048, 768)}
"""The longest a picture's longer and shorter side may be, by detail: OpenAI's guide on vision has these sizes."""
CHECKED_SIDE = 64
"""How large a picture is drawn that is only checked."""
PDF_PAGES = 500
PDF_PICTURES = 8
TEXT_CHARS = 2_000_000
LARGE_CHARS = 1 << 18
"""Base64 of more is decoded in a thread."""
NOT_READABLE = "Not a supported file: PDF or text in UTF-8."


class Lab:
    """Decodes and encodes, a few at once."""

    def __init__(self, children: tuple[Child[Result], ...]) -> None:
        self._send, self._idle = anyio.create_memory_object_stream[Child[Result]](len(children))
        for child in children:
            self._send.send_nowait(child)

    async def image(self, data: bytes, detail: Literal["auto", "low", "high"]) -> Image:
        """Decode a picture, no larger than its detail asks.

        Raises:
            MediaUnfit: it cannot be.
        """
        header = judge_image(data)
        drawn = cast("Drawn", await self._do(Picture(data, header.kind, *SIDES[detail]), "The image"))
        return Image(drawn.width, drawn.height, drawn.rgb)

    async def check(self, data: bytes) -> ImageKind:
        """See that a picture can be decoded, and give its kind.

        Raises:
            MediaUnfit: it cannot be.
        """
        header = judge_image(data)
        await self._do(Picture(data, header.kind, CHECKED_SIDE, CHECKED_SIDE), "The image")
        return header.kind

    async def png(self, image: Image) -> bytes:
        """Give a picture as PNG.

        Raises:
            MediaUnfit: it cannot be encoded.
        """
        return cast("Bytes", await self._do(Print(image.width, image.height, image.rgb), "The image")).data

    async def sound(self, data: bytes) -> Sound:
        """Decode a recording.

        Raises:
            MediaUnfit: it cannot be.
        """
        judge_sound(data)
        sound = Sound(cast("Bytes", await self._do(Recording(data, MOST_S), "The sound")).data)
        judge_length(sound.seconds)
        return sound

    async def document(self, data: bytes, name: str | None, *, wants_pages: bool) -> Document:
        """Read a PDF, or a text.

        Raises:
            MediaUnfit: it is neither.
        """
        if not is_pdf(data):
            return Document(_text(data), name)
        pictures = PDF_PICTURES if wants_pages else 0
        job = Paper(data, PDF_PAGES, TEXT_CHARS, pictures, SIDES["auto"][1])
        read = cast("Read", await self._do(job, "The file"))
        return Document(read.text, name, tuple(Image(page.width, page.height, page.rgb) for page in read.pages))

    async def encode(self, pcm: bytes, form: AudioFormat) -> bytes:
        """Give samples at SPOKEN_HZ in another format.

        Raises:
            MediaUnfit: they cannot be encoded.
        """
        if form == "pcm16":
            return pcm
        seconds = JOB_S + len(pcm) / 2 / SPOKEN_HZ / PRESSED_S
        return cast("Bytes", await self._do(Pressing(pcm, form, int(seconds)), "The speech", seconds)).data

    def close(self) -> None:
        """Take no more jobs."""
        self._send.close()
        self._idle.close()

    async def _do(self, job: Job, what: str, job_s: float | None = None) -> Result:
        child = await self._idle.receive()
        try:
            result = await child.do(job, job_s)
        except ChildDown:
            raise EngineUnavailable("Media cannot be processed now.") from None
        except ChildFailed:
            raise MediaUnfit(f"{what} could not be processed.") from None
        finally:
            self._send.send_nowait(child)
        if isinstance(result, Refused):
            raise MediaUnfit(result.why)
        return result


@asynccontextmanager
async def open_lab() -> AsyncGenerator[Lab]:
    """Have a lab for the body. Its children start when they are first needed."""
    limits = Limits(JOB_S, jobs=JOBS)
    children = tuple(
        Child[Result]("antiphon.media.worker", (), cast("type[Result]", Result), limits) for _ in range(CHILDREN)
    )
    async with AsyncExitStack() as stack:
        for child in children:
            await stack.enter_async_context(child.open())
        lab = Lab(children)
        stack.callback(lab.close)
        yield lab


async def decode_base64(text: str) -> bytes:
    """Read base64; long ones in a thread.

    Raises:
        MediaUnfit: it is none, or empty.
    """
    if len(text) > LARGE_CHARS:
        return await anyio.to_thread.run_sync(_decoded, text)
    return _decoded(text)


async def encode_base64(data: bytes) -> str:
    """Write base64; much of it in a thread."""
    if len(data) > LARGE_CHARS:
        return (await anyio.to_thread.run_sync(base64.b64encode, data)).decode()
    return base64.b64encode(data).decode()


def _decoded(text: str) -> bytes:
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise MediaUnfit("Not base64.") from None
    if not data:
        raise MediaUnfit("It is empty.")
    return data


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MediaUnfit(NOT_READABLE) from None
    if "\0" in text:
        raise MediaUnfit(NOT_READABLE)
    if len(text) > TEXT_CHARS:
        raise MediaUnfit(f"A file has at most {TEXT_CHARS} characters.")
    return text
