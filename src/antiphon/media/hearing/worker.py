"""The hearing child: `python -m antiphon.media.hearing.worker FOLDER THREADS`."""

import os
import sys
from functools import partial

import msgspec
import numpy as np
from faster_whisper import WhisperModel

from antiphon.media.hearing.recogniser import Heard, Spoken
from antiphon.media.inside import Bounds, serve

_decoder = msgspec.msgpack.Decoder(Spoken)


def work(model: WhisperModel, body: bytes) -> Heard:
    """Put one recording into words.

    What the voice detector takes for no voice is not listened to: of silence, Whisper makes up words.
    """
    samples = np.frombuffer(_decoder.decode(body).pcm, "<i2").astype(np.float32) / 32768
    segments, _ = model.transcribe(samples, beam_size=5, condition_on_previous_text=False, vad_filter=True)
    return Heard(" ".join(segment.text.strip() for segment in segments))


def main() -> None:
    """Hear until the server is gone."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    folder, threads = sys.argv[1], int(sys.argv[2])
    model = WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True)
    serve(lambda: partial(work, model), Bounds(), lambda: None)


if __name__ == "__main__":
    main()
