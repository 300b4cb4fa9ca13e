"""OpenAI's own clients, unmodified, against the real model."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import KEY, REAL

HERE = Path(__file__).parent
OLD = Path(sys.prefix) / "openai-1"
"""Where the Makefile puts the oldest major version that is supported."""


def run(command, server, model=REAL, **environment):
    arguments = [f"{server.url}/v1", KEY, model]
    done = subprocess.run(
        [*command, *arguments], env=os.environ | environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("major", "path"), [("1", OLD), ("3", None)], ids=["1.x", "3.x"])
def test_openai_python_works_unmodified(door, major, path):
    said = run([sys.executable, HERE / "python_client.py"], door, PYTHONPATH=str(path or ""))
    assert said.startswith(f"passed {major}.")


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not needed to serve, and CI has it")
def test_openai_node_works_unmodified(door):
    assert "passed" in run(["node", HERE / "node_client.mjs"], door)
