"""Speech and hearing: how fast they are, how soon one hears something, and what a text request beside them keeps.

The first sound of a streamed answer is compared with how long its first sentence takes to be said, by the same server
in the same run, from the moment that sentence's text is whole. Voice and recogniser have one thread each.
"""

import base64
import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from antiphon.provision import pull_speech
from antiphon.settings import read_settings
from bench.client import Target, median, together
from bench.servers import KEY, Threads, speaking

FIRST = "The quick brown fox jumps over the lazy dog near the old river bank. "
TEXT = FIRST + "And then it ran home, where it slept until the morning. " * 3
BYTES_A_SECOND = 48_000
ROUNDS = 5


def ask(text: str, *, form: str = "pcm16", stream: bool = False) -> dict[str, object]:
    return {
        "model": "test/echo",
        "modalities": ["text", "audio"],
        "audio": {"voice": "alloy", "format": form},
        "stream": stream,
        "messages": [{"role": "user", "content": text}],
    }


def post(target: Target, body: dict[str, object]) -> dict[str, object]:
    headers = {"authorization": f"Bearer {KEY}"}
    answer = httpx.post(f"{target.base_url}/chat/completions", json=body, headers=headers, timeout=300, verify=False)
    answer.raise_for_status()
    return answer.json()


def said_in(target: Target, text: str) -> tuple[float, float]:
    """How long it takes to say a text whole, and how long that lasts when it is heard, in seconds."""
    begun = time.perf_counter()
    audio = post(target, ask(text))["choices"][0]["message"]["audio"]
    return time.perf_counter() - begun, len(base64.b64decode(audio["data"])) / BYTES_A_SECOND


def first_sound(target: Target, text: str) -> float:
    """From when a streamed answer's first sentence is whole until its first samples, in seconds."""
    headers = {"authorization": f"Bearer {KEY}"}
    transcript, whole = "", None
    with httpx.stream(
        "POST",
        f"{target.base_url}/chat/completions",
        json=ask(text, stream=True),
        headers=headers,
        timeout=300,
        verify=False,
    ) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            choices = json.loads(line[6:])["choices"]
            audio = choices[0]["delta"].get("audio") if choices else None
            transcript += (audio or {}).get("transcript", "")
            if whole is None and len(transcript) > len(FIRST):
                whole = time.perf_counter()
            if audio and audio.get("data"):
                return time.perf_counter() - (whole or time.perf_counter())
    raise RuntimeError("nothing was said")


def heard_in(target: Target) -> tuple[float, float]:
    """How long it takes to put a recording into words, and how long it lasts."""
    audio = post(target, ask(TEXT, form="wav"))["choices"][0]["message"]["audio"]
    part = {"type": "input_audio", "input_audio": {"data": audio["data"], "format": "wav"}}
    begun = time.perf_counter()
    post(target, {"model": "test/echo", "messages": [{"role": "user", "content": [part]}]})
    return time.perf_counter() - begun, len(base64.b64decode(audio["data"])) / BYTES_A_SECOND


@contextlib.contextmanager
def someone_speaks(target: Target) -> Iterator[None]:
    """Have a long answer spoken for the body."""
    stop = threading.Event()

    def speak() -> None:
        while not stop.is_set():
            post(target, ask(TEXT))

    thread = threading.Thread(target=speak)
    thread.start()
    time.sleep(0.5)
    try:
        yield
    finally:
        stop.set()
        thread.join()


def measure(threads: Threads) -> list[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as home:
        Path(home, "speech").symlink_to(pull_speech(read_settings({"ANTIPHON_SPEECH": "1"})))
        with speaking(threads, home) as (echo, real):
            said_in(echo, FIRST)
            heard_in(echo)
            whole = [said_in(echo, FIRST) for _ in range(ROUNDS)]
            firsts = [first_sound(echo, TEXT) for _ in range(ROUNDS)]
            heard = [heard_in(echo) for _ in range(ROUNDS)]
            alone, beside = [], []
            for turn in range(ROUNDS):
                story = f"Write story number {turn} about a lighthouse keeper and the sea."
                alone.append(together(real, [story], 100)[0])
                with someone_speaks(echo):
                    beside.append(together(real, [story], 100)[0])
    sentence = median([spent for spent, _ in whole])
    kept = median([b / a for a, b in zip(alone, beside, strict=True)])
    rows = [
        ("speech, seconds of work for each second heard", f"{median([s / h for s, h in whole]):.2f}"),
        ("recognition, likewise", f"{median([s / h for s, h in heard]):.2f}"),
        (
            "first sound after the first sentence is whole, against the time that sentence takes to say",
            f"{median(firsts) / sentence:.2f} × ({median(firsts):.2f} s against {sentence:.2f} s)",
        ),
        (
            "tokens/s of one stream beside one that speaks, against alone",
            f"{kept:.2f} × ({median(beside):.0f} against {median(alone):.0f})",
        ),
    ]
    for name, value in rows:
        print(f"{name}: {value}", flush=True)
    return rows
