"""Content parts that are not text: what they carry, where they stand, and what is wrong with how they are written."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from antiphon.domain.faults import FieldFault
from antiphon.domain.media import Medium
from antiphon.wire import message_schema as said

_DATA = re.compile(r"data:([a-z0-9.+-]+/[a-z0-9.+-]+)(?:;[a-z0-9.-]+=[a-z0-9._-]+)*;base64,", re.IGNORECASE)
_DATA_CHARS = 200
"""Within how many characters a data: URL has come to its data."""
IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/jpg", "image/webp", "image/gif"})

Parts = Sequence[said.UserPart | said.RefusalPart]
MediaPart = said.ImagePart | said.AudioPart | said.FilePart


def joined(parts: Parts) -> str:
    """Text parts joined by line breaks, as llama.cpp and vLLM do."""
    return "\n".join(_texts(parts))


def placed(parts: Parts) -> tuple[Medium, ...]:
    """Give what parts carry that is no text, each with its place in the text that `joined` makes of them."""
    media = []
    for number, part in enumerate(parts):
        if isinstance(part, MediaPart):
            media.append(replace(_medium(part), part=number, at=len(joined(parts[:number]))))
    return tuple(media)


def part_faults(parts: Parts) -> Iterator[tuple[int, str]]:
    """Give what is wrong with a message's parts, as far as it shows without looking at what they carry."""
    for number, part in enumerate(parts):
        match part:
            case said.ImagePart(image_url=image):
                if fault := _image_fault(image.url):
                    yield number, fault
            case said.FilePart(file=file):
                if (file.file_data is None) == (file.file_id is None):
                    yield number, "A file has either file_data or file_id."
            case _:
                pass


def media_chars(message: said.Message) -> int:
    """How much of the body is media in a message, rather than text."""
    return sum(len(medium.base64 or "") for medium in placed(parts_of(message)))


def parts_of(message: said.Message) -> Parts:
    """Give a message's parts; none when its content is plain text."""
    return message.content if isinstance(message.content, list) else ()


def part_fault(loc: tuple[str | int, ...], msg: str) -> FieldFault:
    """Give a finding about one part."""
    return FieldFault(("body", *loc), msg, "value_error", "invalid_value")


def _texts(parts: Parts) -> Iterator[str]:
    for part in parts:
        if isinstance(part, said.TextPart):
            yield part.text
        elif isinstance(part, said.RefusalPart):
            yield part.refusal


def _medium(part: MediaPart) -> Medium:
    match part:
        case said.ImagePart(image_url=image):
            detail = image.detail or "auto"
            kind, data = _from_data_url(image.url)
            if data is None:
                return Medium("image_url", 0, 0, url=image.url, detail=detail)
            return Medium("image_url", 0, 0, base64=data, format=kind, detail=detail)
        case said.AudioPart(input_audio=audio):
            _, data = _from_data_url(audio.data)
            return Medium("input_audio", 0, 0, base64=audio.data if data is None else data, format=audio.format)
        case said.FilePart(file=file):
            kind, data = _from_data_url(file.file_data or "")
            content = file.file_data if data is None else data
            return Medium("file", 0, 0, base64=content, file_id=file.file_id, format=kind, filename=file.filename)


def _from_data_url(url: str) -> tuple[str | None, str | None]:
    """Read a data: URL in base64: its type and its data; twice None when it is none."""
    match = _DATA.match(url[:_DATA_CHARS])
    return (match[1].lower(), url[match.end() :]) if match else (None, None)


def _image_fault(url: str) -> str | None:
    kind, data = _from_data_url(url)
    if data is not None:
        return None if kind in IMAGE_TYPES else "Should be a PNG, JPEG, WebP or GIF image."
    if url.startswith(("https://", "http://")):
        return None
    return "Should be data:image/…;base64,… or an http(s) URL."
