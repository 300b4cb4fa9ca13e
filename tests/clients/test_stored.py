"""Stored completions through OpenAI's own clients, unmodified: on a scripted engine, and on the real model."""

import shutil
import sys

import pytest

from tests.clients.test_openai import HERE, OLD, run
from tests.conftest import REAL

MAJORS = pytest.mark.parametrize(("major", "path"), [("1", OLD), ("3", None)], ids=["1.x", "3.x"])
NODE = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not needed to serve, and CI has it")
SCRIPTED = "test/echo"


def python(server, path, model):
    return run([sys.executable, HERE / "stored_client.py"], server, model, PYTHONPATH=str(path or ""))


@MAJORS
def test_openai_python_lists_reads_changes_and_deletes_what_was_stored(stage, major, path):
    assert python(stage, path, SCRIPTED).startswith(f"passed {major}.")


@NODE
def test_openai_node_lists_reads_changes_and_deletes_what_was_stored(stage):
    assert "passed" in run(["node", HERE / "node_stored.mjs"], stage, SCRIPTED)


@MAJORS
def test_openai_python_reads_again_what_the_real_model_said_and_called(house, major, path):
    assert python(house, path, REAL).startswith(f"passed {major}.")


@NODE
def test_openai_node_reads_again_what_the_real_model_said(house):
    assert "passed" in run(["node", HERE / "node_stored.mjs"], house)
