"""How long a recording is, as far as its header tells: enough to refuse what lies or is too much, before decoding."""

import struct
from dataclasses import dataclass

from antiphon.domain.media import MediaUnfit
from antiphon.media.kinds import SoundKind, sound_kind

MOST_S = 1500
"""The longest recording: what OpenAI's transcription takes, 25 minutes."""
MOST_CHANNELS = 8
MOST_CHUNKS = 1_000
"""Of a wav, before its samples: empty ones could be two million."""
RATES_HZ = (4_000, 384_000)
UNKNOWN_BYTES = 0x7FFF_0000
"""What writes a wav into a pipe does not know its length yet, and writes 0 or about the largest number there is: with
its sign (espeak, sox, arecord) or without (ffmpeg). What is there counts then."""
NOT_A_SOUND = "Not a supported sound: wav, mp3, flac, ogg, opus, m4a or aac."


@dataclass(frozen=True, slots=True)
class Claims:
    """What a header says; None where it does not."""

    channels: int | None = None
    rate_hz: int | None = None
    seconds: float | None = None


def judge_sound(data: bytes) -> SoundKind:
    """Read a recording's header.

    Raises:
        MediaUnfit: it is none, is empty, or says that it is more than we decode.
    """
    kind = sound_kind(data)
    if kind is None:
        raise MediaUnfit(NOT_A_SOUND)
    try:
        claims = _CLAIMS[kind](data) if kind in _CLAIMS else Claims()
    except (struct.error, ZeroDivisionError):
        raise MediaUnfit("The sound is cut off or damaged.") from None
    if claims.channels is not None and not 1 <= claims.channels <= MOST_CHANNELS:
        raise MediaUnfit(f"A sound has from 1 to {MOST_CHANNELS} channels.")
    if claims.rate_hz is not None and not RATES_HZ[0] <= claims.rate_hz <= RATES_HZ[1]:
        raise MediaUnfit(f"A sound has from {RATES_HZ[0]} to {RATES_HZ[1]} samples a second.")
    if claims.seconds is not None:
        judge_length(claims.seconds)
    return kind


def judge_length(seconds: float) -> None:
    """Refuse a recording that is empty or too long.

    Raises:
        MediaUnfit: it is.
    """
    if seconds <= 0:
        raise MediaUnfit("The sound is empty.")
    if seconds > MOST_S:
        raise MediaUnfit(f"A sound lasts at most {MOST_S // 60} minutes.")


def _wav(data: bytes) -> Claims:
    at, form = 12, None
    for _ in range(MOST_CHUNKS):
        name, length = struct.unpack_from("<4sI", data, at)
        if name == b"fmt ":
            form = struct.unpack_from("<HHIIHH", data, at + 8)
        elif name == b"data":
            if form is None:
                break
            _, channels, rate_hz, bytes_a_second, _, _ = form
            is_known = 0 < length < UNKNOWN_BYTES
            known = length if is_known else len(data) - at - 8
            return Claims(channels, rate_hz, known / bytes_a_second)
        at += 8 + length + length % 2
    raise struct.error("no samples")


def _flac(data: bytes) -> Claims:
    bits = int.from_bytes(data[18:26], "big")
    rate_hz, channels, samples = bits >> 44, (bits >> 41 & 7) + 1, bits & 0xF_FFFF_FFFF
    if len(data) < 26:  # noqa: PLR2004 - up to the count of samples
        raise struct.error("cut off")
    return Claims(channels, rate_hz, samples / rate_hz if samples else None)


def _ogg(data: bytes) -> Claims:
    head = data.find(b"OpusHead", 0, 512)
    if head >= 0:
        return Claims(data[head + 9] if len(data) > head + 9 else 0, None, _last_granule(data) / 48_000)
    head = data.find(b"\x01vorbis", 0, 512)
    if head >= 0:
        channels, rate_hz = struct.unpack_from("<BI", data, head + 11)
        return Claims(channels, rate_hz, _last_granule(data) / rate_hz)
    return Claims()


def _last_granule(data: bytes) -> int:
    """How many samples there were by the last page: its position."""
    last = data.rfind(b"OggS")
    (granule,) = struct.unpack_from("<q", data, last + 6)
    return int(granule)


_CLAIMS = {"wav": _wav, "flac": _flac, "ogg": _ogg}
"""The others' headers tell of one frame only; they are bounded while they are decoded."""
