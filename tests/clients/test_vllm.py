"""A real vLLM by way of Antiphon: what it does otherwise is not seen, by OpenAI's own client or in a stream."""

import json
import sys

import pytest

from tests.clients.test_openai import HERE, run
from tests.conftest import REAL, serving
from tests.real_vllm import MODEL, needs_vllm

pytestmark = needs_vllm


@pytest.fixture(scope="module")
def front(tmp_path_factory, vllm):
    config = f"""
[models."{REAL}"]
slots = 8
[[models."{REAL}".versions]]
number = 1
engine = "upstream"
base_url = "{vllm}/v1"
model = "{MODEL}"
"""
    with serving(tmp_path_factory.mktemp("front"), config) as server:
        yield server


@pytest.mark.parametrize("program", ["python_client.py", "tools_client.py", "structured_client.py"])
def test_openai_python_works_unmodified_on_vllm(front, program):
    assert run([sys.executable, HERE / program], front).startswith("passed")


@pytest.mark.parametrize("stop", [None, "xyzzy plugh", " to my"])
def test_log_probabilities_are_the_texts_where_stop_strings_hold_it_back(front, stop):
    ask = {"text": "Say hello.", "temperature": 0, "max_tokens": 60, "logprobs": True, "stop": stop}
    whole = front.chat(REAL, **ask).json()["choices"][0]
    lines = front.chat(REAL, stream=True, **ask).text.splitlines()
    chunks = [json.loads(line.removeprefix("data: "))["choices"][0] for line in lines if line.startswith("data: {")]
    entries = [entry for chunk in chunks for entry in (chunk["logprobs"] or {"content": []})["content"]]
    content = "".join(chunk["delta"].get("content") or "" for chunk in chunks)
    assert content == "".join(entry["token"] for entry in entries)
    assert whole["message"]["content"] == "".join(entry["token"] for entry in whole["logprobs"]["content"])
    assert (content, whole["finish_reason"]) == (whole["message"]["content"], "stop")
