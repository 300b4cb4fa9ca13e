"""What bytes are, by their first ones: nothing else that is said of them is believed. What is not here is refused."""

from typing import Literal

ImageKind = Literal["PNG", "JPEG", "WEBP", "GIF"]
SoundKind = Literal["wav", "mp3", "flac", "ogg", "m4a", "aac"]

HEAD_BYTES = 64
_BEFORE_PDF = b"\xef\xbb\xbf \t\r\n\f"
"""What some programs write before a PDF's first line: blanks, and UTF-8's mark."""
_MPEG_SYNC = 0xE0


def image_kind(data: bytes) -> ImageKind | None:
    """Give the kind of picture that bytes are; None for anything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return "GIF" if data.startswith((b"GIF87a", b"GIF89a")) else None


def sound_kind(data: bytes) -> SoundKind | None:
    """Give the kind of recording that bytes are; None for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    if data.startswith(b"fLaC"):
        return "flac"
    if data.startswith(b"OggS"):
        return "ogg"
    if data[4:8] == b"ftyp":
        return "m4a"
    if data.startswith(b"ID3"):
        return "mp3"
    return _mpeg_kind(data)


def _mpeg_kind(data: bytes) -> SoundKind | None:
    """A frame's first twelve bits are ones; its layer is none for AAC, and never none for MP3."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & _MPEG_SYNC != _MPEG_SYNC:  # noqa: PLR2004 - a header's bytes
        return None
    layer, rate = data[1] >> 1 & 3, data[2] >> 2 & 3
    if layer == 0:
        return "aac" if data[1] & 0xF0 == 0xF0 else None  # noqa: PLR2004 - ADTS has four bits more
    return "mp3" if layer == 1 and rate != 3 and data[2] >> 4 not in {0, 15} else None  # noqa: PLR2004 - reserved


def is_pdf(data: bytes) -> bool:
    """Tell whether bytes are a PDF file."""
    return data[:HEAD_BYTES].lstrip(_BEFORE_PDF).startswith(b"%PDF-")
