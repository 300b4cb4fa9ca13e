"""What messages carry beside text: as the client gave it, and as it is once it was taken in."""

from dataclasses import dataclass
from typing import Literal

MediumKind = Literal["image_url", "input_audio", "file"]
"""The kinds of content part that are not text, by OpenAI's names."""

HEARD_HZ = 16_000
"""Samples a second of a sound that was taken in."""
SPOKEN_HZ = 24_000
"""Samples a second of speech: what OpenAI's pcm16 has."""


@dataclass(frozen=True, slots=True)
class Medium:
    """An image, a sound or a file as the client gave it. One of `base64`, `url` and `file_id` is set."""

    kind: MediumKind
    part: int
    """Which of its message's content parts it is, as the client wrote them; errors name it."""
    at: int
    """Where it stands: how many characters of its message's text come before it."""
    base64: str | None = None
    url: str | None = None
    """http(s) only: what a data: URL carries is in `base64`."""
    file_id: str | None = None
    format: str | None = None
    """What the client says it is (a MIME type, or a name such as "wav"); never believed."""
    filename: str | None = None
    detail: Literal["auto", "low", "high"] = "auto"
    """How large an image is looked at."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that was taken in."""

    width: int
    height: int
    rgb: bytes
    """Its pixels, row after row from the top, three bytes each: width * height * 3 bytes."""


AS_FILE = "file"
"""In an engine's table, as its name for "image_url": it takes pictures as files, as ImageFile, and not as pixels."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A picture that was taken in, and found to be one, as the file that it is."""

    mime: str
    base64: str
    detail: Literal["auto", "low", "high"] = "auto"


@dataclass(frozen=True, slots=True)
class Sound:
    """A recording that was taken in: one channel, HEARD_HZ."""

    pcm: bytes
    """Its samples: signed 16-bit little-endian."""

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.pcm) / 2 / HEARD_HZ


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was taken in."""

    text: str
    name: str | None = None
    pages: tuple[Image, ...] = ()
    """Its pages as pictures, where they were asked for and the file has any."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A picture in its place in a message's text."""

    at: int
    image: Image | ImageFile

    @property
    def pixels(self) -> Image:
        """The picture, for an engine that takes pixels; none other is given to it."""
        if not isinstance(self.image, Image):
            raise TypeError("the picture is a file")
        return self.image

    @property
    def file(self) -> ImageFile:
        """The picture, for an engine that takes files."""
        if not isinstance(self.image, ImageFile):
            raise TypeError("the picture is pixels")
        return self.image


@dataclass(frozen=True, slots=True)
class Hearing:
    """A sound in its place in a message's text, for a model that hears by itself."""

    at: int
    sound: Sound


AudioFormat = Literal["wav", "mp3", "flac", "opus", "aac", "pcm16"]
"""What speech is given in. pcm16: samples at SPOKEN_HZ, one channel, signed 16-bit little-endian, no header."""


@dataclass(frozen=True, slots=True)
class Speech:
    """How an answer is spoken."""

    voice: str
    format: AudioFormat


HEARD_TOKEN_S = 0.1
"""How much sound in a message counts as one token: what OpenAI counts for its own models that hear."""
SPOKEN_TOKEN_S = 0.05
"""How much speech in an answer counts as one token, likewise."""
SPEECH_KEPT_S = 3600
"""How long a later turn may name a spoken answer by its id."""


class MediaUnfit(Exception):
    """Something of a message cannot be taken in. Whoever knows where it stands tells the client."""

    def __init__(self, message: str, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.message, self.code = message, code
