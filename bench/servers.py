"""The servers that are measured, started for it and stopped after."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from antiphon.settings import DEFAULT_MODEL, read_settings
from antiphon.supplies.download import shown_progress
from antiphon.supplies.weights import Source, obtain
from bench.client import Target

CONTEXT = 8192
SLOTS = 8
KEY = "sk-bench"


class Threads(NamedTuple):
    """How many threads compute a step of one token, and a larger one."""

    one: int
    batch: int


def weights() -> tuple[Path, str]:
    """Give the default model's file and its sha256."""
    settings = read_settings()
    version = settings.models[DEFAULT_MODEL].versions[0]
    with shown_progress() as progress:
        return obtain(Source(version.weights or "", version.sha256), settings.home, progress), version.sha256 or ""


@contextlib.contextmanager
def _process(
    command: list[str], marker: str, environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.PIPE, text=True
    )
    try:
        said = ""
        while not re.search(marker, said):
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{command} ended")
            said += line
        yield process, re.search(marker, said).group(1)
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def antiphon(threads: Threads, **options: str) -> Iterator[tuple[Target, int]]:
    """Run Antiphon on the default model; give where it is, and the server's process id."""
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    with tempfile.TemporaryDirectory() as home, _antiphon(home, real_model(threads, lines)) as (process, url):
        yield Target("Antiphon", url, DEFAULT_MODEL, KEY), process.pid


@contextlib.contextmanager
def speaking(threads: Threads, home: str) -> Iterator[tuple[Target, Target]]:
    """Run Antiphon with speech; give where its scripted model is, which is an echo, and where the default one is."""
    echo = '[models."test/echo"]\n[[models."test/echo".versions]]\nnumber = 1\nengine = "scripted"\n'
    config = f"[speech]\nenabled = true\n{echo}script = {{ echo = true }}\n{real_model(threads, '')}"
    with _antiphon(home, config) as (_, url):
        yield Target("echo", url, "test/echo", KEY), Target("Antiphon", url, DEFAULT_MODEL, KEY)


def real_model(threads: Threads, lines: str) -> str:
    """Give the configuration of the default model."""
    path, sha256 = weights()
    return (
        f'[models."{DEFAULT_MODEL}"]\nslots = {SLOTS}\n[[models."{DEFAULT_MODEL}".versions]]\nnumber = 1\n'
        f'engine = "llamacpp"\nweights = "file:{path}"\nsha256 = "{sha256}"\nthreads = {threads.one}\n'
        f"batch_threads = {threads.batch}\ncontext_tokens = {CONTEXT}\n{lines}"
    )


@contextlib.contextmanager
def _antiphon(home: str, config: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    Path(home, "antiphon.toml").write_text(config)
    environment = os.environ | {
        "ANTIPHON_HOME": home,
        "ANTIPHON_CONFIG": str(Path(home, "antiphon.toml")),
        "ANTIPHON_PORT": "0",
        "ANTIPHON_API_KEY": KEY,
    }
    command = [sys.executable, "-m", "antiphon.cli", "serve"]
    with _process(command, r"curl (http://\S+/v1)", environment) as running:
        yield running


@contextlib.contextmanager
def baseline(threads: Threads) -> Iterator[Target]:
    """Run llama.cpp's own server on the same weights. It divides its context among its slots."""
    path, _ = weights()
    numbers = map(str, (*threads, SLOTS, SLOTS * CONTEXT))
    command = [sys.executable, "-m", "bench.baseline", str(path), *numbers]
    with _process(command, r"(http://\S+)", dict(os.environ)) as (_, url):
        yield Target("llama.cpp's server", f"{url}/v1", "x")
