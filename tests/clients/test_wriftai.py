"""The platform's own client, unmodified: on scripted engines, and on the real model."""

import os
import subprocess
import sys

from tests.clients.test_openai import HERE
from tests.conftest import REAL, SCRIPTED, real_config, serving

HOOKS = "[webhooks]\nallow_private = true\n"
ONLY = """
[models."test/only"]
slots = 8
[[models."test/only".versions]]
number = 1
engine = "scripted"
"""


def run(server, *models):
    environment = {"WRIFTAI_API_BASE_URL": f"{server.url}/v1", "WRIFTAI_ACCESS_TOKEN": server.key}
    done = subprocess.run(
        [sys.executable, HERE / "wriftai_client.py", *models],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "passed\n"
    return server.log.read_text()


def test_wriftai_works_unmodified(tmp_path):
    with serving(tmp_path, HOOKS + SCRIPTED + ONLY) as server:
        log = run(server, "test/only", "test/slow", "test/dies", "test/never")
    assert '"level":"error"' not in log


def test_wriftai_works_unmodified_on_the_real_model(tmp_path, weights):
    config = HOOKS + SCRIPTED + real_config(weights)
    with serving(tmp_path, config) as server:
        log = run(server, REAL, REAL, "test/dies", "test/never")
    assert '"level":"error"' not in log
