"""Pictures in any positions, and sound, through the door: tiny models of random weights."""

import base64
import concurrent.futures
import hashlib
import io
import json
import wave

import numpy as np
import pytest

from antiphon.domain.media import HEARD_HZ
from tests.api.test_media import flac
from tests.conftest import serving, until
from tests.engines import tiny_model, tiny_sight
from tests.engines.test_sight import picture, text

SEEING, HEARING = "tiny/seeing", "tiny/hearing"
NOISE_HZ = 8000


def entry(name, weights, mmproj, **options):
    lines = "".join(f"{key} = {value}\n" for key, value in options.items())
    return f"""
[models."{name}"]
slots = 4
[[models."{name}".versions]]
number = 1
engine = "llamacpp"
weights = "file:{weights}"
sha256 = "{hashlib.sha256(weights.read_bytes()).hexdigest()}"
mmproj = "file:{mmproj}"
{lines}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory, weights):
    """One model whose batches are smaller than its pictures and fewer than its slots, and one that hears."""
    home = tmp_path_factory.mktemp("senses")
    model = tiny_model.write(home / "model.gguf", weights[0], kind="qwen2vl")
    sight = tiny_sight.write_gemma(home / "sight.gguf", width=tiny_model.WIDTH)
    hearing = tiny_sight.write_hearing(home / "hearing.gguf", width=tiny_model.WIDTH)
    small = entry(SEEING, model, sight, batch_tokens=8, context_tokens=512).replace("slots = 4", "slots = 12")
    config = small + entry(HEARING, model, hearing)
    with serving(home, config) as running:
        yield running


def noise(seed, seconds=1.0):
    """A recording of noise, as a content part."""
    samples = np.random.default_rng(seed).integers(0, 256, int(NOISE_HZ * seconds), np.uint8)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 1, NOISE_HZ, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(out.getvalue()).decode(), "format": "wav"}}


def ask(server, model, *parts, **fields):
    answer = server.chat(model, list(parts), **({"temperature": 0, "max_tokens": 1} | fields))
    assert answer.status_code == 200, answer.text
    return answer.json()


def logprobs(server, model, *parts):
    (choice,) = ask(server, model, *parts, logprobs=True, top_logprobs=20, seed=1)["choices"]
    return {one["token"]: one["logprob"] for one in choice["logprobs"]["content"][0]["top_logprobs"]}


def test_a_picture_larger_than_a_batch_is_seen(server):
    red = logprobs(server, SEEING, text("What?"), picture("red"))
    assert red != logprobs(server, SEEING, text("What?"), picture("blue"))
    assert red == logprobs(server, SEEING, text("What?"), picture("red"))
    alone, seen = (ask(server, SEEING, text("a"), *more)["usage"]["prompt_tokens"] for more in ((), (picture("red"),)))
    assert seen - alone >= tiny_sight.GEMMA_PLACES


def test_words_are_read_and_written_beside_pictures_larger_than_a_batch(server):
    def one(number):
        parts = [picture((number * 20, 0, 0)), text(f"Picture {number}.")] if number % 2 else [text(f"Words {number}.")]
        return ask(server, SEEING, *parts, max_tokens=12, logit_bias={"2": -100})["usage"]["completion_tokens"]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(8))) == [12] * 8


def test_sound_is_heard_as_sound(server):
    """Nobody transcribes here: speech is not enabled."""
    one = logprobs(server, HEARING, text("What?"), noise(1))
    assert one != logprobs(server, HEARING, text("What?"), noise(2))
    assert one != logprobs(server, HEARING, text("What?"))
    assert one == logprobs(server, HEARING, text("What?"), noise(1))


def test_the_places_of_sounds_are_audio_tokens(server):
    alone = ask(server, HEARING, text("What?"))["usage"]
    heard = ask(server, HEARING, text("What?"), noise(3), noise(4))["usage"]
    assert alone["prompt_tokens_details"]["audio_tokens"] == 0
    assert heard["prompt_tokens_details"]["audio_tokens"] == 2 * tiny_sight.SOUND_PLACES
    assert heard["prompt_tokens"] == alone["prompt_tokens"] + 2 * tiny_sight.SOUND_PLACES


def test_sound_is_refused_by_a_model_that_only_sees_and_pictures_by_one_that_only_hears(server):
    for model, part, name in ((SEEING, noise(5), "input_audio"), (HEARING, picture("red"), "image_url")):
        answer = server.chat(model, [part])
        assert answer.status_code == 400
        assert f"'{name}' is not supported" in answer.json()["error"]["message"]


def test_words_never_wait_behind_what_is_being_heard(server):
    """Ten minutes of sound take the encoder a second."""
    body = {"model": HEARING, "messages": [{"role": "user", "content": [noise(6, 590)]}], "max_tokens": 1}

    def is_encoding():
        return server.get(f"/v1/predictions/{name}").json()["status"] == "starting"

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        heard = pool.submit(server.post, json.dumps(body))
        name = until(lambda: server.newest()["status"] == "starting" and server.newest()["id"], 20)
        told = 0
        while is_encoding():
            ask(server, HEARING, text("Quick."), max_tokens=2)
            told += is_encoding()
        usage = heard.result().json()["usage"]
    assert usage["prompt_tokens_details"]["audio_tokens"] == 20 * tiny_sight.SOUND_PLACES
    assert told > 2


def test_sounds_that_are_too_large_together_are_refused_and_the_engine_goes_on(server):
    """Each is short enough; the three are 144 MB of samples."""
    silence = flac(np.zeros(HEARD_HZ * 1500 - HEARD_HZ, np.int16))
    part = {"type": "input_audio", "input_audio": {"data": base64.b64encode(silence).decode(), "format": "flac"}}
    answer = server.chat(HEARING, [part] * 3)
    assert answer.status_code == 413, answer.text
    assert "too large together" in answer.json()["error"]["message"]
    assert ask(server, HEARING, text("Still there?"))
