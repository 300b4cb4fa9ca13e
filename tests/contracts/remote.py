"""Real servers to put the engine `upstream` in front of: each gives the engine, and what counts its requests there."""

import contextlib
import subprocess
import sys
from pathlib import Path

import anyio
import httpx

from antiphon.engines.upstream.engine import UpstreamEngine
from antiphon.engines.upstream.options import read_options
from antiphon.settings import UpstreamVersion
from tests.conftest import REAL, real_config, serving
from tests.real_vllm import MODEL, running_requests

HERE = Path(__file__).parent


def upstream(url, kind, model, key=None):
    options = {"base_url": url, "kind": kind, "model": model, "engine": "upstream", "number": 1}
    if key:
        options["headers"] = {"authorization": f"Bearer {key}"}
    return UpstreamEngine(read_options("a/b:1", UpstreamVersion(**options).options, {}))


async def settled(count):
    """What runs on another server once it has had the time to hear that a connection is closed."""
    with anyio.move_on_after(5):
        while await anyio.to_thread.run_sync(count):
            await anyio.sleep(0.02)
    return await anyio.to_thread.run_sync(count)


@contextlib.contextmanager
def in_front_of_antiphon(request, home):
    """Antiphon, as a client of Antiphon."""
    config = real_config(request.getfixturevalue("weights"), context_tokens=512, threads=1).replace(
        "queue = 2", "queue = 64"
    )
    with serving(home, config) as server:

        async def running(_):
            return await settled(lambda: server.engine_state().requests)

        yield upstream(f"{server.url}/v1", "antiphon", REAL, server.key), running


@contextlib.contextmanager
def in_front_of_llama_server(request, home):
    """llama.cpp's own server core, on its own HTTP."""
    command = [
        sys.executable,
        str(HERE.parents[1] / "bench" / "baseline.py"),
        str(request.getfixturevalue("weights")[0]),
    ]
    process = subprocess.Popen([*command, "1", "1", "4", "2048"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        url = process.stdout.readline().decode().strip()

        async def running(_):
            return await settled(lambda: sum(slot["is_processing"] for slot in httpx.get(f"{url}/slots").json()))

        yield upstream(f"{url}/v1", "llama-server", "any"), running
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def in_front_of_vllm(request, home):
    """vLLM on the processor."""
    url = request.getfixturevalue("vllm")

    async def running(_):
        return await settled(lambda: running_requests(url))

    yield upstream(f"{url}/v1", "vllm", MODEL), running


REMOTE = {"antiphon": in_front_of_antiphon, "llama-server": in_front_of_llama_server, "vllm": in_front_of_vllm}
