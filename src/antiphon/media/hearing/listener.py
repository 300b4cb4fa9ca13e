"""Whisper: samples to words, block by block. Runs in the hearing child only.

Whisper's encoder is made for 30 s and takes as long for 3 s of speech as for 30. Here a recording is cut where nobody
speaks and each block is encoded at its own length; where that may have misled the decoder, which then says a phrase
twice, it is encoded again at 30 s. What the voice detector (Silero, in faster-whisper's wheel) takes for no voice is
not listened to at all: of silence, Whisper makes up words.

Source: the decoding rules and thresholds of `transcribe` in faster-whisper 1.2, which are those of the Whisper paper.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens
from faster_whisper.vad import VadOptions, get_speech_timestamps
from numpy.typing import NDArray

from antiphon.domain.media import HEARD_HZ

Samples = NDArray[np.float32]

BLOCK_S = 15.0
"""Pieces of speech are joined to blocks of at most so much: words help to hear their neighbours."""
PIECE_S = 25.0
"""Speech without any pause is cut here."""
PAUSE_S = 1.0
"""Behind a longer pause a new block begins."""
TAIL_S = 3.0
"""How much silence is put behind a block: with less, its last phrase is often heard twice."""
LEAST_S = 8.0
"""How long a block with its silence is at least: of one word in less, Whisper makes more."""
WINDOW_S = 30.0
"""What Whisper was trained on."""
VOICE = VadOptions(min_silence_duration_ms=250, speech_pad_ms=200, max_speech_duration_s=PIECE_S)
BEAMS = 5
TOKENS_PER_S = 30
"""More than anyone says in any script; a decoder that goes on in circles is stopped by it."""
MOST_TOKENS = 448
"""That Whisper can write, with its prompt."""
FRAMES_PER_S = 100
TIMESTAMP_S = 0.02
FIRST_TIMESTAMP = 50
"""The latest that may come first: one second."""
CIRCLE_CHARS = 20
"""A text in which so many characters come twice was perhaps written by a decoder that goes round in circles."""
MOST_COMPRESSION = 2.4
LEAST_LOGPROB = -1.0
"""Mean log-probability of a token, in nats; below it the words are a guess."""
MOST_SILENT = 0.6
"""Probability that nobody speaks; above it, guessed words are none."""
SURE = 0.5
"""Probability of a language at which it is taken for that of all that follows."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the decoder made of a block."""

    text: str
    logprob: float
    """Mean of its tokens', in nats."""
    silent: float
    """Probability that nobody speaks."""
    has_ended: bool
    """Whether the decoder came to an end by itself."""

    @property
    def is_doubtful(self) -> bool:
        """Whether to look again with Whisper's own window."""
        return not self.has_ended or self.logprob < LEAST_LOGPROB or goes_in_circles(self.text)

    @property
    def is_guess(self) -> bool:
        """Whether nobody spoke, most likely."""
        return self.silent > MOST_SILENT and self.logprob < LEAST_LOGPROB


class Listener:
    """A loaded recogniser."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Load it.

        Args:
            folder: with all of `assets.ASSETS`.
            threads: of the decoder.
        """
        self._whisper = WhisperModel(
            str(folder), device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True
        )

    def hear(self, samples: Samples) -> str:
        """Give the words in a recording; empty when nobody speaks in it.

        Args:
            samples: one channel at HEARD_HZ, shape (n_samples,), from -1 to 1.
        """
        language, texts = None, []
        for block in blocks(voiced(samples)):
            encoded = self._encode(samples[block])
            here = language
            if here is None:
                here, language = self._language(encoded)
            texts.append(self._words(samples[block], encoded, here))
        return " ".join(text for text in texts if text)

    def _language(self, encoded: Any) -> tuple[str, str | None]:
        """The language of a block, and that of all behind it if this is sure."""
        ((token, probability), *_) = self._whisper.model.detect_language(encoded)[0]
        name = token.strip("<|>")
        return name, name if probability >= SURE else None

    def _words(self, samples: Samples, encoded: Any, language: str) -> str:
        reading = self._read(encoded, len(samples) / HEARD_HZ, language)
        if reading.is_doubtful:
            reading = better(reading, self._read(self._encode(samples, WINDOW_S), len(samples) / HEARD_HZ, language))
        return "" if reading.is_guess else reading.text

    def _encode(self, samples: Samples, least_s: float = LEAST_S) -> Any:
        length = max(len(samples) + int(TAIL_S * HEARD_HZ), int(least_s * HEARD_HZ))
        padded = np.pad(samples, (0, length - len(samples)))
        return self._whisper.encode(self._whisper.feature_extractor(padded)[:, : int(WINDOW_S * FRAMES_PER_S)])

    def _read(self, encoded: Any, seconds: float, language: str) -> Reading:
        tokens = Tokenizer(self._whisper.hf_tokenizer, multilingual=True, task="transcribe", language=language)
        prompt = list(tokens.sot_sequence)
        most = min(MOST_TOKENS, len(prompt) + BEAMS + int(seconds * TOKENS_PER_S))
        (result,) = self._whisper.model.generate(
            encoded,
            [prompt],
            beam_size=BEAMS,
            max_length=most,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=get_suppressed_tokens(tokens, [-1]),
            max_initial_timestamp_index=FIRST_TIMESTAMP,
        )
        written = result.sequences_ids[0]
        text = tokens.decode(list(within(written, tokens.timestamp_begin, seconds))).strip()
        return Reading(text, result.scores[0], result.no_speech_prob, has_ended=len(prompt) + len(written) < most)


def voiced(samples: Samples) -> list[tuple[int, int]]:
    """Give where somebody speaks: first samples and those behind the last, in order; none is longer than PIECE_S."""
    return [(piece["start"], piece["end"]) for piece in get_speech_timestamps(samples, VOICE)]


def blocks(pieces: Iterable[tuple[int, int]]) -> Iterator[slice]:
    """Join pieces of speech, in samples, to blocks that are heard as one."""
    begin = end = None
    for first, last in pieces:
        if begin is not None and end is not None:
            if first - end <= PAUSE_S * HEARD_HZ and last - begin <= BLOCK_S * HEARD_HZ:
                end = last
                continue
            yield slice(begin, end)
        begin, end = first, last
    if begin is not None:
        yield slice(begin, end)


def better(short: Reading, whole: Reading) -> Reading:
    """Choose between the reading of a block at its own length, which is doubtful, and that at Whisper's window.

    Where somebody does say a thing twice, both have it twice; else the shorter is the one without the circle.
    """
    return whole if not whole.is_doubtful or len(whole.text) < len(short.text) else short


def goes_in_circles(text: str) -> bool:
    """Whether a text says the same again."""
    parts = [text[at : at + CIRCLE_CHARS] for at in range(len(text) - CIRCLE_CHARS + 1)]
    return len(set(parts)) < len(parts) or (bool(text) and get_compression_ratio(text) > MOST_COMPRESSION)


def within(written: Iterable[int], first_timestamp: int, seconds: float) -> Iterator[int]:
    """Give the words that begin before the block ends: what is written of the silence behind it is made up."""
    is_within = True
    for token in written:
        if token >= first_timestamp:
            is_within = (token - first_timestamp) * TIMESTAMP_S < seconds
        elif is_within:
            yield token
