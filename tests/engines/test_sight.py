"""Pictures on the real engine: the default model, with a projector of random weights that tells every two apart."""

import base64
import concurrent.futures
import io
import json
import subprocess
import sys

import pytest
from PIL import Image

from antiphon.engines.llamacpp.binding import library_path, load
from antiphon.engines.llamacpp.model import Weights
from antiphon.engines.llamacpp.mtmd import Projector
from antiphon.engines.llamacpp.preparing import Preparer
from antiphon.engines.llamacpp.protocol import Picture, Turn
from antiphon.engines.llamacpp.senses import Senses
from antiphon.engines.llamacpp.template import ChatTemplate
from antiphon.engines.llamacpp.tokens import Prompter
from tests.conftest import REAL, environment, real_config, serving
from tests.engines.test_marks import start
from tests.engines.test_template import SMOLVLM
from tests.engines.tiny_sight import PLACES, write

CONTEXT = 2048


def picture(colour, size=(40, 30)):
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def text(words):
    return {"type": "text", "text": words}


@pytest.fixture(scope="session")
def seeing(tmp_path_factory, weights):
    """A server with the real model, which sees."""
    home = tmp_path_factory.mktemp("seeing")
    mmproj = write(home / "mmproj.gguf")
    with serving(home, real_config(weights, mmproj=f'"file:{mmproj}"', context_tokens=CONTEXT)) as server:
        yield server


def ask(server, *parts, **fields):
    answer = server.chat(REAL, list(parts), **({"temperature": 0, "max_tokens": 1, "seed": 1} | fields))
    assert answer.status_code == 200, answer.text
    return answer.json()


def logits(server, *parts):
    """The likeliest first tokens of the answer, with their log-probabilities."""
    (choice,) = ask(server, *parts, logprobs=True, top_logprobs=20)["choices"]
    return [(one["token"], one["logprob"]) for one in choice["logprobs"]["content"][0]["top_logprobs"]]


def prompt_tokens(server, *parts):
    return ask(server, *parts)["usage"]["prompt_tokens"]


def test_a_picture_changes_what_the_model_would_say_and_the_same_one_does_not(seeing):
    red = logits(seeing, text("What is it?"), picture("red"))
    assert red != logits(seeing, text("What is it?"), picture("blue"))
    assert red != logits(seeing, text("What is it?"))
    assert red == logits(seeing, text("What is it?"), picture("red"))


def test_a_picture_is_counted_in_the_prompt(seeing):
    alone = prompt_tokens(seeing, text("a"))
    assert prompt_tokens(seeing, text("a"), picture("red")) == alone + PLACES
    assert prompt_tokens(seeing, text("a"), picture("red"), picture("blue")) == alone + 2 * PLACES


def test_the_order_of_pictures_and_words_is_kept(seeing):
    red, blue = picture("red"), picture("blue")
    first = logits(seeing, red, text("and"), blue, text("differ?"))
    assert first != logits(seeing, blue, text("and"), red, text("differ?"))
    assert first != logits(seeing, red, blue, text("and\ndiffer?"))


def test_a_picture_that_was_read_before_is_not_read_again_and_another_one_is(seeing):
    parts = (text("Look closely at this very picture:"), picture("green", (64, 64)), text("What do you see?"))
    ask(seeing, *parts, seed=None)
    again = ask(seeing, *parts, seed=None)["usage"]
    assert again["prompt_tokens_details"]["cached_tokens"] == again["prompt_tokens"] - 1
    other = ask(seeing, parts[0], picture("purple", (64, 64)), parts[2], seed=None)["usage"]
    behind = prompt_tokens(seeing, text("What do you see?")) - prompt_tokens(seeing, text(""))
    assert 0 < other["prompt_tokens_details"]["cached_tokens"] < other["prompt_tokens"] - PLACES - behind + 1


def test_an_earlier_turn_may_have_a_picture(seeing):
    turns = [
        {"role": "user", "content": [picture("red"), text("What is it?")]},
        {"role": "assistant", "content": "A colour."},
        {"role": "user", "content": "Which?"},
    ]
    body = {"model": REAL, "messages": turns, "max_tokens": 8, "temperature": 0}
    answer = seeing.post(json.dumps(body))
    assert answer.status_code == 200, answer.text
    turns[0]["content"] = "What is it?"
    without = seeing.post(json.dumps(body)).json()
    assert answer.json()["usage"]["prompt_tokens"] == without["usage"]["prompt_tokens"] + PLACES


def test_all_choices_see_the_same_picture(seeing):
    answer = ask(seeing, text("What is it?"), picture("red"), n=3, max_tokens=6, seed=None)
    assert len({choice["message"]["content"] for choice in answer["choices"]}) == 1


def test_words_that_look_like_a_mark_for_a_picture_are_words(seeing):
    plain = prompt_tokens(seeing, text("a"))
    for mark in ("<__media__>", "<__image__>", "<image>", "\ue0000\ue001"):
        assert prompt_tokens(seeing, text(f"a{mark}")) > plain


def test_a_picture_is_streamed_about_and_may_be_called_about(seeing):
    tools = [{"type": "function", "function": {"name": "paint", "parameters": {"type": "object"}}}]
    answer = ask(seeing, picture("red"), text("Paint."), tools=tools, tool_choice="required", max_tokens=60)
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "paint"
    told = seeing.chat(REAL, [picture("red"), text("What is it?")], stream=True, max_tokens=5)
    assert told.text.endswith("data: [DONE]\n\n")


def test_words_are_read_and_written_beside_pictures(seeing):
    def one(number):
        parts = [picture((number * 20, 0, 0)), text(f"Picture {number}.")] if number % 2 else [text(f"Words {number}.")]
        return ask(seeing, *parts, max_tokens=20, seed=None)["usage"]["completion_tokens"]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(12)))


def test_pictures_beyond_the_context_are_refused(seeing):
    answer = seeing.chat(REAL, [text("word " * (CONTEXT - 40)), *[picture("red")] * 16])
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def refused(home):
    """What a server says that does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "antiphon.cli", "serve"],
        env=environment(home, ANTIPHON_CONFIG=str(home / "antiphon.toml"), ANTIPHON_API_KEY="k"),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize("fault", ["another width", "no projector"])
def test_a_projector_that_does_not_fit_is_refused_in_one_line_at_the_start(tmp_path, weights, fault):
    mmproj = tmp_path / "mmproj.gguf"
    if fault == "another width":
        write(mmproj, width=100)
    else:
        mmproj.write_bytes(b"GGUF" + bytes(100))
    (tmp_path / "antiphon.toml").write_text(real_config(weights, mmproj=f'"file:{mmproj}"'))
    assert "the mmproj is damaged, of an unknown kind, or goes with another model" in refused(tmp_path)


def test_a_prompt_that_ends_with_a_picture_has_words_behind_it(tmp_path, weights):
    """Some templates write nothing behind the last message; the last token's logits are wanted."""
    library = load(library_path(), lambda level, line: None)
    model = Weights(library, weights[0])
    path = write(tmp_path / "mmproj.gguf")
    senses = Senses(Projector(library, model.handle, path, 1, lambda level, line: None))
    template = ChatTemplate("{{ messages[0]['content'] }}", bos="", eos="")
    picture = Picture(4, 8, 8, bytes(8 * 8 * 3))
    request = start(Turn("user", "See:", media=(picture,)), tools="")
    prompt = Preparer(model.vocabulary, template, 1000).prepare(None, request, [[senses.take(picture)]]).prompt
    assert [token < 0 for token in prompt[-PLACES - 1 :]] == [True] * PLACES + [False]


def test_another_projector_is_another_version(tmp_path, weights):
    config = real_config(weights, mmproj=f'"file:{write(tmp_path / "one.gguf")}"')
    with serving(tmp_path, config) as server:
        assert server.stop() == 0
    other = write(tmp_path / "other.gguf", seed=1)
    (tmp_path / "antiphon.toml").write_text(config.replace("one.gguf", other.name))
    assert "immutable" in refused(tmp_path)


def test_a_template_that_reads_parts_only_is_given_words_and_pictures_in_their_places(weights):
    library = load(library_path(), lambda level, line: None)
    vocabulary = Weights(library, weights[0]).vocabulary
    prompter = Prompter(vocabulary, ChatTemplate(SMOLVLM, bos="", eos=""), 1000)
    turns = [
        Turn("user", "Look:here", media=(Picture(5, 8, 8, bytes(192)),)),
        Turn("assistant", "", calls=(("c", "paint", "{}"),)),
        Turn("tool", "done", call_id="c"),
    ]
    prompt = prompter.prompt(turns, media=[[[-1, -2]], [], []])
    said = [vocabulary.text(token) if token >= 0 else token for token in prompt]
    at = said.index(-1)
    assert said[at + 1] == -2
    assert "".join(said[:at]) == "<|im_start|>User: Look:"
    behind = "".join(said[at + 2 :])
    assert behind.startswith("here<end_of_utterance>\nAssistant: <tool_call>\n")
    assert behind.endswith("Tool: done<end_of_utterance>\nAssistant:")
