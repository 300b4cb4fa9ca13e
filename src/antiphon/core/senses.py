"""What a server sees, hears, reads and says for its engines: the socket, and what is in it when it can do nothing."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Protocol

from antiphon.domain.errors import InternalError
from antiphon.domain.media import AudioFormat, Document, Image, ImageFile, MediaUnfit, Medium, Sound


class Voice(Protocol):
    """Says sentences."""

    @property
    def voices(self) -> Collection[str]:
        """The names a client may use."""

    async def say(self, text: str, voice: str) -> bytes:
        """Say a sentence, as `Senses.say` does."""


class Recogniser(Protocol):
    """Puts recordings into words."""

    async def hear(self, sound: Sound) -> str:
        """Give a recording's words, as `Senses.transcribe` does."""


class Senses(Protocol):
    """Takes in what messages carry beside text, and speaks answers.

    Whatever takes a medium raises MediaUnfit when it cannot be had, is not what it should be or is too large.
    """

    @property
    def features(self) -> Mapping[str, str]:
        """What is done for an engine that cannot do it itself: the feature's name in a request, to how."""

    @property
    def hints(self) -> Mapping[str, str]:
        """What is not, to what would enable it."""

    @property
    def voices(self) -> Collection[str]:
        """The names of the voices."""

    async def see(self, medium: Medium, account: str) -> Image:
        """Take in a picture."""

    async def show(self, medium: Medium, account: str) -> ImageFile:
        """Take in a picture for an engine that takes files."""

    async def as_file(self, image: Image) -> ImageFile:
        """Give a picture that was drawn here, such as a page, as a file."""

    async def listen(self, medium: Medium, account: str) -> Sound:
        """Take in a recording."""

    async def read(self, medium: Medium, account: str, *, has_sight: bool) -> Document:
        """Take in a file; with its pages as pictures for a model that sees."""

    async def transcribe(self, sound: Sound) -> str:
        """Give the words that are spoken in a recording; empty when there are none.

        Raises:
            EngineFailed: the recogniser died.
        """

    async def recall(self, account: str, speech_id: str) -> str:
        """Give the words of a spoken answer."""

    async def say(self, text: str, voice: str) -> bytes:
        """Speak a sentence; give samples at SPOKEN_HZ, one channel, signed 16-bit little-endian.

        Raises:
            EngineFailed: the voice died.
        """

    async def encode(self, pcm: bytes, form: AudioFormat) -> bytes:
        """Give speech in another format."""


class NoSenses:
    """A server that takes and gives text only."""

    features: Mapping[str, str] = MappingProxyType({})
    hints: Mapping[str, str] = MappingProxyType({})
    voices: Collection[str] = ()

    async def see(self, medium: Medium, account: str) -> Image:
        """Not be asked: no request with a picture fits."""
        raise InternalError(f"nobody takes a {medium.kind} in")

    async def show(self, medium: Medium, account: str) -> ImageFile:
        """Not be asked."""
        raise InternalError(f"nobody takes a {medium.kind} in")

    async def as_file(self, image: Image) -> ImageFile:
        """Not be asked."""
        raise InternalError("nobody draws")

    async def listen(self, medium: Medium, account: str) -> Sound:
        """Not be asked."""
        raise InternalError(f"nobody takes a {medium.kind} in")

    async def read(self, medium: Medium, account: str, *, has_sight: bool) -> Document:
        """Not be asked."""
        raise InternalError(f"nobody takes a {medium.kind} in")

    async def transcribe(self, sound: Sound) -> str:
        """Not be asked."""
        raise InternalError("nobody transcribes")

    async def recall(self, account: str, speech_id: str) -> str:
        """Know of none."""
        raise MediaUnfit("There is no such audio, or it has expired.")

    async def say(self, text: str, voice: str) -> bytes:
        """Not be asked."""
        raise InternalError("nobody speaks")

    async def encode(self, pcm: bytes, form: AudioFormat) -> bytes:
        """Not be asked."""
        raise InternalError("nobody encodes")


NO_SENSES: Senses = NoSenses()
