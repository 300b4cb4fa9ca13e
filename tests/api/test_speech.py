"""Answers that are spoken and questions that are heard: by the real voice and the real recogniser."""

import base64
import contextlib
import io
import json
import re
import socket
import sqlite3
import time
from uuid import UUID

import av
import numpy as np
import openai
import psutil
import pytest
import soundfile

from antiphon.media.speech.normalise import normalise
from tests.conftest import REAL, serving, until
from tests.lives import key_of
from tests.streams import CLIENT

SENTENCES = [
    "The meeting is on November 24, 2026 at 3:30 pm in room 12.",
    "Visit https://example.com/docs for more information.",
    "Kubernetes was built by engineers at Google.",
    "It costs $3.50, or about 4 euros, and 25% less on Sundays.",
    "Dr. Smith walked 1,234 miles in 1998.",
    "Our friend Xanthippe lives in a small village near the sea.",
    "Please write to help@example.org before the 3rd of May.",
    "The temperature fell to -5 degrees, e.g. in the garden.",
    "Version 2.0.1 of the server uses 16 GB of memory.",
    "She read the **important** book twice, and then she slept.",
]
FORMATS = {"wav": "WAV", "mp3": "MP3", "flac": "FLAC", "opus": "OGG"}


def client(server, key=None):
    # Its connections are closed when an answer is read: an open one that is collected later fails another test.
    return openai.OpenAI(
        base_url=f"{server.url}/v1", api_key=key or server.key, max_retries=0, timeout=110, http_client=CLIENT
    )


def spoken(server, text, form="wav", model="test/echo", voice="alloy", **fields):
    audio = {"voice": voice, "format": form}
    messages = [{"role": "user", "content": text}]
    return client(server).chat.completions.create(
        model=model, modalities=["text", "audio"], audio=audio, messages=messages, **fields
    )


def sound_part(data, form="wav"):
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": form}}


def heard(server, *parts, model="test/echo", **fields):
    messages = [{"role": "user", "content": list(parts)}]
    return client(server).chat.completions.create(model=model, messages=messages, **fields)


@pytest.fixture(scope="session")
def question(voiced):
    """A spoken question, as a wav file."""
    return base64.b64decode(spoken(voiced, "What is the capital of France?").choices[0].message.audio.data)


def samples(data, form):
    """The samples of a file by another decoder than its encoder, and their rate."""
    if form == "pcm16":
        return np.frombuffer(data, "<i2").astype(np.float32) / 32768, 24_000
    if form in FORMATS:
        file = soundfile.SoundFile(io.BytesIO(data))
        assert (file.format, file.channels) == (FORMATS[form], 1)
        return file.read(dtype="float32"), file.samplerate
    with av.open(io.BytesIO(data)) as container:  # no other decoder for AAC is at hand
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        return np.concatenate(frames), container.streams.audio[0].rate


@pytest.mark.parametrize("form", ["wav", "mp3", "flac", "opus", "aac", "pcm16"])
def test_the_sdk_gets_speech_in_every_format_that_another_decoder_reads(voiced, form):
    message = spoken(voiced, "Good morning to all of you.", form).choices[0].message
    assert (message.content, message.audio.transcript) == (None, "Good morning to all of you.")
    heard_samples, rate_hz = samples(base64.b64decode(message.audio.data), form)
    assert 1.0 < len(heard_samples) / rate_hz < 4.0
    assert 0.02 < np.abs(heard_samples).mean() < 0.3, "silence or noise"
    assert message.audio.expires_at == pytest.approx(time.time() + 3600, abs=60)


def words(text):
    return re.findall(r"[a-z]+", normalise(text).lower().replace("o'clock", ""))


def recall(said, understood):
    """How many of the words that were to be said were understood."""
    left = words(understood)
    found = [word for word in words(said) if word in left and not left.remove(word)]
    return len(found) / len(words(said))


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_recogniser_reads_what_was_said(voiced, sentence):
    data = base64.b64decode(spoken(voiced, sentence).choices[0].message.audio.data)
    understood = heard(voiced, sound_part(data)).choices[0].message.content
    assert recall(sentence, understood) >= 0.8, understood


def test_speech_is_counted_twenty_tokens_a_second_and_sound_ten(voiced, question):
    usage = spoken(voiced, "Good morning.", "pcm16").usage
    answer = spoken(voiced, "Good morning.", "pcm16")
    seconds = len(base64.b64decode(answer.choices[0].message.audio.data)) / 48_000
    assert usage.completion_tokens_details.audio_tokens == pytest.approx(seconds * 20, abs=1)
    assert usage.completion_tokens == usage.completion_tokens_details.audio_tokens + 2
    heard_samples, rate_hz = samples(question, "wav")
    told = heard(voiced, sound_part(question)).usage
    assert told.prompt_tokens_details.audio_tokens == pytest.approx(len(heard_samples) / rate_hz * 10, abs=1)
    assert told.prompt_tokens == told.prompt_tokens_details.audio_tokens + 7


def test_what_was_heard_stands_where_it_was_said(voiced, question):
    answer = heard(voiced, {"type": "text", "text": "He asks:"}, sound_part(question), {"type": "text", "text": "Hm?"})
    first, second, third = answer.choices[0].message.content.split("\n")
    assert (first, third) == ("He asks:", "Hm?")
    assert recall("What is the capital of France?", second) == 1.0


def test_the_default_model_answers_a_spoken_question_as_a_written_one_in_text_and_in_speech(voiced, question):
    """The recogniser hears the question to the letter, so the engine sees the very prompt that a typist would send."""
    asked = {"model": REAL, "temperature": 0, "seed": 1, "max_completion_tokens": 12}
    typed = heard(voiced, {"type": "text", "text": "What is the capital of France?"}, **asked)
    text = heard(voiced, sound_part(question), **asked)
    assert text.choices[0].message.content == typed.choices[0].message.content
    assert text.usage.prompt_tokens - text.usage.prompt_tokens_details.audio_tokens == typed.usage.prompt_tokens
    audio = {"voice": "nova", "format": "mp3"}
    speech = heard(voiced, sound_part(question), **asked, modalities=["text", "audio"], audio=audio)
    assert speech.choices[0].message.audio.transcript == typed.choices[0].message.content
    assert len(base64.b64decode(speech.choices[0].message.audio.data)) > 5_000


def deltas(stream):
    return [(chunk.choices[0].delta, chunk.choices[0].finish_reason) for chunk in stream if chunk.choices]


def test_a_stream_has_its_id_once_transcript_and_samples_then_when_it_expires_and_a_finish_reason(voiced):
    told = deltas(spoken(voiced, "One sentence. And another one.", "pcm16", stream=True))
    audio = [delta.audio for delta, _ in told if getattr(delta, "audio", None)]
    assert [one.id for one in audio if one.id] == [audio[0].id]
    assert "".join(one.transcript or "" for one in audio) == "One sentence. And another one."
    pcm = b"".join(base64.b64decode(one.data) for one in audio if one.data)
    assert pcm == base64.b64decode("".join(one.data for one in audio if one.data)), "base64 that cannot be joined"
    assert len(pcm) > 48_000
    assert [one.expires_at for one in audio if one.expires_at] == [audio[-1].expires_at]
    assert not any(delta.content for delta, _ in told)
    assert [reason for _, reason in told if reason] == ["stop"]


def test_a_sentence_is_said_while_the_next_one_is_still_being_written(voiced):
    text = "This is the first one. " + "And so it goes on " * 20
    told = deltas(spoken(voiced, text, "pcm16", model="test/slow", stream=True))
    audio = [delta.audio for delta, _ in told if getattr(delta, "audio", None)]
    first_sound = next(place for place, one in enumerate(audio) if one.data)
    last_word = max(place for place, one in enumerate(audio) if one.transcript)
    assert first_sound < last_word


def test_each_choice_speaks_for_itself(voiced):
    answer = spoken(voiced, "Twice.", n=2)
    ids = [choice.message.audio.id for choice in answer.choices]
    assert len(set(ids)) == 2
    assert len({choice.message.audio.data for choice in answer.choices}) == 1


def test_a_later_turn_may_name_a_spoken_answer_until_it_expires_and_only_its_own_account(voiced, tmp_path):
    key = spoken(voiced, "The password is swordfish.").choices[0].message.audio.id
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "audio": {"id": key}},
        {"role": "user", "content": "And what was it?"},
    ]
    # The scripted model reads back the last message; the real one shows that the words before it were there.
    answer = client(voiced).chat.completions.create(model=REAL, messages=turns, max_completion_tokens=1)
    without = client(voiced).chat.completions.create(
        model=REAL, messages=[turns[0], {"role": "assistant", "content": ""}, turns[2]], max_completion_tokens=1
    )
    assert answer.usage.prompt_tokens > without.usage.prompt_tokens
    for unknown in ("", "audio_0", key[:-1] + "7", f"audio_{'0' * 32}_0"):
        turns[1]["audio"]["id"] = unknown
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            client(voiced).chat.completions.create(model="test/echo", messages=turns)
        assert refused.value.body["detail"][0]["loc"] == ["body", "messages", 1, "audio", "id"]


def test_a_streamed_answer_that_no_voice_can_say_may_be_named_and_followed_as_it_was_told(voiced):
    stream = deltas(spoken(voiced, "\U0001f44d", "pcm16", stream=True))
    told = [delta.audio for delta, _ in stream if getattr(delta, "audio", None)]
    assert [one.transcript for one in told if one.transcript] == ["\U0001f44d"]
    assert not any(one.data for one in told)
    turns = [{"role": "assistant", "audio": {"id": told[0].id}}, {"role": "user", "content": "So?"}]
    assert client(voiced).chat.completions.create(model="test/echo", messages=turns)
    followed = voiced.get(f"/v1/predictions/{UUID(told[0].id[6:38])}/stream").text
    assert '"transcript":"' in followed


def test_an_unknown_voice_is_refused_with_the_names_of_those_there_are(voiced):
    with pytest.raises(openai.BadRequestError, match="shimmer") as refused:
        spoken(voiced, "Hi", voice="darth")
    assert refused.value.param == "audio.voice"


def test_a_voice_may_be_named_by_its_id(voiced):
    message = spoken(voiced, "Hello there.", voice={"id": "am_onyx"}).choices[0].message
    assert message.audio.transcript == "Hello there."


def test_a_server_without_speech_says_what_would_enable_it(stage):
    with pytest.raises(openai.BadRequestError, match="ANTIPHON_SPEECH=1") as refused:
        spoken(stage, "Hi")
    assert refused.value.param == "audio"
    with pytest.raises(openai.BadRequestError, match="ANTIPHON_SPEECH=1") as refused:
        heard(stage, sound_part(b"RIFF"))
    assert refused.value.param == "messages[0].content[0]"


def test_tool_calls_are_not_spoken(voiced):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    message = spoken(voiced, "x", model="test/calls", tools=tools).choices[0].message
    assert (message.audio, message.content) == (None, None)
    assert message.tool_calls[0].function.name == "f"


def test_thinking_is_not_spoken(voiced):
    thought = spoken(voiced, "x", "pcm16", model="test/thinks", reasoning_effort="low").choices[0].message
    plain = spoken(voiced, "Yes.", "pcm16").choices[0].message
    assert thought.audio.transcript.strip() == "Yes."
    assert abs(len(thought.audio.data) - len(plain.audio.data)) < 30_000, "the thought would last three seconds"


def test_silence_is_heard_as_nothing(voiced):
    out = io.BytesIO()
    soundfile.write(out, np.zeros(32_000, np.float32), 16_000, format="WAV")
    answer = heard(voiced, {"type": "text", "text": "a"}, sound_part(out.getvalue()), {"type": "text", "text": "b"})
    assert answer.choices[0].message.content == "a\nb"


def test_raw_samples_are_heard_as_they_are_spoken(voiced):
    pcm = base64.b64decode(spoken(voiced, "Good morning to you.", "pcm16").choices[0].message.audio.data)
    assert recall("Good morning to you.", heard(voiced, sound_part(pcm, "pcm16")).choices[0].message.content) >= 0.75


def test_a_model_that_hears_by_itself_is_given_the_sound(voiced, question):
    answer = heard(voiced, {"type": "text", "text": "a"}, sound_part(question), model="test/sees")
    assert re.fullmatch(r"a\[sound:[12]\.\d\ds:[0-9a-f]{8}\]", answer.choices[0].message.content)
    assert answer.usage.prompt_tokens_details.audio_tokens == 0


def test_a_sentence_that_is_broken_off_leaves_the_voice_loaded(voiced):
    spoken(voiced, "Hi.")
    before = _worker(voiced, "speech.worker").pid
    with pytest.raises(openai.APIStatusError):
        spoken(voiced, "This sentence takes a while to say. " * 20, extra_headers={"x-request-timeout-seconds": "1"})
    spoken(voiced, "Hi.")
    assert _worker(voiced, "speech.worker").pid == before


def test_when_the_client_leaves_its_speech_stops(voiced):
    body = {
        "model": "test/echo",
        "modalities": ["text", "audio"],
        "audio": {"voice": "alloy", "format": "pcm16"},
        "stream": True,
        "messages": [{"role": "user", "content": "This is a long sentence that goes on and on and on. " * 40}],
    }
    with socket.create_connection(("127.0.0.1", voiced.port)) as link:
        link.sendall(voiced.request_bytes(body))
        link.settimeout(30)
        seen = b""
        while b'"data"' not in seen:
            seen = seen[-10:] + link.recv(65536)
    begun = time.monotonic()
    spoken(voiced, "Hi.")
    # Forty sentences would take a minute and more.
    assert time.monotonic() - begun < 8
    record = until(lambda: next((r for r in reversed(voiced.records()) if r["status"] == "cancelled"), None))
    assert record["reason"] == "client_gone"


def test_a_spoken_answer_is_in_its_record_and_is_streamed_again_from_any_event(voiced):
    asked = {
        "modalities": ["text", "audio"],
        "audio": {"voice": "alloy", "format": "pcm16"},
        "messages": [{"role": "user", "content": "Hello again."}],
    }
    created = voiced.post(
        json.dumps({"model": "test/echo", "input": asked, "stream": True}), path="/v1/predictions"
    ).json()
    record = voiced.prediction(created["id"], wait_s=60)
    audio = record["output"]["choices"][0]["message"]["audio"]
    assert audio["transcript"] == "Hello again."
    lines = voiced.get(f"/v1/predictions/{created['id']}/stream").text
    told = [json.loads(line[6:]) for line in lines.splitlines() if line.startswith("data: ")]
    data = [c["choices"][0]["delta"].get("audio", {}).get("data") for c in told if c.get("choices")]
    assert "".join(filter(None, data)) == audio["data"]
    ids = [line[4:] for line in lines.splitlines() if line.startswith("id: ")]
    last = voiced.get(f"/v1/predictions/{created['id']}/stream?after_id={ids[-3]}").text
    assert '"data"' not in last.replace("data: ", "")
    assert '"finish_reason":"stop"' in last


def test_a_killed_voice_ends_what_it_was_saying_and_speaks_again(tmp_path, voiced):
    (tmp_path / "speech").symlink_to((voiced.home / "speech").resolve())
    config = voiced.home.joinpath("antiphon.toml").read_text().partition('[models."huggingfacetb')[0]
    with serving(tmp_path, config) as server:
        assert spoken(server, "Hi there.").choices[0].message.audio
        until(lambda: _kill(server, "speech.worker"))
        assert spoken(server, "Hi there.").choices[0].message.audio


def _worker(server, module):
    children = psutil.Process(server.process.pid).children(recursive=True)
    return next((one for one in children if any(module in part for part in one.cmdline())), None)


def _kill(server, module):
    if child := _worker(server, module):
        child.kill()
        child.wait(5)
    return child is not None


def test_of_a_long_speech_the_words_are_kept_and_the_key_of_it_is_not_answered_with_silence(tmp_path, voiced):
    (tmp_path / "speech").symlink_to((voiced.home / "speech").resolve())
    config = voiced.home.joinpath("antiphon.toml").read_text().partition('[models."huggingfacetb')[0]
    with serving(tmp_path, "[store]\nrecord_bytes = 20_000\n" + config) as server:
        headers = {"Idempotency-Key": "k"}
        message = spoken(server, "This is rather long to say.", extra_headers=headers).choices[0].message
        record = server.prediction(server.newest()["id"])
        kept = record["output"]["choices"][0]["message"]["audio"]
        assert (kept["transcript"], kept["data"]) == ("This is rather long to say.", "")
        turns = [{"role": "assistant", "audio": {"id": message.audio.id}}, {"role": "user", "content": "So?"}]
        assert client(server).chat.completions.create(model="test/echo", messages=turns)
        with pytest.raises(openai.APIStatusError, match="too large to be kept"):
            spoken(server, "This is rather long to say.", extra_headers=headers)


def test_a_created_prediction_may_be_spoken_in_any_format_and_followed(voiced):
    asked = {
        "modalities": ["text", "audio"],
        "audio": {"voice": "alloy", "format": "mp3"},
        "messages": [{"role": "user", "content": "Hello again."}],
    }
    body = json.dumps({"model": "test/echo", "input": asked, "stream": True})
    created = voiced.post(body, path="/v1/predictions").json()
    record = voiced.prediction(created["id"], wait_s=60)
    file = base64.b64decode(record["output"]["choices"][0]["message"]["audio"]["data"])
    assert len(samples(file, "mp3")[0]) > 12_000


def test_a_killed_server_leaves_no_voice_and_no_recogniser_behind(tmp_path, voiced, question):
    (tmp_path / "speech").symlink_to((voiced.home / "speech").resolve())
    config = voiced.home.joinpath("antiphon.toml").read_text().partition('[models."huggingfacetb')[0]
    with serving(tmp_path, config) as server:
        spoken(server, "Hi.")
        heard(server, sound_part(question))
        children = psutil.Process(server.process.pid).children(recursive=True)
        assert len(children) >= 3
        server.process.kill()
        _, alive = psutil.wait_procs(children, timeout=5)
        assert alive == []


def test_a_spoken_answer_cannot_be_named_once_it_has_expired_nor_by_another_account(tmp_path, voiced):
    (tmp_path / "speech").symlink_to((voiced.home / "speech").resolve())
    config = voiced.home.joinpath("antiphon.toml").read_text().partition('[models."huggingfacetb')[0]
    with serving(tmp_path, config) as server:
        key = spoken(server, "Swordfish.").choices[0].message.audio.id
        turns = [{"role": "assistant", "audio": {"id": key}}, {"role": "user", "content": "So?"}]
        assert client(server).chat.completions.create(model="test/echo", messages=turns)
        with pytest.raises(openai.UnprocessableEntityError, match="expired"):
            client(server, key_of(server, "other")).chat.completions.create(model="test/echo", messages=turns)
        with contextlib.closing(sqlite3.connect(tmp_path / "antiphon.db")) as database, database:
            database.execute("UPDATE predictions SET created_us = created_us - 3601 * 1000000")
        with pytest.raises(openai.UnprocessableEntityError, match="expired"):
            client(server).chat.completions.create(model="test/echo", messages=turns)
