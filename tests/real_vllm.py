"""A real vLLM, on the processor and on the default model's weights, for whoever has installed it."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

PYTHON = Path(sys.prefix) / "vllm" / "bin" / "python"
"""Where the Makefile puts it: an environment of its own."""
MODEL = "any"
START_S = 300
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB, for what was read
    "PYTHONSAFEPATH": "1",  # `gguf` is a module of the tests, too
}

needs_vllm = [
    pytest.mark.long,
    pytest.mark.timeout(START_S + 120),
    pytest.mark.skipif(not PYTHON.exists(), reason="vLLM takes 2.5 GB: `make .venv/.installed-vllm` installs it"),
]
"""What every test that asks for it is marked with; its start counts as a part of the first."""


@contextlib.contextmanager
def vllm_server(weights: Path, home: Path):
    """Run it for the body, which gets its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [PYTHON, Path(__file__).with_name("vllm_server.py"), weights, home / "weights", str(port), MODEL]
    with (home / "vllm.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_S
        while not _answers(process, url, home):
            assert time.monotonic() < deadline, "vLLM does not start"
            time.sleep(0.2)
        yield url
    finally:
        # It has processes of its own, which are of its session.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def running_requests(url: str) -> float:
    """How many requests it runs or has in its queue."""
    said = httpx.get(f"{url}/metrics").text
    counts = re.findall(r"^vllm:num_requests_(?:running|waiting)\{.*\} (\S+)$", said, re.MULTILINE)
    assert len(counts) == 2
    return sum(map(float, counts))


def _answers(process, url, home):
    assert process.poll() is None, (home / "vllm.log").read_text()[-4000:]
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/health").is_success
    return False
