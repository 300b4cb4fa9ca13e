"""Answers spoken, and questions heard, by another server that the configuration names."""

import base64
import io
import json
import time
import wave

import pytest

from tests.api.test_crew import failed_start
from tests.conftest import serving, until
from tests.crews import CONFIG
from tests.mock_upstream import CLOSE, HOLD, RESET, MockUpstream, plain

KEY = "sk-speech-secret-0123456789"


@pytest.fixture(scope="module")
def speech_server():
    server = MockUpstream()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _usual(speech_server):
    speech_server.asked.clear()
    speech_server.cue = usual


def usual(asked):
    """A tenth of a second of samples for each letter; always the same words."""
    if asked.path.endswith("/audio/speech"):
        return plain(b"\1\2" * 2400 * len(asked.body["input"]), kind="audio/pcm")
    return plain({"text": " What is it? "})


@pytest.fixture(scope="module")
def front(tmp_path_factory, speech_server):
    part = f'base_url = "{speech_server.url}"\napi_key_env = "SPEECH_KEY"\ntimeout_s = 3.0\n'
    config = f"""
[speech.voice]
{part}model = "tts"
voices = ["their-own"]
[speech.recogniser]
{part}model = "stt"
[models."test/echo"]
[[models."test/echo".versions]]
number = 1
engine = "scripted"
script = {{ echo = true }}
"""
    with serving(tmp_path_factory.mktemp("front"), config, SPEECH_KEY=KEY) as server:
        yield server


def spoken(server, text="Well. Good night.", voice="their-own", **fields):
    audio = {"voice": voice, "format": "pcm16"}
    return server.chat("test/echo", text, modalities=["text", "audio"], audio=audio, **fields)


def wav():
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\1\0" * 16_000)
    return base64.b64encode(out.getvalue()).decode()


def heard(server, **options):
    parts = [{"type": "input_audio", "input_audio": {"data": wav(), "format": "wav"}}]
    body = {"model": "test/echo", "messages": [{"role": "user", "content": parts}]}
    return server.post(json.dumps(body), **options)


def test_each_sentence_is_said_by_the_other_server(front, speech_server):
    message = spoken(front).json()["choices"][0]["message"]
    assert message["audio"]["transcript"] == "Well. Good night."
    said = [asked.body["input"].strip() for asked in speech_server.asked]
    assert said == ["Well.", "Good night."]
    data = base64.b64decode(message["audio"]["data"])
    assert len(data) == 4800 * sum(len(asked.body["input"]) for asked in speech_server.asked)
    assert {asked.body["voice"] for asked in speech_server.asked} == {"their-own"}
    assert {(asked.body["model"], asked.body["response_format"]) for asked in speech_server.asked} == {("tts", "pcm")}
    assert speech_server.asked[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_voice_that_it_has_not_is_refused_with_those_it_has(front, speech_server):
    answer = spoken(front, voice="alloy")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "audio.voice"
    assert "their-own" in answer.json()["error"]["message"]
    assert speech_server.asked == []


def test_wav_in_place_of_samples_is_read_as_well(front, speech_server):
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(b"\1\2" * 2400)
    speech_server.play(*plain(out.getvalue(), kind="audio/wav"))
    message = spoken(front, "Well.").json()["choices"][0]["message"]
    assert base64.b64decode(message["audio"]["data"]) == b"\1\2" * 2400


def test_a_recording_is_put_into_words_by_the_other_server(front, speech_server):
    answer = heard(front).json()
    assert answer["choices"][0]["message"]["content"] == "What is it?"
    assert answer["usage"]["prompt_tokens_details"]["audio_tokens"] == 10
    (asked,) = speech_server.asked
    assert asked.path.endswith("/audio/transcriptions")
    assert asked.headers["content-type"].startswith("multipart/form-data")
    sent = asked.raw[asked.raw.index(b"RIFF") :]
    with wave.open(io.BytesIO(sent)) as file:
        assert (file.getframerate(), file.getnchannels()) == (16_000, 1)
    assert b"stt" in asked.raw


@pytest.mark.parametrize(
    "steps",
    [
        [RESET],
        [CLOSE],
        plain({"error": KEY}, 401),
        plain(b"", 200),
        plain(b"RIFF....WAVE", 200),
        plain(b"ID3\4" + bytes(99), 200, "audio/mpeg"),
        plain({"error": KEY}, 200),
        plain(b'{"also": ' + b"[" * 100_000, 200),
        plain({}, 302, location="http://127.0.0.1:9/"),
        [HOLD],
    ],
    ids=["reset", "closed", "401", "empty", "damaged", "mp3", "error", "deep", "redirect", "silent"],
)
@pytest.mark.parametrize("ask", [spoken, heard])
def test_a_speech_server_that_fails_is_a_failed_engine_and_tells_nothing(front, speech_server, steps, ask):
    speech_server.play(*steps)
    answer = ask(front)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_failed")
    assert KEY not in answer.text
    assert f":{speech_server.port}" not in answer.text


@pytest.mark.parametrize("ask", [spoken, heard])
def test_a_cancelled_prediction_closes_the_connection_to_it(front, speech_server, ask):
    speech_server.play(HOLD)
    begun = time.monotonic()
    assert ask(front, headers={"x-request-timeout-seconds": "0.5"}).status_code == 504
    until(lambda: speech_server.asked[0].was_left)
    assert time.monotonic() - begun < 2


def test_a_key_that_is_not_there_is_told_in_one_line(tmp_path):
    voice = '[speech.voice]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\nvoices = ["a"]\napi_key_env = "NO_KEY"\n'
    assert "NO_KEY" in failed_start(tmp_path, voice + CONFIG.replace("workers = 2", ""))
