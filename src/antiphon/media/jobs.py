"""What the decoding child is asked and answers."""

import msgspec

from antiphon.domain.media import AudioFormat


class Picture(msgspec.Struct, tag="picture", frozen=True):
    """Decode a picture."""

    data: bytes
    kind: str
    longest: int
    """No side longer than this,"""
    shortest: int
    """and the shorter one not longer than this."""


class Recording(msgspec.Struct, tag="recording", frozen=True):
    """Decode a recording."""

    data: bytes
    most_s: float


class Paper(msgspec.Struct, tag="paper", frozen=True):
    """Read a PDF."""

    data: bytes
    most_pages: int
    most_chars: int
    pictures: int
    """How many pages are drawn as well."""
    longest: int


class Pressing(msgspec.Struct, tag="pressing", frozen=True):
    """Encode speech."""

    pcm: bytes
    form: AudioFormat
    cpu_s: int
    """How much processor time it may take: it is as long as its answer, and no stranger's."""


class Print(msgspec.Struct, tag="print", frozen=True):
    """Encode a picture as PNG."""

    width: int
    height: int
    rgb: bytes


Job = Picture | Recording | Paper | Pressing | Print


class Drawn(msgspec.Struct, tag="drawn", frozen=True):
    """A picture's pixels."""

    width: int
    height: int
    rgb: bytes


class Bytes(msgspec.Struct, tag="bytes", frozen=True):
    """A recording's samples, or a file."""

    data: bytes


class Read(msgspec.Struct, tag="read", frozen=True):
    """What a paper says."""

    text: str
    pages: list[Drawn]


class Refused(msgspec.Struct, tag="refused", frozen=True):
    """It was not done. Why is one of our own sentences, never a library's."""

    why: str


Result = Drawn | Bytes | Read | Refused
