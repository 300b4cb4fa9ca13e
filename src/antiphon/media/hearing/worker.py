"""The hearing child: `python -m antiphon.media.hearing.worker FOLDER THREADS`."""

import os
import sys
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from antiphon.media.hearing.listener import Listener
from antiphon.media.hearing.recogniser import Heard, Spoken
from antiphon.media.inside import Bounds, serve

_decoder = msgspec.msgpack.Decoder(Spoken)


def work(listener: Listener, body: bytes) -> Heard:
    """Put one recording into words."""
    samples = np.frombuffer(_decoder.decode(body).pcm, "<i2").astype(np.float32) / np.float32(32768)
    return Heard(listener.hear(samples))


def main() -> None:
    """Hear until the server is gone."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    listener = Listener(Path(sys.argv[1]), int(sys.argv[2]))
    serve(lambda: partial(work, listener), Bounds(), lambda: None)


if __name__ == "__main__":
    main()
