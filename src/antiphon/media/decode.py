"""Pictures, recordings and papers decoded, speech encoded. Runs in the decoding child only."""

import io
from collections.abc import Iterator
from typing import cast

import av
import numpy as np
import pypdfium2
from av.audio.resampler import AudioResampler
from PIL import Image, ImageOps

from antiphon.domain.media import HEARD_HZ, SPOKEN_HZ
from antiphon.media.images import MOST_PIXELS
from antiphon.media.jobs import Bytes, Drawn, Paper, Picture, Pressing, Print, Read, Recording, Refused

CONTAINERS = {"wav": "wav", "mp3": "mp3", "flac": "flac", "opus": "ogg", "aac": "adts"}
CODECS = {"wav": "pcm_s16le", "mp3": "libmp3lame", "flac": "flac", "opus": "libopus", "aac": "aac"}
OPUS_HZ = 48_000
FRAME_SAMPLES = 24_000

Image.MAX_IMAGE_PIXELS = MOST_PIXELS


def draw(job: Picture) -> Drawn:
    """Decode a picture's first frame, upright, on white, no larger than asked."""
    with Image.open(io.BytesIO(job.data), formats=[job.kind]) as opened:
        opened.draft("RGB", _fitting(opened.size, job))  # a JPEG is decoded at half or a quarter where that will do
        image = ImageOps.exif_transpose(opened)
        size = _fitting(image.size, job)
        if image.mode in {"I;16", "I;16B", "I"}:
            image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
        if image.mode in {"RGBA", "LA", "PA", "P", "La", "RGBa"} or "transparency" in image.info:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        image = image.convert("RGB")
        if size != image.size:
            image = image.resize(size, Image.Resampling.LANCZOS)
        return Drawn(image.width, image.height, image.tobytes())


def print_png(job: Print) -> Bytes:
    """Encode a picture; fast before small, since it goes no further than to the next server."""
    out = io.BytesIO()
    Image.frombytes("RGB", (job.width, job.height), job.rgb).save(out, "PNG", compress_level=1)
    return Bytes(out.getvalue())


def _fitting(size: tuple[int, int], job: Picture) -> tuple[int, int]:
    scale = min(1.0, job.longest / max(size), job.shortest / min(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def listen(job: Recording) -> Bytes | Refused:
    """Decode a recording to one channel at HEARD_HZ; not further than it may last."""
    most = int(job.most_s * HEARD_HZ) * 2
    pcm = bytearray()
    with av.open(io.BytesIO(job.data), "r", options={"protocol_whitelist": ""}) as container:
        resampler = AudioResampler("s16", "mono", HEARD_HZ)
        for frame in _frames(container):
            for part in resampler.resample(frame):
                pcm += part.to_ndarray().tobytes()
            if len(pcm) > most:
                return Refused(f"A sound lasts at most {job.most_s / 60:.0f} minutes.")
        for part in resampler.resample(None):
            pcm += part.to_ndarray().tobytes()
    return Bytes(bytes(pcm)) if pcm else Refused("The sound is empty.")


def _frames(container: "av.container.InputContainer") -> Iterator[av.AudioFrame]:
    """Decode a recording's sound. Between an MP3's frames anything may stand: tags, padding, another file's header."""
    for packet in container.demux(audio=0):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            if packet.stream.codec_context.name not in {"mp3", "mp3float"}:
                raise
            continue
        yield from frames


def read_paper(job: Paper) -> Read | Refused:
    """Give a PDF's text, and its first pages as pictures where they are asked for."""
    paper = pypdfium2.PdfDocument(job.data)
    if len(paper) > job.most_pages:
        return Refused(f"A file has at most {job.most_pages} pages.")
    texts, pages, chars = [], [], 0
    for number in range(len(paper)):
        page = paper[number]
        text = page.get_textpage().get_text_bounded()
        chars += len(text)
        if chars > job.most_chars:
            return Refused(f"A file has at most {job.most_chars} characters.")
        texts.append(text.replace("\r\n", "\n"))
        if number < job.pictures:
            scale = job.longest / max(*page.get_size(), 1)
            image = page.render(scale=scale).to_pil().convert("RGB")
            pages.append(Drawn(image.width, image.height, image.tobytes()))
        page.close()
    return Read("\n\n".join(texts), pages)


def press(job: Pressing) -> Bytes:
    """Encode samples at SPOKEN_HZ; opus has its own rate."""
    out = io.BytesIO()
    samples = np.frombuffer(job.pcm, "<i2")
    rate_hz = OPUS_HZ if job.form == "opus" else SPOKEN_HZ
    with av.open(out, "w", format=CONTAINERS[job.form]) as container:
        stream = cast("av.AudioStream", container.add_stream(CODECS[job.form], rate=rate_hz, layout="mono"))
        for start in range(0, samples.size, FRAME_SAMPLES):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + FRAME_SAMPLES], "s16", "mono")
            frame.sample_rate, frame.pts = SPOKEN_HZ, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Bytes(out.getvalue())
