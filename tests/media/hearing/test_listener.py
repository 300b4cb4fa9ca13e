"""Recordings put into words: by the real recogniser, of the real voice, of silence and of noise."""

import re
import time
from functools import cache

import numpy as np
import pytest
from faster_whisper import WhisperModel

from antiphon.domain.media import HEARD_HZ, SPOKEN_HZ
from antiphon.media.hearing.listener import Listener, Reading, better, blocks, goes_in_circles, voiced, within
from antiphon.media.speech.kokoro import Kokoro
from tests.conftest import speech_folder

STORY = [
    "The river ran quietly past the old mill.",
    "In the morning, the baker opened his shop and carried warm bread to the school.",
    "A letter arrived on Tuesday, written in green ink by a sailor from a distant island.",
    "She read it again, folded it, and put it under the clock in the kitchen.",
    "My grandmother used to say that every storm begins with a very small cloud.",
    "We walked for three hours through the forest before we saw the first light.",
    "Please remember to close the windows, because the wind will be strong tonight.",
]
ONE_S = HEARD_HZ


@pytest.fixture(scope="module")
def listener():
    return Listener(speech_folder(), 1)


@pytest.fixture(scope="module")
def recorded():
    """Says sentences, with a pause of so many seconds behind each, as a recording of them would be taken in."""
    say = cache(Kokoro(speech_folder(), 1).say)

    def record(*sentences, pause_s=0.3):
        pause = bytes(2 * int(SPOKEN_HZ * pause_s))
        pcm = b"".join(say(sentence, "af_nova") + pause for sentence in sentences)
        spoken = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
        length = len(spoken) * HEARD_HZ // SPOKEN_HZ
        return np.interp(np.arange(length) * SPOKEN_HZ / HEARD_HZ, np.arange(len(spoken)), spoken).astype(np.float32)

    return record


def words(text):
    return re.findall(r"[a-z']+", text.lower())


def missed(said, heard):
    left = words(heard)
    return [word for word in words(said) if not (word in left and not left.remove(word))]


def test_of_a_recording_longer_than_a_window_no_word_is_lost_and_none_is_made_up(listener, recorded):
    recording = recorded(*STORY)
    assert len(recording) > 30 * ONE_S
    heard = listener.hear(recording)
    assert len(missed(" ".join(STORY), heard)) <= 2, heard
    assert abs(len(words(heard)) - len(words(" ".join(STORY)))) <= 2, heard


def test_what_is_said_between_long_silences_is_heard(listener, recorded):
    silence = np.zeros(20 * ONE_S, np.float32)
    recording = np.concatenate([silence, recorded(STORY[1]), silence, recorded(STORY[4]), silence])
    assert missed(f"{STORY[1]} {STORY[4]}", listener.hear(recording)) == []


def test_what_is_said_three_times_is_not_heard_six_times(listener, recorded):
    """As it would be at the block's own length, where the decoder goes round in circles."""
    assert listener.hear(recorded(*["Yes, I will come tomorrow morning."] * 3)).lower().count("come tomorrow") == 3


@pytest.mark.parametrize(
    "sound",
    {
        "silence": np.zeros(60 * ONE_S),
        "hiss": np.random.default_rng(1).normal(0, 0.05, 60 * ONE_S),
        "hum": np.sin(np.arange(60 * ONE_S) * 2 * np.pi * 50 / HEARD_HZ) / 3,
        "clicks": (np.arange(60 * ONE_S) % (ONE_S // 2) == 0) * 0.8,
        "nothing": np.zeros(0),
        "one sample": np.ones(1),
    }.items(),
    ids=lambda sound: sound[0],
)
def test_where_nobody_speaks_no_words_come_back_at_once(listener, sound):
    begun = time.process_time()
    assert listener.hear(sound[1].astype(np.float32)) == ""
    assert time.process_time() - begun < 0.5


def test_a_short_recording_takes_less_than_half_of_a_window_s_work(listener, recorded):
    """Beside faster-whisper, which always encodes thirty seconds."""
    recording = recorded(STORY[0])
    whisper = WhisperModel(str(speech_folder()), compute_type="int8", cpu_threads=1, local_files_only=True)

    def transcribe(samples):
        return [one.text for one in whisper.transcribe(samples, vad_filter=True)[0]]

    ours, theirs = zip(
        *((_seconds(listener.hear, recording), _seconds(transcribe, recording)) for _ in range(3)), strict=True
    )
    assert min(ours) < min(theirs) / 2


def _seconds(hear, recording):
    begun = time.process_time()
    assert hear(recording)
    return time.process_time() - begun


def test_speech_without_any_pause_is_cut_into_pieces(recorded):
    clip = recorded(STORY[0])
    ((first, last),) = voiced(clip)
    endless = np.tile(clip[first + ONE_S // 3 : last - ONE_S // 3], 20)
    pieces = voiced(endless)
    assert len(endless) > 30 * ONE_S
    assert max(last - first for first, last in pieces) <= 25 * ONE_S
    assert sum(last - first for first, last in pieces) > 0.9 * len(endless)


def test_a_block_is_encoded_at_its_length_and_three_seconds_but_eight_at_least_and_thirty_at_most(listener):
    def seconds(length_s):
        return listener._encode(np.zeros(int(length_s * ONE_S), np.float32)).shape[1] / 50

    assert [round(seconds(length_s)) for length_s in (10, 1, 40)] == [13, 8, 30]


def test_a_language_is_kept_for_what_follows_only_when_it_is_sure(listener, recorded):
    assert listener._language(listener._encode(recorded(STORY[1]))) == ("en", "en")
    assert listener._language(listener._encode(np.zeros(5 * ONE_S, np.float32)))[1] is None


def test_what_the_decoder_guesses_of_a_noise_that_was_taken_for_a_voice_is_no_words(listener):
    noise = np.random.default_rng(1).normal(0, 0.002, 5 * ONE_S).astype(np.float32)
    assert listener._words(noise, listener._encode(noise), "en") == ""


def test_what_is_written_of_the_silence_behind_a_block_is_left_out():
    written = [1000, 1, 2, 1100, 1100, 3, 1150, 1150, 4, 1200]
    assert list(within(written, 1000, 3.0)) == [1, 2, 3]
    assert list(within([1, 2], 1000, 3.0)) == [1, 2]


def test_pieces_are_joined_up_to_fifteen_seconds_and_not_over_a_long_pause():
    def seconds(*pieces):
        joined = blocks((first * ONE_S, last * ONE_S) for first, last in pieces)
        return [(block.start // ONE_S, block.stop // ONE_S) for block in joined]

    assert seconds((0, 4), (5, 9), (10, 14)) == [(0, 14)]
    assert seconds((0, 4), (5, 9), (10, 16)) == [(0, 9), (10, 16)]
    assert seconds((0, 2), (4, 6)) == [(0, 2), (4, 6)]
    assert seconds((0, 20), (20, 40)) == [(0, 20), (20, 40)]
    assert seconds() == []


def reading(text="Good morning.", logprob=-0.2, silent=0.0, has_ended=True):
    return Reading(text, logprob, silent, has_ended)


def test_a_reading_is_doubtful_when_it_goes_on_or_round_or_guesses():
    assert not reading().is_doubtful
    assert reading(has_ended=False).is_doubtful
    assert reading(logprob=-1.1).is_doubtful
    assert reading("We walked through the forest. We walked through the forest.").is_doubtful


def test_a_text_goes_in_circles_when_twenty_of_its_characters_come_twice():
    assert goes_in_circles("a river runs quietly, a river runs quietly")
    assert goes_in_circles("ha " * 12)
    assert not goes_in_circles("no, no, no")
    assert not goes_in_circles("")


def test_a_guess_about_silence_is_no_words():
    assert reading("Thank you.", logprob=-1.2, silent=0.9).is_guess
    assert not reading("Thank you.", logprob=-0.3, silent=0.9).is_guess
    assert not reading("Thank you.", logprob=-1.2, silent=0.1).is_guess


def test_of_two_readings_the_whole_window_s_is_taken_unless_it_goes_in_longer_circles():
    circle = reading("We walked through the forest. We walked through the forest.")
    longer = reading("We walked through the forest. " * 3)
    assert better(circle, reading()) == reading()
    assert better(longer, circle) == circle
    assert better(circle, longer) == circle
