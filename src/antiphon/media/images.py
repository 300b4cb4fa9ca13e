"""How large a picture is, from its header: known before anything is decoded."""

import re
import struct
from dataclasses import dataclass

from antiphon.domain.media import MediaUnfit
from antiphon.media.kinds import ImageKind, image_kind

MOST_PIXELS = 16_000_000
"""A picture of more is refused: 17.6 KB of PNG can hold 144 million, which take 700 MB to decode."""
MOST_SIDE = 32_767
MOST_SEGMENTS = 4_096
"""Of a JPEG, before its frame: more than any header needs, and few enough that a hostile one holds nobody up."""
NOT_AN_IMAGE = "Not a supported image: PNG, JPEG, WebP or GIF."
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""JPEG's markers that begin a frame and tell its size."""
_PADDING = re.compile(rb"\xff+(?=\xff)")
"""Before a marker; may be megabytes."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture says of itself."""

    kind: ImageKind
    width: int
    height: int


def judge_image(data: bytes) -> Header:
    """Read a picture's header.

    Raises:
        MediaUnfit: it is none, is empty, or is larger than we decode.
    """
    kind = image_kind(data)
    if kind is None:
        raise MediaUnfit(NOT_AN_IMAGE)
    try:
        width, height = {"PNG": _png, "JPEG": _jpeg, "WEBP": _webp, "GIF": _gif}[kind](data)
    except (struct.error, IndexError):
        raise MediaUnfit("The image is cut off or damaged.") from None
    if not 0 < width <= MOST_SIDE or not 0 < height <= MOST_SIDE:
        raise MediaUnfit(f"An image has from 1 to {MOST_SIDE} pixels on each side.")
    if width * height > MOST_PIXELS:
        raise MediaUnfit(f"An image has at most {MOST_PIXELS // 1_000_000} million pixels.")
    return Header(kind, width, height)


def _png(data: bytes) -> tuple[int, int]:
    length, name, width, height = struct.unpack_from(">I4sII", data, 8)
    return (width, height) if name == b"IHDR" and length == 13 else (0, 0)  # noqa: PLR2004 - as the standard says


def _gif(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _webp(data: bytes) -> tuple[int, int]:
    chunk = data[12:16]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return (width & 0x3FFF, height & 0x3FFF) if chunk == b"VP8 " else (0, 0)


def _jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    for _ in range(MOST_SEGMENTS):
        if padding := _PADDING.match(data, at):
            at = padding.end()
        mark, length = struct.unpack_from(">xBH", data, at)
        if mark in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if data[at] != 0xFF or length < 2:  # noqa: PLR2004 - a segment counts its own length
            return 0, 0
        at += 2 + length
    return 0, 0
