"""Frameworks and a command line of other people, unmodified, against the real model."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.test_openai import HERE, run
from tests.conftest import KEY, REAL, serving

pytestmark = pytest.mark.long

FRAMEWORKS, LLAMA_INDEX = Path(sys.prefix) / "frameworks", Path(sys.prefix) / "llama-index"
"""Where the Makefile puts them. LlamaIndex wants an openai package before 3, and has a place of its own."""

PARROT = """
[[models."test/parrot".versions]]
number = 1
engine = "scripted"
script = { echo = true }
"""
"""It calls the tool that it is told to call, and then says what the tool gave."""

CALL = '<tool_call> {"name": "now", "arguments": {}} </tool_call>'


@pytest.fixture(scope="module")
def parrot(tmp_path_factory):
    """Antiphon in front of an Antiphon with the parrot."""
    with serving(tmp_path_factory.mktemp("parrot"), PARROT) as server:
        version = (
            f'number = 1\nengine = "upstream"\nkind = "antiphon"\nmodel = "test/parrot"\nbase_url = "{server.url}/v1"'
        )
        config = (
            f'[[models."test/parrot".versions]]\n{version}\nheaders = {{ authorization = "Bearer {server.key}" }}\n'
        )
        with serving(tmp_path_factory.mktemp("before"), config) as front:
            yield front


@pytest.mark.parametrize("framework", ["instructor", "pydantic_ai", "langchain"])
def test_a_framework_gets_its_classes_filled_in(door, framework):
    program = [sys.executable, HERE / "frameworks_client.py", framework]
    assert run(program, door, PYTHONPATH=str(FRAMEWORKS)).startswith(f"passed {framework}")


def test_llama_index_works_unmodified(door, parrot):
    program = [sys.executable, HERE / "llama_index_client.py", f"{parrot.url}/v1"]
    assert run(program, door, PYTHONPATH=str(LLAMA_INDEX)).startswith("passed")


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not needed to serve, and CI has it")
def test_the_vercel_ai_sdk_works_unmodified(door, parrot):
    assert "passed" in run(["node", HERE / "ai_sdk_client.mjs", f"{parrot.url}/v1"], door)


@pytest.fixture
def llm(door, parrot, tmp_path):
    """What runs the command `llm`, whose models are in the file where its users name them."""
    served = {"here": (door, REAL), "parrot": (parrot, "test/parrot"), "none": (door, "a/b")}
    models = [
        {"model_id": name, "model_name": model, "api_base": f"{server.url}/v1", "api_key_name": "antiphon"}
        | {"supports_schema": True, "supports_tools": True}
        for name, (server, model) in served.items()
    ]
    # JSON is YAML.
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps(models))
    paths = {"LLM_USER_PATH": str(tmp_path), "PYTHONPATH": str(FRAMEWORKS)}

    def command(*arguments, given=""):
        return subprocess.run(
            [sys.executable, "-m", "llm", *arguments],
            env=os.environ | paths,
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert command("keys", "set", "antiphon", given=f"{KEY}\n").returncode == 0
    return command


def said(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_llm_answers_streams_and_goes_on_with_a_conversation(llm):
    options = ["-m", "here", "-o", "temperature", "0", "-o", "max_tokens", "60"]
    whole = said(llm("Say hello.", *options, "--no-stream"))
    assert whole.strip()
    assert said(llm("Say hello.", *options)) == whole
    assert said(llm("Again.", *options, "--continue")).strip()
    first, second, third = json.loads(said(llm("logs", "--json")))
    assert first["response"] == second["response"] == whole.removesuffix("\n")
    assert (first["input_tokens"], first["output_tokens"]) == (second["input_tokens"], second["output_tokens"])
    assert third["conversation_id"] == second["conversation_id"]


def test_the_command_llm_fills_a_schema_in(llm):
    made = json.loads(said(llm("Ann is a pilot.", "-m", "here", "--schema", "name, age int", "-o", "temperature", "0")))
    # It does not ask for a strict schema, and this one does not forbid more.
    assert (type(made["name"]), type(made["age"])) == (str, int)


def test_the_command_llm_runs_a_function_that_the_model_calls(llm):
    functions = ["--functions", "def now():\n    'Say what the time is.'\n    return 'noon'"]
    for streaming in ([], ["--no-stream"]):
        done = llm(CALL, "-m", "parrot", *functions, "--tools-debug", *streaming)
        assert said(done).strip() == "noon"
        assert "now({})" in done.stderr


def test_the_command_llm_says_what_is_wrong_with_a_request(llm):
    for streaming in ([], ["--no-stream"]):
        done = llm("Say hello.", "-m", "here", "-o", "max_tokens", "0", *streaming)
        assert done.returncode == 1
        assert "max_tokens" in done.stderr
        assert "Traceback" not in done.stderr
    assert "a/b" in llm("Say hello.", "-m", "none").stderr
