"""The speaking child: `python -m antiphon.media.speech.worker FOLDER THREADS`."""

import sys
from functools import partial
from pathlib import Path

import msgspec

from antiphon.media.inside import Bounds, serve
from antiphon.media.speech.kokoro import Kokoro, Stopped
from antiphon.media.speech.speaker import Said, Sentence, Unsaid

NICE = 5
"""Speech is made ahead of its being heard; a model's next token is waited for."""

_decoder = msgspec.msgpack.Decoder(Sentence)


def work(voice_box: Kokoro, body: bytes) -> Said | Unsaid:
    """Say one sentence."""
    sentence = _decoder.decode(body)
    try:
        return Said(voice_box.say(sentence.text, sentence.voice))
    except Stopped:
        return Unsaid()


def main() -> None:
    """Say sentences until the server is gone."""
    voice_box = Kokoro(Path(sys.argv[1]), int(sys.argv[2]))
    serve(lambda: partial(work, voice_box), Bounds(nice=NICE), voice_box.stop)


if __name__ == "__main__":
    main()
