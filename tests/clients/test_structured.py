"""Structured outputs and tools through unmodified clients, against the real model."""

import shutil
import sys

import pytest

from tests.clients.test_openai import HERE, OLD, run
from tests.conftest import serving

CALLS = r"""
[[models."test/calls".versions]]
number = 1
engine = "scripted"
script = { tokens = ["<tool_call>\n{\"name\": \"now\", ", "\"arguments\": {}}\n</tool_call>"] }
"""


@pytest.mark.parametrize(("major", "path"), [("1", OLD), ("3", None)], ids=["1.x", "3.x"])
@pytest.mark.parametrize("program", ["structured_client.py", "tools_client.py"])
def test_openai_pythons_helpers_parse_what_the_server_answers(door, program, major, path):
    said = run([sys.executable, HERE / program], door, PYTHONPATH=str(path or ""))
    assert said.startswith(f"passed {major}.")


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not needed to serve, and CI has it")
def test_openai_nodes_helpers_parse_answers_and_run_tools(door, tmp_path):
    with serving(tmp_path, CALLS) as caller:
        assert "passed" in run(["node", HERE / "node_structured.mjs", f"{caller.url}/v1"], door)
