"""Kokoro: sounds to samples, by onnxruntime. Runs in the speaking child only.

Its inputs, as its ONNX export has them: ids of at most 510 sounds between zeros, the row of a voice's table for so many
sounds, and a speed. It gives float samples at 24 kHz.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from antiphon.domain.media import SPOKEN_HZ
from antiphon.media.speech.assets import LEXICONS, MODEL, SYMBOLS
from antiphon.media.speech.normalise import normalise
from antiphon.media.speech.phonemes import Phonemes

MOST_SOUNDS = 510
"""In one go; longer sentences are said in several."""
STYLE = 256
QUIET = 0.01
"""Samples below this, at either end, are silence."""
EDGE_SAMPLES = SPOKEN_HZ // 50
"""How much silence is left there."""
PAUSE_S = {".": 0.35, "!": 0.35, "?": 0.35, "…": 0.4, ":": 0.3, ";": 0.25, ",": 0.15}
"""How long a pause a sentence's last mark is."""

Samples = NDArray[np.float32]


class Stopped(Exception):
    """Nobody listens any more."""


class Kokoro:
    """A loaded voice box."""

    def __init__(self, folder: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        # Threads that wait must not burn the core that the language model needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(folder / MODEL.name), options, providers=["CPUExecutionProvider"]
        )
        self._symbols: dict[str, int] = json.loads((folder / SYMBOLS.name).read_text("utf-8"))["vocab"]
        self._folder = folder
        self._phonemes: dict[str, Phonemes] = {}
        self._styles: dict[str, Samples] = {}
        self._running: onnxruntime.RunOptions | None = None

    def stop(self) -> None:
        """Break off what is being said; may be called from any thread."""
        if self._running is not None:
            self._running.terminate = True

    def say(self, text: str, voice: str) -> bytes:
        """Give a sentence's samples: 16 bits, one channel; none when there is nothing in it to say.

        Raises:
            Stopped: it was broken off.
        """
        words = normalise(text)
        sounds = self._sounds(words, voice)
        parts = [self._trimmed(self._run(part, voice)) for part in _parts(sounds)]
        if not parts:
            return b""
        pause = np.zeros(int(PAUSE_S.get(words[-1], 0.1) * SPOKEN_HZ), np.float32)
        samples = np.concatenate([*parts, pause])
        pcm: bytes = (np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()
        return pcm

    def _sounds(self, words: str, voice: str) -> list[int]:
        kind = voice[0]
        if kind not in self._phonemes:
            self._phonemes[kind] = Phonemes.load(*(self._folder / name for name in LEXICONS[kind]))
        said = self._phonemes[kind].say(words)
        if not any(sound.isalpha() for sound in said):
            return []
        return [self._symbols[sound] for sound in said if sound in self._symbols]

    def _run(self, sounds: list[int], voice: str) -> Samples:
        if voice not in self._styles:
            table = np.fromfile(self._folder / f"{voice}.bin", np.float32)
            self._styles[voice] = table.reshape(-1, 1, STYLE)
        inputs = {
            "tokens": np.array([[0, *sounds, 0]], np.int64),
            "style": self._styles[voice][min(len(sounds), MOST_SOUNDS - 1)],
            "speed": np.ones(1, np.float32),
        }
        self._running = onnxruntime.RunOptions()
        try:
            (samples,) = self._session.run(None, inputs, self._running)
        except Exception as error:
            if self._running.terminate:
                raise Stopped from error
            raise
        finally:
            self._running = None
        flat: Samples = samples.reshape(-1)
        return flat

    @staticmethod
    def _trimmed(samples: Samples) -> Samples:
        loud = np.flatnonzero(np.abs(samples) > QUIET)
        if not loud.size:
            return samples[:0]
        return samples[max(0, loud[0] - EDGE_SAMPLES) : loud[-1] + EDGE_SAMPLES]


def _parts(sounds: list[int]) -> list[list[int]]:
    return [sounds[at : at + MOST_SOUNDS] for at in range(0, len(sounds), MOST_SOUNDS)]
